"""Formats the output of `csm quarantine`."""

from __future__ import annotations

from collections.abc import Sequence

from csm_core.staging.quarantine import QuarantineCount, QuarantinedRecord
from csm_core.system.terminal import printable
from csm_core.system.text_table import text_table


def summary_text(counts: Sequence[QuarantineCount]) -> str:
    """Return a line for each entity, system, field and reason."""
    rows = [
        (
            count.entity,
            count.system,
            f"{count.records:,}",
            f"{count.reason}{f' in {count.field}' if count.field else ''}"
            f"{f', such as {printable(count.example)}' if count.example else ''}",
        )
        for count in counts
    ]
    return "\n".join(text_table(rows, right={2})) or "no rejected records"


def records_text(rows: Sequence[QuarantinedRecord], entity: str) -> str:
    """Return each rejected record of an entity with its location, its reason and its text."""
    return (
        "\n".join(
            f"{row.source_file}:{row.source_line}  {row.reason}{f' in {row.field}' if row.field else ''}"
            f"{f': {printable(row.value)}' if row.value else ''}\n    {printable(row.raw_text or '', 160)}"
            for row in rows
        )
        or f"no rejected records of {entity}"
    )
