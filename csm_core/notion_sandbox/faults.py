"""Faults on purpose: what a service does on a bad day, at a rate or at a chosen request."""

from __future__ import annotations

import random
import re
import threading
from dataclasses import asdict, dataclass, field, fields
from typing import Any

KINDS: dict[str, str] = {
    "rate_limited": "429 with Retry-After; nothing is written",
    "blocked": "429 of the reason public_api_request_blocked, which no waiting mends; nothing is written",
    "overloaded": "529 with Retry-After; nothing is written",
    "conflict": "409; nothing is written",
    "internal_error": "500; nothing is written",
    "bad_gateway": "502 with a page of HTML; nothing is written",
    "unavailable": "503 without a word on the write; nothing is written",
    "unavailable_written": "503 without a word on the write, which did happen",
    "unavailable_committed": "503 that names what was written (committed_resource_id, committed_child_ids)",
    "gateway_timeout": "504 after the write",
    "reset_before": "the connection is reset; nothing is written",
    "reset_after": "the connection is reset after the write",
    "truncated": "half of the answer's body after the write, then the connection ends",
    "delay": "the right answer, late",
    "status": "an error of any status and code; nothing is written",
}
WRITES_FIRST = frozenset(
    ("unavailable_written", "unavailable_committed", "gateway_timeout", "reset_after", "truncated")
)


@dataclass(frozen=True)
class Fault:
    """One fault and when it strikes.

    It looks at requests of ``method`` (any, if none) whose path (``/v1/pages``) has a match of the regular expression
    ``path``. Of those it strikes from the ``nth`` on (counted from 1), ``times`` times (always, if None), and if a
    ``rate`` is given, each time only with that probability.

    ``retry_after``: seconds told by 429 and 529, in the header, in the body's ``additional_data`` too unless
    ``retry_after_in`` is ``header`` (or only there, if it is ``body``). ``seconds``: how long ``delay`` waits.
    ``status``, ``code``, ``message``: for the kind ``status``.
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
    message: str = "A fault on purpose."

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of fault {self.kind!r}; there are {', '.join(KINDS)}")
        if self.retry_after_in not in ("both", "header", "body"):
            raise ValueError("retry_after_in is one of both, header, body")
        if self.nth < 1 or (self.rate is not None and not 0 <= self.rate <= 1):
            raise ValueError("nth counts from 1, and rate is from 0 to 1")

    @classmethod
    def of(cls, given: dict[str, Any]) -> Fault:
        """A fault of a JSON object with the same names; raises ValueError or TypeError for anything else."""
        unknown = set(given) - {item.name for item in fields(cls)}
        if unknown:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        return cls(**given)

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
    """The faults in force; the first that applies to a request strikes it."""

    def __init__(self, seed: int = 0) -> None:
        self._armed: list[_Armed] = []
        self._random = random.Random(seed)  # noqa: S311 - a dice for tests, repeatable on purpose
        self._lock = threading.Lock()

    def add(self, *faults: Fault) -> None:
        """Arm faults."""
        with self._lock:
            for fault in faults:
                pattern = re.compile(fault.path) if fault.path is not None else None
                self._armed.append(_Armed(fault, pattern=pattern))

    def clear(self) -> None:
        """Disarm every fault."""
        with self._lock:
            self._armed.clear()

    def armed(self) -> list[dict[str, Any]]:
        """The faults in force with how often each was looked for and struck."""
        with self._lock:
            return [{**armed.fault.as_dict(), "seen": armed.seen, "struck": armed.struck} for armed in self._armed]

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that strikes this request, if any."""
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
