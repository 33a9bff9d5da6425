"""Exports a SELECT to CSV (safe for spreadsheets), JSON lines or Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from csm_core.errors import InputError
from csm_core.system.file_access import give_group
from csm_core.warehouse.models import literal, quoted
from csm_core.warehouse.spreadsheet_text import escaped_sql

EXPORT_FORMATS = {".csv": "csv", ".jsonl": "json", ".parquet": "parquet"}


def require_writable(path: Path) -> None:
    """Raise InputError for a file name without a known format, or a folder that does not exist."""
    if path.suffix.lower() not in EXPORT_FORMATS:
        message = f"{path}: unknown file format; expected one of {', '.join(EXPORT_FORMATS)}"
        raise InputError(message)
    if not path.parent.is_dir():
        message = f"{path.parent}: the folder does not exist; create it first, or choose another path"
        raise InputError(message)


def write_export(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[tuple[str, str]], origin: str, path: Path
) -> int:
    """Write text columns, given as (name, expression), of ``origin`` (a FROM clause with its conditions) to a file.

    Returns the number of rows. In CSV, text that a spreadsheet would run as a formula is escaped
    (``spreadsheet_text``). An existing file is replaced once the new file is complete. Raises InputError if the file
    cannot be written.
    """
    require_writable(path)
    form = EXPORT_FORMATS[path.suffix.lower()]
    fresh = path.with_name(f".{path.name}.new")
    options = "format csv, header" if form == "csv" else f"format {form}"
    values = ", ".join(f"{escaped_sql(value) if form == 'csv' else value} as {quoted(name)}" for name, value in columns)
    try:
        row = connection.execute(
            f"copy (select {values} from {origin}) to {literal(str(fresh))} ({options})"
        ).fetchone()
        give_group(fresh)
        fresh.replace(path)
    except (duckdb.IOException, OSError) as error:
        message = f"{path}: cannot be written: {str(error).splitlines()[0]}"
        raise InputError(message) from None
    finally:
        fresh.unlink(missing_ok=True)
    return int(row[0]) if row else 0
