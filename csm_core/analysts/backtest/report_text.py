"""Formats the report of ``csm backtest`` for the console."""

from __future__ import annotations

from csm_core.analysts.backtest.figures import BacktestFigures
from csm_core.analysts.backtest.report_sections import basis_text, sections
from csm_core.system.text_table import text_table

# Green churn can be long; --json and --html have all rows.
SHOWN_ROWS = 20


def report_text(figures: BacktestFigures) -> str:
    """Return the report: the basis, what to know first, and a part for each kind of figure."""
    parts = ["\n".join((basis_text(figures.given), *figures.notes))]
    for section in sections(figures):
        header, *rows = section.rows or ((),)
        shown = [header, *rows[:SHOWN_ROWS]] if section.rows else []
        lines = [section.title, *section.sentences, *text_table(shown, right=section.right)]
        if len(rows) > SHOWN_ROWS:
            lines.append(f"… and {len(rows) - SHOWN_ROWS:,} more; --json lists all")
        parts.append("\n".join((*lines, *section.code.splitlines())))
    return "\n\n".join(parts)
