"""Formats the report of ``csm whatif``: a line for each day, and the migrations between bands and risks."""

from __future__ import annotations

from collections.abc import Sequence

from csm_core.analysts.whatif import WhatIfReport
from csm_core.rubric import CHURN_RISKS, RAGS
from csm_core.system.text_table import text_table


def report_text(report: WhatIfReport) -> str:
    """The days, then two matrices with a row for each value before and a column for each value after."""
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
    if not report.mrr_known:
        parts.append("computed from the published copy, which has no revenue and only the current segments")
    return "\n\n".join(parts)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """A table with labels in the first column and numbers in the others."""
    return "\n".join(text_table(rows, right=range(1, len(rows[0]))))
