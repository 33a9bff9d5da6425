"""Formats the plans, reports and states of destinations as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from csm_core.publishing.crm.apply import CrmReport
from csm_core.publishing.crm.plan import CREATE, UPDATE, CrmPlan
from csm_core.system.terminal import printable
from csm_core.system.text_table import counted, text_table

_SHOWN = 10
_HEADER = ("destination", "created", "updated", "skipped", "absent", "rejected", "failed")


def plan_lines(plans: Sequence[CrmPlan]) -> list[str]:
    """The lines that describe plans."""
    rows = [("destination", "create", "update", "skip")]
    rows += [
        (one.destination, f"{one.count(CREATE):,}", f"{one.count(UPDATE):,}", f"{sum(one.skipped.values()):,}")
        for one in plans
    ]
    lines = [f"Plan for {plans[0].day}", *(f"  {line}" for line in text_table(rows, right={1, 2, 3}))]
    for plan in plans:
        lines += _skipped_lines(plan.destination, plan.skipped, "  ")
        if any(not step.may_create for step in plan.steps):
            lines.append(f"  {plan.destination}: updates of accounts without a record are left out")
    return lines


def report_lines(reports: Sequence[CrmReport]) -> list[str]:
    """The lines that describe the results of publishing."""
    rows: list[tuple[str, ...]] = [_HEADER]
    for report in reports:
        counts = report.counts()
        rows.append((report.destination, *(f"{counts[name]:,}" for name in _HEADER[1:])))
    lines = [f"Published {reports[0].day}", *(f"  {line}" for line in text_table(rows, right=range(1, len(_HEADER))))]
    for report in reports:
        lines += _skipped_lines(report.destination, report.skipped, "  ")
        lines += [f"  {line}" for line in problem_lines(report)]
    return lines


def run_lines(report: CrmReport) -> list[str]:
    """The lines of one destination in the report of a run."""
    counts = report.counts()
    listed = ", ".join(f"{counts[name]:,} {name}" for name in ("created", "updated", "skipped"))
    more = [f"{counts[name]:,} {name}" for name in ("absent", "rejected", "failed") if counts[name]]
    first = ", ".join([listed, *more])
    return [f"{'CRM':<10} {report.destination}: {first}", *(f"{'':<10} {line}" for line in problem_lines(report))]


def problem_lines(report: CrmReport) -> list[str]:
    """The rejected and failed records, and why records are left."""
    lines = [
        f"{one.action.upper()} {report.destination} {_account_line(one.account_id, one.message)}"
        for one in report.changes[:_SHOWN]
    ]
    if len(report.changes) > _SHOWN:
        lines.append(f"… ({len(report.changes):,} in all; csm crm status --json lists them)")
    if report.stopped:
        left = f"; {counted(report.left, 'record')} left to the next run" if report.left else ""
        lines.append(f"STOPPED {report.destination}: {printable(report.stopped, 600)}{left}")
    return lines


def failure_text(report: CrmReport) -> str:
    """One line for the error of an incomplete publication."""
    parts: list[str] = []
    for named, changes in (("rejected", report.rejected), ("not sent", report.failed)):
        if changes:
            first = "; ".join(f"{one.account_id}: {one.message}" for one in changes[:_SHOWN])
            parts.append(f"{counted(len(changes), 'record')} {named} ({first})")
    if report.stopped:
        parts.append(f"{counted(report.left, 'record')} left to the next run: {report.stopped}")
    return f"{report.destination}: {'; '.join(parts)}"


def status_lines(states: Sequence[Mapping[str, Any]]) -> list[str]:
    """The lines that describe what the ledger has of each destination."""
    lines: list[str] = []
    for state in states:
        counts = ", ".join(f"{count:,} {name}" for name, count in state["records"].items()) or "no records yet"
        last = state["last_run"]
        lines.append(f"{state['destination']}: {counts}")
        if last:
            started = f"{last['started_at']:%Y-%m-%d %H:%M}"
            lines.append(f"  last run {started} UTC of {last['as_of_date']}: {last['status']}")
        lines += [
            f"  {one['state']} {_account_line(one['account_id'], one['message'])}" for one in state["problems"][:_SHOWN]
        ]
        if len(state["problems"]) > _SHOWN:
            lines.append(f"  … ({len(state['problems']):,} in all; --json lists them)")
        if state["records"].get("rejected"):
            lines.append("  A rejected record is sent again when its values change, or with csm crm apply --retry")
    return lines


def _account_line(account_id: str, message: str | None) -> str:
    return f"{printable(account_id, 200)}: {printable(message or '', 600)}"


def _skipped_lines(destination: str, skipped: Mapping[str, int], indent: str) -> list[str]:
    if not skipped:
        return []
    return [f"{indent}{destination} skipped: {', '.join(f'{count:,} {reason}' for reason, count in skipped.items())}"]
