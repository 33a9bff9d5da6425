"""Upserts of batches: finds the records that a vendor rejects, and repeats what has no result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from csm_core.publishing.crm.targets import Value
from csm_core.publishing.crm.vendor_api import ATTEMPTS, Unreachable, VendorApi

NO_RESULT = "the response has no result for this record"


@dataclass(frozen=True)
class Record:
    """The values to write to the record with a key; null empties a field."""

    key: str
    values: Mapping[str, Value]


@dataclass(frozen=True)
class Outcome:
    """What is known after an upsert.

    ``state`` is ``written``, ``rejected`` (``message`` has the vendor's words) or ``unknown`` (``message`` says why).
    """

    key: str
    state: str
    record_id: str | None = None
    created: bool = False
    message: str | None = None


@dataclass
class BatchResult:
    """The outcomes in one response, by key. ``reasons`` say why records have none; the request is sent again.

    ``unnamed`` is an error that names no record: it is found by sending the records in smaller batches.
    """

    outcomes: dict[str, Outcome] = field(default_factory=dict[str, Outcome])
    reasons: dict[str, str] = field(default_factory=dict[str, str])
    unnamed: str = ""


class BatchRejected(Exception):  # noqa: N818 - named for what the vendor did
    """The vendor rejected a batch as a whole; the message has its words."""


@dataclass(frozen=True)
class Examination:
    """The result of comparing the settings with the vendor's fields: what to fix, one line each."""

    problems: Sequence[str] = ()


class Vendor(ABC):
    """A client for one destination. ``batch_size`` is the maximum number of records in a request."""

    batch_size: int

    def __init__(self, api: VendorApi) -> None:
        self.api = api

    @abstractmethod
    def send(self, records: Sequence[Record]) -> BatchResult:
        """Send one request. Raises BatchRejected, and as ``VendorApi.request``; ConfigError if access is denied."""

    @abstractmethod
    def existing(self, keys: Sequence[str]) -> set[str]:
        """Return the keys that have a record. Raises as ``send``."""

    @abstractmethod
    def examine(self) -> Examination:
        """Compare the settings with the fields of the vendor. Raises as ``send``."""

    def upsert(self, records: Sequence[Record], attempt: int = 1) -> list[Outcome]:
        """Write records, at most ``batch_size``; returns an outcome for each.

        A batch that is rejected as a whole is divided until the rejected record is alone. Raises LimitReached, and
        ConfigError if access is denied.
        """
        if not records:
            return []
        try:
            result = self.send(records)
        except Unreachable as error:
            return [Outcome(one.key, "unknown", message=str(error)) for one in records]
        except BatchRejected as error:
            if len(records) == 1:
                return [Outcome(records[0].key, "rejected", message=str(error))]
            return self._halves(records, attempt)
        done = [result.outcomes[one.key] for one in records if one.key in result.outcomes]
        again = [one for one in records if one.key not in result.outcomes]
        if not again:
            return done
        if result.unnamed and len(records) == 1:
            return [Outcome(records[0].key, "rejected", message=result.unnamed)]
        if result.unnamed and len(again) > 1:
            return [*done, *self._halves(again, attempt)]
        if attempt == ATTEMPTS:
            return [
                *done,
                *(Outcome(one.key, "unknown", message=result.reasons.get(one.key, NO_RESULT)) for one in again),
            ]
        self.api.pause(attempt)
        return [*done, *self.upsert(again, attempt + 1)]

    def _halves(self, records: Sequence[Record], attempt: int) -> list[Outcome]:
        middle = len(records) // 2
        return [*self.upsert(records[:middle], attempt), *self.upsert(records[middle:], attempt)]
