"""Fault injection for tests: errors, resets and delays, at random or for selected requests."""

from __future__ import annotations

import random
import re
import threading
from dataclasses import asdict, dataclass, field, fields
from typing import Any

KINDS: dict[str, str] = {
    "rate_limited": "429 with Retry-After; nothing is written",
    "blocked": "429 with the reason public_api_request_blocked, which is permanent; nothing is written",
    "overloaded": "529 with Retry-After; nothing is written",
    "conflict": "409; nothing is written",
    "internal_error": "500; nothing is written",
    "bad_gateway": "502 with an HTML page; nothing is written",
    "unavailable": "503 without information about the write; nothing is written",
    "unavailable_written": "503 without information about the write, after the write",
    "unavailable_committed": "503 with the ids of the written objects (committed_resource_id, committed_child_ids)",
    "gateway_timeout": "504 after the write",
    "reset_before": "the connection is reset; nothing is written",
    "reset_after": "the connection is reset after the write",
    "truncated": "half of the response body after the write, then the connection is closed",
    "delay": "the correct response after a delay",
    "status": "an error with any status and code; nothing is written",
}
WRITES_FIRST = frozenset(
    ("unavailable_written", "unavailable_committed", "gateway_timeout", "reset_after", "truncated")
)


@dataclass(frozen=True)
class Fault:
    """One fault and the requests to which it applies.

    A request matches if it has the ``method`` (None: any) and its path (such as ``/v1/pages``) matches the regular
    expression ``path`` (None: any). The fault applies from the ``nth`` matching request on (counted from 1), ``times``
    times (None: always), and with a ``rate`` only with that probability.

    ``retry_after``: the seconds that 429 and 529 state; ``retry_after_in`` sets whether they are in the header, in
    ``additional_data`` of the body, or in both. ``seconds``: the duration of ``delay``. ``status``, ``code`` and
    ``message``: for the kind ``status``.
    """

    kind: str
    method: str | None = None
    path: str | None = None
    nth: int = 1
    times: int | None = 1
    rate: float | None = None
    retry_after: int | None = 1
    retry_after_in: str = "both"
    seconds: float = 0.0
    status: int = 400
    code: str = "validation_error"
    message: str = "An injected fault."

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of fault {self.kind!r}; expected one of {', '.join(KINDS)}")
        if self.retry_after_in not in ("both", "header", "body"):
            raise ValueError("retry_after_in must be one of both, header, body")
        if self.nth < 1 or (self.rate is not None and not 0 <= self.rate <= 1):
            raise ValueError("nth must be at least 1, and rate from 0 to 1")

    @classmethod
    def of(cls, values: dict[str, Any]) -> Fault:
        """A fault from a JSON object with the same keys. Raises ValueError or TypeError for an invalid object."""
        unknown = set(values) - {item.name for item in fields(cls)}
        if unknown:
            raise ValueError(f"unknown keys: {', '.join(sorted(unknown))}")
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """The JSON object of this fault."""
        return asdict(self)


@dataclass
class _Armed:
    fault: Fault
    seen: int = 0
    struck: int = 0
    pattern: re.Pattern[str] | None = field(default=None)


class Faults:
    """The active faults; the first one that applies to a request is injected."""

    def __init__(self, seed: int = 0) -> None:
        self._armed: list[_Armed] = []
        self._random = random.Random(seed)  # noqa: S311 - for tests, repeatable by design
        self._lock = threading.Lock()

    def add(self, *faults: Fault) -> None:
        """Activate faults."""
        with self._lock:
            for fault in faults:
                pattern = re.compile(fault.path) if fault.path is not None else None
                self._armed.append(_Armed(fault, pattern=pattern))

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._armed.clear()

    def armed(self) -> list[dict[str, Any]]:
        """The active faults with the number of matching requests and of injections."""
        with self._lock:
            return [{**armed.fault.as_dict(), "seen": armed.seen, "struck": armed.struck} for armed in self._armed]

    def take(self, method: str, path: str) -> Fault | None:
        """The fault for this request, if any."""
        with self._lock:
            chosen: Fault | None = None
            for armed in self._armed:
                fault = armed.fault
                if fault.method is not None and fault.method.upper() != method:
                    continue
                if armed.pattern is not None and armed.pattern.search(path) is None:
                    continue
                armed.seen += 1
                if chosen is not None or armed.seen < fault.nth:
                    continue
                if fault.times is not None and armed.struck >= fault.times:
                    continue
                if fault.rate is not None and self._random.random() >= fault.rate:
                    continue
                armed.struck += 1
                chosen = fault
            return chosen
