"""Formats the report of ``csm revisions``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from csm_core.analysts.revisions import CausingRecord, Revision, RevisionsReport
from csm_core.system.terminal import printable
from csm_core.system.text_table import counted, text_table

REASONS = {"records": "changed records", "config": "the configuration", "code": "another version of the code"}


def report_text(report: RevisionsReport) -> str:
    """The revisions of the day: the values that changed, the reason, and the late records."""
    of = f" of account {printable(report.account_id)}" if report.account_id else ""
    if not report.revisions:
        return f"no revision{of} on {report.day}: the first scores of the day are the current ones"
    lines = [f"{counted(len(report.revisions), 'revision')}{of} on {report.day}"]
    for revision in report.revisions:
        lines += ["", *_lines(revision)]
    if not report.has_records:
        lines += ["", "note: a run is writing the warehouse, so the late records are not listed; run the command again"]
    return "\n".join(lines)


def time_text(time: datetime) -> str:
    """A UTC time to the second."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def _lines(revision: Revision) -> Iterator[str]:
    yield (
        f"account {printable(revision.account_id)} (tenant {printable(revision.tenant_id)}), known from "
        f"{time_text(revision.known_from)} to {time_text(revision.known_to)}, revised by "
        f"{REASONS.get(revision.revised_by, revision.revised_by)}"
    )
    if revision.left:
        yield "  the account no longer has a score on this day"
    else:
        rows = [("value", "before", "after")]
        rows += [(change.column, _value(change.before), _value(change.after)) for change in revision.changes]
        yield from (f"  {line}" for line in text_table(rows))
    for record in revision.records:
        yield f"  {_record(record)}"


def _record(record: CausingRecord) -> str:
    what = printable(record.key, 80) if record.key is not None else counted(record.records, "record")
    text = f"{record.entity} {what}, dated {record.touched_day}"
    if record.load_id is None or record.loaded_at is None:
        return text
    return f"{text}, load {record.load_id} at {time_text(record.loaded_at)} from {printable(record.file or '', 200)}"


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else printable(str(value), 80)
