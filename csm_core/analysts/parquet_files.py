"""The marts of the published copy as Parquet files, a file for each day: ``published: {parquet: true}``.

``published/parquet/<mart>/<day>.parquet`` has the rows of a mart with a partition per day, and
``published/parquet/<mart>/all.parquet`` those of any other mart. Each file is written under another name and renamed,
so readers never see a partial file. ``_copy.json`` states the checksum of the copy that all files were written from,
and the columns of each mart; it does not exist while files are being replaced. Without it, or if it names another copy
than the previous one, every file is written again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from csm_core.system.file_access import give_group, make_folder
from csm_core.warehouse.copy_state import COPIED_LAYER, MartChanges
from csm_core.warehouse.models import literal, quoted, whole_tables

PARQUET_FOLDER = "parquet"
WHOLE = "all"
_STATE = "_copy.json"
_SUFFIX = ".parquet"


@dataclass(frozen=True)
class WrittenFiles:
    """The copy that the files have the rows of, and the columns of each mart as (name, type)."""

    checksum: str | None = None
    columns: Mapping[str, list[list[str]]] = field(default_factory=dict[str, list[list[str]]])

    @classmethod
    def read(cls, folder: Path) -> WrittenFiles:
        """The state of a folder of files; empty if its files are incomplete or there are none."""
        try:
            found: dict[str, Any] = json.loads((folder / _STATE).read_text(encoding="utf-8"))
            return cls(found["checksum"], found["columns"])
        except (OSError, ValueError, KeyError, TypeError):
            return cls()


def parquet_folder(copy: Path) -> Path:
    """The folder of the files, beside the published copy."""
    return copy.with_name(PARQUET_FOLDER)


def remove_parquet(copy: Path) -> None:
    """Delete the files, if there are any: nothing keeps them in step with the copy."""
    shutil.rmtree(parquet_folder(copy), ignore_errors=True)


def update_parquet(
    copy: Path, checksum: str, previous: str | None = None, changes: Mapping[str, MartChanges] | None = None
) -> None:
    """Write the files of the days that changed between two copies, and delete those of days that the copy lacks.

    ``checksum`` is that of the copy, ``previous`` that of the copy before, and ``changes`` are those since then; None:
    unknown, so every file is written.
    """
    folder = parquet_folder(copy)
    before = WrittenFiles.read(folder)
    if changes is None or previous is None or before.checksum != previous:
        before, changes = WrittenFiles(), None
    make_folder(folder)
    (folder / _STATE).unlink(missing_ok=True)
    with duckdb.connect(str(copy), read_only=True) as connection:
        columns = _columns(connection)
        for mart in sorted(columns):
            same = changes is not None and before.columns.get(mart) == columns[mart]
            _update_mart(connection, folder / mart, columns[mart], (changes or {}).get(mart_name(mart)), same)
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name not in columns:
            shutil.rmtree(entry)
    fresh = folder / f".{_STATE}.new"
    fresh.write_text(json.dumps({"checksum": checksum, "columns": columns}, indent=1), encoding="utf-8")
    give_group(fresh)
    fresh.replace(folder / _STATE)


def mart_name(table: str) -> str:
    """The name of a mart with its schema."""
    return f"{COPIED_LAYER}.{table}"


def _columns(connection: duckdb.DuckDBPyConnection) -> dict[str, list[list[str]]]:
    """The columns of every mart, as [name, type]."""
    found: dict[str, list[list[str]]] = {}
    for mart, name, kind in connection.execute(
        "select table_name, column_name, data_type from duckdb_columns() "
        "inner join duckdb_tables() using (database_name, schema_name, table_name) "
        "where database_name = current_database() and schema_name = ? order by table_name, column_index",
        [COPIED_LAYER],
    ).fetchall():
        found.setdefault(mart, []).append([name, kind])
    return found


def _update_mart(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    columns: list[list[str]],
    changes: MartChanges | None,
    is_known: bool,
) -> None:
    """Update the files of a mart. ``is_known``: the files have its rows before the changes, in the same columns."""
    by_day = ["as_of_date", "DATE"] in columns and mart_name(folder.name) not in whole_tables(COPIED_LAYER)
    if is_known and changes is None:
        return
    make_folder(folder)
    for leftover in folder.glob(f".*{_SUFFIX}.new"):
        leftover.unlink()
    if not by_day:
        _write(connection, folder, WHOLE, "true")
        wanted = {WHOLE}
    else:
        spans = changes.spans if is_known and changes and not changes.whole else None
        days = {
            day
            for (day,) in connection.execute(
                f"select distinct as_of_date from {COPIED_LAYER}.{quoted(folder.name)}"
            ).fetchall()
        }
        for day in sorted(days):
            if spans is None or any(first <= day <= last for first, last in spans):
                _write(connection, folder, str(day), f"as_of_date = date '{day}'")
        wanted = {str(day) for day in days}
    for file in folder.glob(f"*{_SUFFIX}"):
        if file.name.removesuffix(_SUFFIX) not in wanted:
            file.unlink()


def _write(connection: duckdb.DuckDBPyConnection, folder: Path, name: str, condition: str) -> None:
    fresh = folder / f".{name}{_SUFFIX}.new"
    connection.execute(
        f"copy (select * from {COPIED_LAYER}.{quoted(folder.name)} where {condition}) "
        f"to {literal(str(fresh))} (format parquet, compression zstd)"
    )
    give_group(fresh)
    fresh.replace(folder / f"{name}{_SUFFIX}")
