"""The report of a run as data: the summary of its last day, the counts of records, and the publication."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from csm_core.analysts.day_summary import DaySummary, summarise_day
from csm_core.config import ReviewSettings
from csm_core.operations.run_outcome import RunOutcome
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.day_status import newer_uncounted, status_of

OUTCOMES = ("current", "superseded", "rejected", "ignored")
"""The possible outcomes of a vendor record."""


@dataclass(frozen=True)
class Publication:
    """The published day and where, or the reasons for none; ``others`` are notes, such as newer days that are held."""

    day: date | None = None
    where: str = ""
    reasons: Sequence[str] = ()
    others: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "day": str(self.day) if self.day else None,
            "where": self.where or None,
            "reasons": list(self.reasons),
            "more": list(self.others),
        }


@dataclass(frozen=True)
class RunReport:
    """The report of a run. ``summary`` is None if the run scored no day."""

    outcome: RunOutcome
    days: tuple[date, date]
    seconds: float
    summary: DaySummary | None
    publication: Publication
    published_copy: Path

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        outcome = self.outcome
        return {
            "run_id": outcome.run_id,
            "succeeded": outcome.succeeded,
            "from": str(self.days[0]),
            "to": str(self.days[1]),
            "seconds": round(self.seconds, 3),
            "day": self.summary.as_dict() if self.summary else None,
            "source_records": [
                {
                    "system": one.system,
                    "table": one.table,
                    "read": one.records,
                    **{name: getattr(one, name) for name in OUTCOMES},
                }
                for one in outcome.records
            ],
            "records": [
                {
                    "entity": report.entity,
                    "read": report.read,
                    "loaded": report.loaded,
                    "rejected": report.rejected,
                    "superseded": report.superseded,
                    "ignored": report.ignored,
                    "closed": report.closed,
                    "rejected_by_reason": dict(report.by_reason),
                    "ignored_by_rule": dict(report.by_rule),
                }
                for report in outcome.staged
            ],
            "unread": [{"path": str(one.path), "why": one.why} for one in outcome.unread],
            "late": {
                "materialised_again": [str(day) for day in outcome.late] if outcome.late else [],
                "records": [
                    {"entity": one.entity, "day": str(one.day), "records": one.records} for one in outcome.late_records
                ],
            },
            "published": [published.as_dict() for published in outcome.published],
            "crm": [report.as_dict() for report in outcome.crm],
            "alerts": [report.as_dict() for report in outcome.alerts],
            "publication": self.publication.as_dict(),
            "notes": list(outcome.notes),
            "held": list(outcome.held),
            "failures": [{"asset": failure.asset, "message": failure.message} for failure in outcome.failures],
            "published_copy": str(self.published_copy),
        }


def run_report(
    outcome: RunOutcome,
    warehouse: Warehouse,
    days: tuple[date, date],
    seconds: float,
    *,
    qbr_min_days: int = ReviewSettings().qbr_min_days,
) -> RunReport:
    """Create the report of a completed run; ``qbr_min_days`` is the setting of reviews."""
    summary = _summary(outcome, warehouse, days, qbr_min_days)
    publication = _publication(outcome, warehouse, days)
    return RunReport(outcome, days, seconds, summary, publication, warehouse.published_path)


def _publication(outcome: RunOutcome, warehouse: Warehouse, days: tuple[date, date]) -> Publication:
    if outcome.published:
        report = outcome.published[-1]
        where = f"Notion ({report.address})" if report.address else "the Notion sandbox (NOTION_TOKEN is not set)"
        others = _newer_days(warehouse, report.day) if outcome.succeeded else ["incomplete: the run failed, see below"]
        return Publication(report.day, where, others=others)
    if not outcome.succeeded and not outcome.held:
        return Publication(reasons=["the run failed before publishing; fix the cause and run again"])
    with warehouse.connect() as connection:
        status = status_of(connection, days[1])
    reasons = list(outcome.not_published) if outcome.succeeded else []
    if status and not status.counts:
        reasons.append(f"{status.text()}. {status.advice()}")
    elif not outcome.succeeded:
        reasons.append("a check failed before publishing")
    others = _newer_days(warehouse, days[1])
    return Publication(reasons=reasons or ["the selected assets do not publish"], others=others)


def _newer_days(warehouse: Warehouse, day: date) -> list[str]:
    """The held and unfinished days after ``day``, with what to do."""
    with warehouse.connect() as connection:
        return [f"{one.text()}. {one.advice()}" for one in newer_uncounted(connection, day)]


def _summary(
    outcome: RunOutcome, warehouse: Warehouse, days: tuple[date, date], qbr_min_days: int
) -> DaySummary | None:
    # After a failed run, the scores of the day may come from an earlier run.
    if not outcome.succeeded and not outcome.held:
        return None
    with warehouse.connect() as connection:
        return summarise_day(connection, days[1], qbr_min_days)
