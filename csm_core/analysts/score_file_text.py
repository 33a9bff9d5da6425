"""Formats the rows that ``csm score`` did not score."""

from __future__ import annotations

from pathlib import Path

from csm_core.analysts.score_file import ScoreFileReport
from csm_core.system.terminal import printable
from csm_core.system.text_table import counted


def bad_row_lines(file: Path, report: ScoreFileReport) -> list[str]:
    """A line for each row that was not scored, and their number."""
    lines: list[str] = []
    for bad in report.bad:
        account = f"account {bad.account_id!r}" if bad.account_id else ""
        problem = " ".join(filter(None, (bad.field, printable(bad.reason, 160))))
        lines.append(": ".join(filter(None, (f"{file}, line {bad.line}", account, problem))))
    return [*lines, f"{counted(len(lines), 'row')} not scored"] if lines else []
