"""The text of `csm doctor`."""

from __future__ import annotations

from collections.abc import Sequence

from csm_core.doctor.examination import Finding
from csm_core.doctor.sample_problems import FILE_NOT_READ
from csm_core.system.terminal import printable
from csm_core.system.text_table import counted

MAX_LISTED = 10
MAX_LINE = 4000


def report(findings: Sequence[Finding]) -> str:
    """The findings as text: a line for each source and, below it, a line for each problem."""
    lines: list[str] = []
    for finding in findings:
        lines.append(f"{'FAIL' if finding.status else 'ok  '}  {finding.source}  {finding.message}".rstrip())
        listed = [problem for problem in finding.problems if problem.kind != FILE_NOT_READ]
        unread = [problem for problem in finding.problems if problem.kind == FILE_NOT_READ]
        lines += [f"      {problem.level:<8}{problem.message}" for problem in [*listed, *unread[:MAX_LISTED]]]
        if len(unread) > MAX_LISTED:
            lines.append(f"      note    {counted(len(unread) - MAX_LISTED, 'more file')} not read; --json lists all")
    return "\n".join(printable(line, MAX_LINE) for text in lines for line in text.split("\n"))
