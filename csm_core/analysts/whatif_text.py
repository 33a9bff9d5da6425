"""Formats the report of ``csm whatif``: days, migrations between bands and risks, and the accounts that change."""

from __future__ import annotations

from collections.abc import Sequence

from csm_core.analysts.whatif import WhatIfAccount, WhatIfReport
from csm_core.rubric import CHURN_RISKS, RAGS
from csm_core.system.terminal import printable
from csm_core.system.text_table import counted, text_table

SHOWN_ACCOUNTS = 20


def report_text(report: WhatIfReport) -> str:
    """The days, two matrices with a row for each value before and a column for each value after, and the accounts."""
    rows = [("day", "accounts", "band changed", "risk changed", "alerts", "more", "fewer", "MRR moved")]
    for day in report.days:
        moved = ", ".join(f"{amount:,.2f} {currency}" for currency, amount in day.mrr_moved.items())
        alerts = f"{day.alerts_before} → {day.alerts_after}"
        numbers = (f"{day.accounts:,}", f"{day.rag_changed:,}", f"{day.risk_changed:,}")
        unknown = "-" if report.mrr_known else "unknown"
        rows.append(
            (str(day.as_of_date), *numbers, alerts, f"+{day.alerts_more}", f"-{day.alerts_fewer}", moved or unknown)
        )
    parts = [_table(rows)]
    for title, order, counts in (
        ("band, account-days", RAGS, report.rag_migrations),
        ("churn risk, account-days", CHURN_RISKS, report.risk_migrations),
    ):
        matrix = [("before \\ after", *order)]
        matrix += [(level, *(f"{counts.get((level, to), 0):,}" for to in order)) for level in order]
        parts.append(f"{title}:\n{_table(matrix)}")
    parts.append("\n".join(_account_lines(report)))
    if not report.mrr_known:
        parts.append("computed from the published copy: MRR moved is unknown, and the segments are the current ones")
    return "\n\n".join(parts)


def _account_lines(report: WhatIfReport) -> list[str]:
    """A table of the accounts that change on the last day, and the number of those that it does not show."""
    day = report.days[-1].as_of_date
    if not report.accounts:
        return [f"no account changes band, risk or alert on {day}"]
    rows = [("account", "name", "owner", "MRR", "band", "risk", "alert")]
    rows += [_cells(account) for account in report.accounts[:SHOWN_ACCOUNTS]]
    lines = [f"accounts that change on {day}:", *text_table(rows, right={3})]
    more = len(report.accounts) - SHOWN_ACCOUNTS
    return [*lines, f"… and {counted(more, 'more account')}; --json lists all"] if more > 0 else lines


def _cells(account: WhatIfAccount) -> tuple[str, str, str, str, str, str, str]:
    # Every account of the dimension has a name: without one, the owner is unknown, not unassigned.
    no_owner = "unassigned" if account.account_name else "unknown"
    return (
        printable(account.account_id),
        printable(account.account_name or "unknown", 40),
        printable(account.csm_owner or no_owner, 30),
        "unknown" if account.mrr is None else f"{account.mrr:,.2f} {account.currency or ''}".rstrip(),
        _change(account.rag_before, account.rag_after),
        _change(account.risk_before, account.risk_after),
        _change(*("yes" if alert else "no" for alert in (account.alert_before, account.alert_after))),
    )


def _change(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    """A table with labels in the first column and numbers in the others."""
    return "\n".join(text_table(rows, right=range(1, len(rows[0]))))
