"""A digest: one message to a route, about one owner's accounts on one day or about a data problem."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from csm_core.publishing.alerts.tables import RESOLVED
from csm_core.system.terminal import printable
from csm_core.system.text_table import counted

ACCOUNTS, DATA_PROBLEM = "accounts", "data_problem"
INTENDED, SENDING, SENT, POSSIBLY_SENT, FAILED = "intended", "sending", "sent", "possibly_sent", "failed"
_MAX_TEXT = 240


@dataclass(frozen=True)
class Line:
    """An account in a digest. ``kind`` is fired, reminder or resolved; ``rules`` are the names of its rules."""

    account_id: str
    account_name: str
    kind: str
    rules: tuple[str, ...]
    severity: str
    score: float | None = None
    rag: str | None = None
    change: str = ""
    reason: str = ""
    next_step: str = ""
    link: str = ""

    @property
    def name(self) -> str:
        """The name and the id of the account on one line."""
        return f"{printable(self.account_name, 80)} ({printable(self.account_id, 60)})"

    @property
    def what(self) -> str:
        """The severity and the rules in words."""
        again = "still " if self.kind == "reminder" else ""
        return f"{self.severity}: {again}{', '.join(rule_text(rule) for rule in self.rules)}"

    @property
    def texts(self) -> list[str]:
        """The texts of the account below its name, each on one line."""
        why = f"Why: {self.reason}" if self.reason else ""
        step = f"Next: {self.next_step}" if self.next_step else ""
        return [printable(text, _MAX_TEXT) for text in (self.change, why, step) if text]


@dataclass(frozen=True)
class Digest:
    """A digest with its lines. ``found`` is what the failed checks found, for a data problem."""

    digest_id: str
    route: str
    owner: str
    day: date
    kind: str
    intended_at: datetime
    lines: Sequence[Line] = ()
    failed_checks: tuple[str, ...] = ()
    found: str = ""
    status: str = INTENDED
    attempts: int = 0
    error: str | None = None

    @property
    def alerts(self) -> list[Line]:
        """The lines of alerts that fired or are repeated."""
        return [line for line in self.lines if line.kind != RESOLVED]

    @property
    def resolved(self) -> list[Line]:
        """The lines of resolved alerts."""
        return [line for line in self.lines if line.kind == RESOLVED]

    @property
    def title(self) -> str:
        """The title on one line."""
        if self.kind == DATA_PROBLEM:
            return f"csm-health: {self.day} is held by {', '.join(self.failed_checks)}"
        owner = printable(self.owner, 80) or "accounts without an owner"
        return f"csm-health: {counted(len(self.alerts), 'alert')} for {owner} on {self.day}"

    @property
    def problem(self) -> list[str]:
        """The sentences about a data problem."""
        checks = " ".join(f"--accept {name}" for name in self.failed_checks)
        return [
            printable(self.found, 1500) or "The checks of the day failed.",
            "No alerts about accounts are sent until a day is complete.",
            f"Correct the records and run `csm run --as-of {self.day}`, or accept the day with "
            f"`csm notion apply --as-of {self.day} {checks}`.",
        ]

    def shown(self, max_lines: int) -> tuple[list[Line], str]:
        """The first lines, and a sentence about the remainder; empty without one."""
        alerts = self.alerts
        more = len(alerts) - max_lines
        return alerts[
            :max_lines
        ], f"And {counted(more, 'more account')}: `csm alerts list` lists all." if more > 0 else ""

    @property
    def resolved_text(self) -> str:
        """The resolved alerts in one line; empty without any."""
        if not self.resolved:
            return ""
        names = [f"{line.name} {', '.join(rule_text(rule) for rule in line.rules)}" for line in self.resolved]
        return printable(f"Resolved: {'; '.join(names)}", 2500)


def rule_text(rule: str) -> str:
    """The name of a rule in words."""
    return rule.replace("_", " ")


def digest_id(route: str, owner: str, day: date, kind: str, failed_checks: Sequence[str] = ()) -> str:
    """The id of a digest: the same route, owner and day have the same id, so a digest is never there twice."""
    key = json.dumps([route, owner, day.isoformat(), kind, *failed_checks])
    return hashlib.sha256(key.encode()).hexdigest()[:32]
