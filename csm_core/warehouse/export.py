"""A SELECT written to a file that a person opens: CSV that no spreadsheet runs, JSON lines, or Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from csm_core.errors import InputError
from csm_core.system.file_access import give_group
from csm_core.warehouse.models import literal, quoted

EXPORT_FORMATS = {".csv": "csv", ".jsonl": "json", ".parquet": "parquet"}
_FORMULA = r"^'*[=+@\t\r-]"
_NUMBER = r"^[+-]?[0-9.]+$"


def require_writable(path: Path) -> None:
    """Raise InputError for a name that states no known format, or a folder that is not there."""
    if path.suffix.lower() not in EXPORT_FORMATS:
        message = f"{path}: the name does not state a known format; use one of {', '.join(EXPORT_FORMATS)}"
        raise InputError(message)
    if not path.parent.is_dir():
        message = f"{path.parent}: not a folder; make it first, or give another path"
        raise InputError(message)


def write_export(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[tuple[str, str]], origin: str, path: Path
) -> int:
    """Write text columns, given as (name, expression), of ``origin`` (a FROM clause and what follows) to a file.

    Returns the number of rows. In CSV a value that a spreadsheet would take for a formula gets an apostrophe in front.
    Raises InputError where the file cannot be written; one that is there is replaced when the new one is complete.
    """
    require_writable(path)
    form = EXPORT_FORMATS[path.suffix.lower()]
    fresh = path.with_name(f".{path.name}.new")
    options = "format csv, header" if form == "csv" else f"format {form}"
    values = ", ".join(f"{harmless(value) if form == 'csv' else value} as {quoted(name)}" for name, value in columns)
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


def harmless(value: str) -> str:
    """A SQL expression as text, with an apostrophe in front of what a spreadsheet would run as a formula."""
    text = f"cast({value} as varchar)"
    formula = f"regexp_matches({text}, {literal(_FORMULA)}) and not regexp_matches({text}, '{_NUMBER}')"
    return f"case when {formula} then '''' || {text} else {text} end"
