"""The end of a run on the command line: what was read, refused, scored and published, what failed, where to look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

from csm_core.analysts.day_summary import DaySummary, day_lines, summarise_day
from csm_core.ingest.found_files import UnreadFile
from csm_core.staging.vendor_records import RecordCounts
from csm_core.system.terminal import printable
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.day_status import newer_uncounted, status_of
from csm_core.warehouse.late_changes import LateRecords, late_text

_MOST_UNREAD = 10
_OUTCOMES = ("current", "superseded", "rejected", "ignored")


class Outcome(Protocol):
    """How a run ended; see ``pipelines.run.RunOutcome``."""

    run_id: str
    succeeded: bool
    failures: Sequence[Any]
    held: Sequence[str]
    staged: Sequence[Any]
    published: Sequence[Any]
    not_published: Sequence[str]
    notes: Sequence[str]
    late: tuple[date, date] | None
    late_records: Sequence[LateRecords]
    unread: Sequence[UnreadFile]
    records: Sequence[RecordCounts]


def report_lines(outcome: Outcome, warehouse: Warehouse, days: tuple[date, date], seconds: float) -> list[str]:
    """The report for a person."""
    summary = _summary(outcome, warehouse, days)
    span = str(days[0]) if days[0] == days[1] else f"{days[0]} to {days[1]}"
    ended = "done" if outcome.succeeded else "FAILED"
    lines = [
        f"csm-health  {span}   {ended} in {seconds:.1f} s   run {outcome.run_id[:8]}",
        "",
    ]
    if summary:
        lines += day_lines(summary)
    lines += _source_lines(outcome.records)
    lines += _record_lines(outcome.staged)
    lines += _unread_lines(outcome.unread)
    if outcome.late:
        lines.append(f"Late       {late_text(outcome.late, outcome.late_records)}")
    for published in outcome.published:
        lines += list(published.lines())
    publication = _publication(outcome, warehouse, days)
    lines += [f"{'' if place else 'Published':11}{said}" for place, said in enumerate(publication.lines())]
    lines += [f"Note       {note}" for note in outcome.notes]
    for message in outcome.held:
        lines += ["", f"HELD       {message}"]
    for failure in outcome.failures:
        first, *rest = str(failure.message).splitlines() or ["failed"]
        lines += ["", f"FAILED     {failure.asset}: {first}", *(f"           {line}" for line in rest)]
    if outcome.succeeded:
        lines += ["", *_next_lines(warehouse, outcome)]
    return lines


def report_object(outcome: Outcome, warehouse: Warehouse, days: tuple[date, date], seconds: float) -> dict[str, Any]:
    """The same for ``--json``."""
    summary = _summary(outcome, warehouse, days)
    return {
        "run_id": outcome.run_id,
        "succeeded": outcome.succeeded,
        "from": str(days[0]),
        "to": str(days[1]),
        "seconds": round(seconds, 3),
        "day": summary.as_dict() if summary else None,
        "source_records": [
            {
                "system": one.system,
                "table": one.table,
                "read": one.records,
                **{name: getattr(one, name) for name in _OUTCOMES},
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
        "publication": _publication(outcome, warehouse, days).as_dict(),
        "notes": list(outcome.notes),
        "held": list(outcome.held),
        "failures": [{"asset": failure.asset, "message": failure.message} for failure in outcome.failures],
        "published_copy": str(warehouse.published_path),
    }


@dataclass(frozen=True)
class _Publication:
    """The day that was published and where, or why nothing was; ``others`` is what else to know, such as newer days."""

    day: date | None = None
    where: str = ""
    reasons: Sequence[str] = ()
    others: Sequence[str] = ()

    def lines(self) -> list[str]:
        if self.day:
            return [f"{self.day} to {self.where}", *self.others]
        return [f"nothing: {reason}" for reason in self.reasons] + list(self.others)

    def as_dict(self) -> dict[str, Any]:
        return {
            "day": str(self.day) if self.day else None,
            "where": self.where or None,
            "reasons": list(self.reasons),
            "more": list(self.others),
        }


def _publication(outcome: Outcome, warehouse: Warehouse, days: tuple[date, date]) -> _Publication:
    if outcome.published:
        report = outcome.published[-1]
        where = f"Notion ({report.address})" if report.address else "the Notion sandbox (NOTION_TOKEN is not set)"
        others = _newer_days(warehouse, report.day) if outcome.succeeded else ["in part: the run failed, see below"]
        return _Publication(report.day, where, others=others)
    if not outcome.succeeded and not outcome.held:
        return _Publication(reasons=["the run failed before publishing; correct the cause and run again"])
    with warehouse.connect() as connection:
        status = status_of(connection, days[1])
    reasons = list(outcome.not_published) if outcome.succeeded else []
    if status and not status.counts:
        reasons.append(f"{status.text()}. {status.advice()}")
    elif not outcome.succeeded:
        reasons.append("a check failed before publishing")
    others = _newer_days(warehouse, days[1])
    return _Publication(reasons=reasons or ["the selected assets publish nothing"], others=others)


def _newer_days(warehouse: Warehouse, day: date) -> list[str]:
    """The held and unfinished days after ``day``, with what to do."""
    with warehouse.connect() as connection:
        return [f"{one.text()}. {one.advice()}" for one in newer_uncounted(connection, day)]


def _summary(outcome: Outcome, warehouse: Warehouse, days: tuple[date, date]) -> DaySummary | None:
    # A failed run may have left an older scoring of the day; its figures would be taken for this run's.
    if not outcome.succeeded and not outcome.held:
        return None
    with warehouse.connect() as connection:
        return summarise_day(connection, days[1])


def _source_lines(records: Sequence[RecordCounts]) -> list[str]:
    """A line for each system of which whole records are read: what became of the records of its raw tables."""
    lines: list[str] = []
    for system in sorted({one.system for one in records}):
        found = [one for one in records if one.system == system]
        counts = {name: sum(getattr(one, name) for one in found) for name in _OUTCOMES}
        became = " + ".join(f"{count:,} {name}" for name, count in counts.items() if count or name == "current")
        read = sum(one.records for one in found)
        lines.append(f"{'' if lines else 'Sources':11}{system}: {read:,} records read = {became}")
    return lines


def _record_lines(staged: Sequence[Any]) -> list[str]:
    if not staged:
        return []
    counts = ("read", "loaded", "rejected", "superseded", "ignored")
    totals = {name: sum(getattr(report, name) for report in staged) for name in counts}
    became = " + ".join(f"{totals[name]:,} {name}" for name in counts[1:])
    lines = [f"Records    {totals['read']:,} read = {became}"]
    for report in staged:
        if report.rejected:
            lines.append(
                f"           {report.entity}: rejected {_counted(report.by_reason)} (quarantine.{report.entity})"
            )
        if report.ignored:
            lines.append(f"           {report.entity}: ignored {_counted(report.by_rule)}")
        if report.closed:
            lines.append(f"           {report.entity}: closed {report.closed:,}, no longer in the full list")
    return lines


def _counted(counts: Mapping[str, int]) -> str:
    return printable(", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())), 90)


def _unread_lines(unread: Sequence[UnreadFile]) -> list[str]:
    lines = [f"{'Not read' if not place else '':11}{printable(str(one), 400)}" for place, one in enumerate(unread)]
    if len(lines) > _MOST_UNREAD:
        lines[_MOST_UNREAD:] = [f"{'':11}and {len(lines) - _MOST_UNREAD:,} more; `csm run --json` lists all"]
    return lines


def _next_lines(warehouse: Warehouse, outcome: Outcome) -> list[str]:
    lines = [f'Look       csm sql "from csm_health_current limit 10"   or any DuckDB on {warehouse.published_path}']
    if any(report.rejected for report in outcome.staged):
        lines.append("           csm quarantine   rejected records and the reasons")
    return lines
