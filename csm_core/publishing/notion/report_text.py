"""Formats the plan and the report of publishing as text."""

from __future__ import annotations

from collections.abc import Sequence

from csm_core.publishing.notion.apply import Report
from csm_core.publishing.notion.assessments import ReadBack
from csm_core.publishing.notion.databases import CHART, EXPANSION, HEALTH, NOTES, PORTFOLIO, QBR, RECORD
from csm_core.publishing.notion.plan import CREATE, SKIP, UPDATE, Plan
from csm_core.publishing.notion.pulse_pages import PulsesRead
from csm_core.system.terminal import printable
from csm_core.system.text_table import counted

TITLES = {
    HEALTH: "health updates",
    RECORD: "health records",
    QBR: "business reviews",
    NOTES: "internal notes",
    EXPANSION: "expansion records",
    PORTFOLIO: "portfolio page",
    CHART: "score images",
}


def plan_lines(plan: Plan) -> list[str]:
    """The lines that describe a plan."""
    lines = [f"Plan for {plan.day}"]
    lines += [
        f"  {TITLES[kind]:<18} create {plan.count(CREATE, kind):>6,}   update {plan.count(UPDATE, kind):>6,}   "
        f"skip {plan.skipped.get(kind, 0):>6,}"
        for kind in plan.kinds
    ]
    for kind, actions in ((NOTES, plan.notes_actions), (CHART, plan.chart_actions)):
        if actions is not None:
            create, update, skip = (actions[action] for action in (CREATE, UPDATE, SKIP))
            lines.append(f"  {TITLES[kind]:<18} create {create:>6,}   update {update:>6,}   skip {skip:>6,}")
    if plan.portfolio_page:
        lines.append(f"  {TITLES[PORTFOLIO]:<18} {plan.portfolio_page}")
    if plan.orphans:
        lines.append(f"  in Notion but not in the marts, not changed: {_some(plan.orphans)}")
    if plan.trashed:
        lines.append(f"  in the trash, not created again: {_some(plan.trashed)}")
    if plan.closed:
        lines.append(f"  closed in Notion (won, lost or not now), not updated: {_some(plan.closed)}")
    lines += _changed_id_lines(plan.changed_ids, "  ")
    if plan.removed_characters:
        lines.append(f"  control characters removed: {plan.removed_characters:,}")
    lines += [
        f"  cannot be written: {kind} {printable(key, 200)}: {printable(reason, 400)}"
        for kind, key, reason in plan.problems
    ]
    lines += [f"  database: {printable(finding, 400)}" for finding in plan.drift]
    return lines


def report_lines(report: Report) -> list[str]:
    """The lines that describe the result of publishing."""
    lines = [
        f"{'Notion' if number == 0 else '':<10} {TITLES[kind]:<18} created {report.created.get(kind, 0):>6,}   "
        f"updated {report.updated.get(kind, 0):>6,}   skipped {report.skipped.get(kind, 0):>6,}"
        for number, kind in enumerate(report.skipped)
    ]
    if report.trashed:
        lines.append(f"{'':<10} {_pages(report.trashed, 'is', 'are')} in the trash; not created again")
    if report.orphans:
        lines.append(f"{'':<10} {_pages(report.orphans, 'has', 'have')} no row in the marts; not changed")
    if report.closed:
        closed = counted(report.closed, "opportunity is", "opportunities are")
        lines.append(f"{'':<10} {closed} closed in Notion (won, lost or not now); not updated")
    if report.reopened:
        days_later = counted(len(report.reopened), "closed opportunity", "closed opportunities")
        lines.append(f"{'':<10} {days_later} opened again after expansion.reopen_days")
    lines += _changed_id_lines(report.changed_ids, f"{'':<10} ")
    if report.removed_characters:
        removed = counted(report.removed_characters, "control character was", "control characters were")
        lines.append(f"{'':<10} {removed} removed from the texts")
    lines += [f"{'':<10} {line}" for line in _read_lines(report.read_back)]
    lines += [f"{'':<10} {line}" for line in _pulse_lines(report.pulses)]
    lines += [f"{'':<10} {printable(note, 400)}" for note in report.notes]
    lines += [
        f"{'':<10} FAILED {change.kind} {printable(change.key, 200)}: {printable(change.error or '', 600)}"
        for change in report.failures
    ]
    return lines


def _changed_id_lines(changed: Sequence[str], indent: str, shown: int = 5) -> list[str]:
    """The pages on which users emptied or changed account_id, and what to do."""
    if not changed:
        return []
    more = [f"{indent}  … ({len(changed):,} in all)"] if len(changed) > shown else []
    return [
        f"{indent}account_id was emptied or changed in Notion. The page is still updated. Correct its account_id:",
        *(f"{indent}  {printable(line, 300)}" for line in changed[:shown]),
        *more,
    ]


def _pages(count: int, one: str, many: str) -> str:
    return counted(count, f"page {one}", f"pages {many}")


def _read_lines(read_back: ReadBack | None) -> list[str]:
    if read_back is None:
        return []
    by = "by technical account managers"
    lines = [f"{counted(read_back.new, 'new assessment')} {by} read"] if read_back.new else []
    if read_back.confirmed:
        confirmed = counted(read_back.confirmed, "assessment")
        lines.append(f"{confirmed} {by} confirmed: the Health Status is still selected")
    lines += [
        f"Health Status {printable(status)!r} on {counted(pages, 'page')} is not GREEN, AMBER or RED; ignored"
        for status, pages in read_back.unknown.items()
    ]
    if read_back.unplaced:
        pages = counted(read_back.unplaced, "page")
        lines.append(f"Health Status on {pages} ignored: the account is unknown, or has several pages")
    return lines


def _pulse_lines(pulses: PulsesRead | None, shown: int = 5) -> list[str]:
    if pulses is None:
        return []
    lines = [f"{counted(pulses.new, 'new pulse')} of account owners read"] if pulses.new else []
    if pulses.cleared:
        lines.append(f"{counted(pulses.cleared, 'pulse')} ended: CSM Pulse was emptied")
    if pulses.outdated:
        lines.append(f"CSM Pulse on {counted(pulses.outdated, 'page')} is older than a later csm pulse, which counts")
    lines += [printable(sentence, 400) for sentence in pulses.rejected[:shown]]
    if len(pulses.rejected) > shown:
        lines.append(f"… ({len(pulses.rejected):,} in all)")
    if pulses.unplaced:
        pages = counted(pulses.unplaced, "page")
        lines.append(f"CSM Pulse on {pages} ignored: the account is unknown, or has several pages")
    return lines


def _some(labels: Sequence[str], shown: int = 5) -> str:
    more = f", … ({len(labels):,} in all)" if len(labels) > shown else ""
    return ", ".join(printable(label) for label in labels[:shown]) + more
