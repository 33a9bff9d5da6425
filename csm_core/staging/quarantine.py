"""Lists rejected records with their reasons, and exports them for repair.

An exported file has the columns of the raw records, so that a repaired file can be copied to the source's folder: the
additional columns (``rejected_…``) are stored in raw and otherwise ignored. The loader uses them to recognise an
exported CSV file and to strip the apostrophes that keep a spreadsheet from running a value as a formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from csm_core.contract import ENTITIES, EXPORT_COLUMNS, Reason
from csm_core.errors import InputError
from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.export import require_writable, write_export
from csm_core.warehouse.models import literal

_WITHOUT_COLUMNS = (Reason.UNPARSEABLE_ROW, Reason.INVALID_ENCODING, Reason.ROW_TOO_LONG)


@dataclass(frozen=True)
class QuarantineCount:
    """The number of records of an entity rejected for one reason in one field; ``field`` is None for invalid rows."""

    entity: str
    system: str
    field: str | None
    reason: str
    records: int
    example: str | None


@dataclass(frozen=True)
class QuarantinedRecord:
    """A rejected record: its origin, the invalid field and value, the reason, and its raw text."""

    load_id: int
    system: str
    source_file: str
    source_line: int
    field: str | None
    reason: str
    value: str | None
    raw_text: str | None
    rejected_at: datetime


def summary(connection: duckdb.DuckDBPyConnection) -> list[QuarantineCount]:
    """Return rejected records by entity (in the contract's order), system, field and reason, largest count first."""
    counts: list[QuarantineCount] = []
    for entity in ENTITIES.values():
        if not table_exists(connection, entity.quarantine_table):
            continue
        rows = connection.execute(
            "select system, field, reason, count(*) as records, min(left(value, 80)) "
            f"from {entity.quarantine_table} group by system, field, reason "
            "order by records desc, system, reason, field nulls last"
        ).fetchall()
        counts += [QuarantineCount(entity.name, system, name, *rest) for system, name, *rest in rows]
    return counts


def rows(connection: duckdb.DuckDBPyConnection, entity: str, limit: int = 20) -> list[QuarantinedRecord]:
    """Return up to ``limit`` rejected records of an entity by file and line. Raises InputError for an unknown one."""
    table = _table(connection, entity)
    if table is None:
        return []
    found = connection.execute(
        "select load_id, system, source_file, source_line, field, reason, value, raw_text, rejected_at "
        f"from {table} order by source_file, source_line, load_id limit ?",
        [limit],
    ).fetchall()
    return [QuarantinedRecord(*row) for row in found]


def export(connection: duckdb.DuckDBPyConnection, entity: str, path: Path) -> int:
    """Export an entity's rejected records to a CSV, JSON lines or Parquet file; returns their number.

    The raw columns come first, then ``rejected_field``, ``rejected_reason``, ``rejected_value``, ``rejected_file``,
    ``rejected_line`` and, for unparseable rows, ``rejected_text``. In CSV a value that a spreadsheet would run as a
    formula is prefixed with an apostrophe, which ``csm_core.ingest.loader`` strips when it loads the file with its
    ``rejected_…`` columns; JSON lines and Parquet have the original value.

    Raises InputError for an unknown entity, an unknown file format, or a folder that does not exist. An existing file
    is replaced once the new file is complete.
    """
    require_writable(path)
    table = _table(connection, entity)
    if table is None:
        message = f"{entity} has not been staged yet, so there is nothing to export; run `csm run` first"
        raise InputError(message)
    columns = export_columns(connection, table)
    return write_export(connection, columns, f"{table} order by source_file, source_line, load_id", path)


def export_columns(connection: duckdb.DuckDBPyConnection, table: str) -> list[tuple[str, str]]:
    """Return the columns of an export of a quarantine table as (name, expression)."""
    whole = f"reason in ({', '.join(literal(str(reason)) for reason in _WITHOUT_COLUMNS)})"
    keys = _raw_columns(connection, table, whole)
    pointers = ", ".join(literal("/" + key.replace("~", "~0").replace("/", "~1")) for key in keys)
    return [
        *(
            (key, f"json_extract_string(if({whole}, null, raw_text), [{pointers}])[{number}]")
            for number, key in enumerate(keys, start=1)
        ),
        *zip(EXPORT_COLUMNS, ("field", "reason", "value", "source_file", "source_line"), strict=True),
        ("rejected_text", f"if({whole}, raw_text, null)"),
    ]


def _raw_columns(connection: duckdb.DuckDBPyConnection, table: str, whole: str) -> Sequence[str]:
    # The keys are in the order of the raw table; the first record of each combination has this order.
    found: list[Any] = connection.execute(
        f"select json_keys(raw_text) as names from {table} where not {whole} and raw_text is not null "
        "group by names order by min(source_file), min(source_line)"
    ).fetchall()
    names: dict[str, str] = {}
    for (keys,) in found:
        for key in keys:
            names.setdefault(str(key).lower(), str(key))
    return [name for name in names.values() if not name.lower().startswith("rejected_")]


def _table(connection: duckdb.DuckDBPyConnection, entity: str) -> str | None:
    if entity not in ENTITIES:
        message = f"unknown entity {entity!r}; expected one of {', '.join(ENTITIES)}"
        raise InputError(message)
    table = ENTITIES[entity].quarantine_table
    return table if table_exists(connection, table) else None
