"""Formats the report of a run: records, scores, publication, failures and next commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from csm_core.analysts.day_summary_text import day_lines, rag_counts
from csm_core.ingest.found_files import UnreadFile
from csm_core.operations.run_report import OUTCOMES, Publication, RunReport
from csm_core.staging.record_counts import RecordCounts
from csm_core.system.terminal import printable
from csm_core.system.text_table import counted
from csm_core.warehouse.late_changes import late_text

_MAX_UNREAD = 10


def report_lines(report: RunReport) -> list[str]:
    """The lines of the report."""
    outcome, days = report.outcome, report.days
    span = str(days[0]) if days[0] == days[1] else f"{days[0]} to {days[1]}"
    ended = "done" if outcome.succeeded else "FAILED"
    lines = [
        f"csm-health  {span}   {ended} in {report.seconds:.1f} s   run {outcome.run_id[:8]}",
        "",
    ]
    if report.summary:
        lines += day_lines(report.summary)
    lines += _source_lines(outcome.records)
    lines += _record_lines(outcome.staged)
    lines += _unread_lines(outcome.unread)
    if outcome.late:
        lines.append(f"Late       {late_text(outcome.late, outcome.late_records)}")
    if outcome.published:
        # The clients take long to import, and a run that does not publish does not need them.
        from csm_core.publishing.notion.report_text import report_lines

        lines += [line for published in outcome.published for line in report_lines(published)]
    lines += [
        f"{'' if place else 'Published':11}{line}" for place, line in enumerate(_publication_lines(report.publication))
    ]
    if outcome.crm:
        from csm_core.publishing.crm.report_text import run_lines

        lines += [line for destination in outcome.crm for line in run_lines(destination)]
    lines += [f"Digests    {report.text()}" for report in outcome.alerts]
    lines += [f"Note       {note}" for note in outcome.notes]
    for message in outcome.held:
        lines += ["", f"HELD       {message}"]
    for failure in outcome.failures:
        first, *rest = str(failure.message).splitlines() or ["failed"]
        lines += ["", f"FAILED     {failure.asset}: {first}", *(f"           {line}" for line in rest)]
    if outcome.succeeded:
        lines += ["", *_next_lines(report)]
    return lines


def brief_line(report: RunReport) -> str:
    """The result of a successful run in one line: the accounts of the last day, alerts, and the publication."""
    parts: list[str] = []
    if report.summary:
        parts.append(f"{counted(report.summary.accounts, 'account')}: {', '.join(rag_counts(report.summary))}")
        parts.append(counted(report.summary.alerts, "alert"))
    publication = report.publication
    where = publication.where.partition(" (")[0]
    parts.append(f"published to {where}" if publication.day else f"published {_publication_lines(publication)[0]}")
    return f"  {'; '.join(parts)}  ({report.seconds:.0f} s)"


def _publication_lines(publication: Publication) -> list[str]:
    if publication.day:
        return [f"{publication.day} to {publication.where}", *publication.others]
    return [f"nothing: {reason}" for reason in publication.reasons] + list(publication.others)


def _source_lines(records: Sequence[RecordCounts]) -> list[str]:
    """A line for each vendor with the outcomes of its records."""
    lines: list[str] = []
    for system in sorted({one.system for one in records}):
        counted_tables = [one for one in records if one.system == system]
        counts = {name: sum(getattr(one, name) for one in counted_tables) for name in OUTCOMES}
        became = " + ".join(f"{count:,} {name}" for name, count in counts.items() if count or name == "current")
        read = sum(one.records for one in counted_tables)
        lines.append(f"{'' if lines else 'Sources':11}{system}: {counted(read, 'record')} read = {became}")
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
                f"           {report.entity}: rejected {_by_name(report.by_reason)} (quarantine.{report.entity})"
            )
        if report.ignored:
            lines.append(f"           {report.entity}: ignored {_by_name(report.by_rule)}")
        if report.closed:
            lines.append(f"           {report.entity}: closed {report.closed:,}, no longer in the full list")
    return lines


def _by_name(counts: Mapping[str, int]) -> str:
    return printable(", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())), 90)


def _unread_lines(unread: Sequence[UnreadFile]) -> list[str]:
    lines = [f"{'Not read' if not place else '':11}{printable(str(one), 400)}" for place, one in enumerate(unread)]
    if len(lines) > _MAX_UNREAD:
        lines[_MAX_UNREAD:] = [f"{'':11}and {len(lines) - _MAX_UNREAD:,} more; `csm run --json` lists all"]
    return lines


def _next_lines(report: RunReport) -> list[str]:
    # These columns fit in a terminal; of all columns, the middle ones would not be shown.
    query = 'csm sql "select account_name, rag, score, renewal_date from csm_overview order by score limit 10"'
    lines = [f"Next       {query}   or any DuckDB client on {report.published_copy}"]
    if any(staged.rejected for staged in report.outcome.staged):
        lines.append("           csm quarantine   rejected records and the reasons")
    return lines
