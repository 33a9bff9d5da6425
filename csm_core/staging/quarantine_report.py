"""What `csm quarantine` prints."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from csm_core.errors import InputError
from csm_core.staging import quarantine
from csm_core.system.terminal import printable
from csm_core.warehouse.database import Warehouse


def quarantine_text(warehouse: Warehouse, entity: str | None, *, limit: int, out: Path | None, as_json: bool) -> str:
    """Counts by reason, or the records of one entity, or what was exported. Raises InputError without a warehouse."""
    if not warehouse.path.is_file():
        message = f"there is no warehouse at {warehouse.path}: `csm run` makes it"
        raise InputError(message)
    if out and not entity:
        message = "--out needs an entity: `csm quarantine tickets --out tickets.csv`"
        raise InputError(message)
    with warehouse.connect() as connection:
        if entity and out:
            return f"{quarantine.export(connection, entity, out):,} records of {entity} written to {out}"
        if entity:
            found = quarantine.rows(connection, entity, limit)
            if as_json:
                return json.dumps([asdict(row) for row in found], indent=2, default=str)
            return (
                "\n".join(
                    f"{row.source_file}:{row.source_line}  {row.reason}{f' in {row.field}' if row.field else ''}"
                    f"{f': {printable(row.value)}' if row.value else ''}\n    {printable(row.raw_text or '', 160)}"
                    for row in found
                )
                or f"no record of {entity} is rejected"
            )
        counts = quarantine.summary(connection)
    if as_json:
        return json.dumps([asdict(count) for count in counts], indent=2, default=str)
    return (
        "\n".join(
            f"{count.entity:<16} {count.system:<12} {count.records:>8,}  {count.reason}"
            f"{f' in {count.field}' if count.field else ''}"
            f"{f', such as {printable(count.example)}' if count.example else ''}"
            for count in counts
        )
        or "no record is rejected"
    )
