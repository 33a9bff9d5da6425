"""Finds tables that Fivetran, Airbyte or a similar tool lands, as files for the loader.

A folder has one file (CSV, JSON lines or Parquet) or one folder of files per table. A DuckDB file is opened read-only,
and DuckDB copies its tables unchanged to Parquet files below the folder of the source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import duckdb

from csm_core.errors import SourceError, SourceUnavailableError
from csm_core.ingest.column_names import by_key, column_key
from csm_core.ingest.file_columns import require_files
from csm_core.ingest.found_files import find_files
from csm_core.ingest.raw_tables import RawTable
from csm_core.ingest.source_files import require_columns
from csm_core.sources.settings_base import LandingPlace
from csm_core.warehouse.models import literal, quoted


def landed_files(landed: LandingPlace, tables: Iterable[str], folder: Path) -> dict[str, list[Path]]:
    """The files of each existing table, by table name; tables of a database are copied to ``folder``.

    Raises SourceError for a path that is neither a folder nor a DuckDB file, SourceUnavailableError for a file that
    another program has locked.
    """
    if landed.path.is_dir():
        return {table: files for table in tables if (files := _landed_files(landed.path, table))}
    return _copied(landed, list(tables), folder)


def found_tables(landed: LandingPlace, tables: Iterable[str]) -> list[str]:
    """The names among ``tables`` that exist. Raises as ``landed_files``."""
    if landed.path.is_dir():
        return [table for table in tables if _landed_files(landed.path, table)]
    with _opened(landed) as connection:
        existing = _tables_of(connection, landed)
    return [table for table in tables if column_key(table) in existing]


def require_landed(landed: LandingPlace, tables: Mapping[str, RawTable]) -> None:
    """Raise SourceError for a table that lacks a column that its raw table requires; ``tables`` is by table name."""
    if landed.path.is_dir():
        require_files([(raw, path) for name, raw in tables.items() for path in _landed_files(landed.path, name)])
        return
    with _opened(landed) as connection:
        existing = _tables_of(connection, landed)
        for name, raw in tables.items():
            stored = existing[column_key(name)]
            described = connection.execute(f"describe {quoted(landed.schema_name)}.{quoted(stored)}").fetchall()
            require_columns(f"{landed.path}: table {stored}", raw.required, [str(column) for column, *_ in described])


def files_of(folder: Path, table: str) -> list[Path]:
    """The files of records that have the name of a table or are in a folder of that name."""
    return find_files(folder, [table], numbered=True, others=False).read[table]


def _landed_files(folder: Path, table: str) -> list[Path]:
    # A landed table is read completely: two dated copies of it would be read as one table.
    return find_files(folder, [table], numbered=False, others=False).read[table]


def _copied(landed: LandingPlace, tables: list[str], folder: Path) -> dict[str, list[Path]]:
    copies: dict[str, list[Path]] = {}
    folder.mkdir(parents=True, exist_ok=True)
    with _opened(landed) as connection:
        existing = _tables_of(connection, landed)
        for table in tables:
            stored = existing.get(column_key(table))
            if stored is None:
                continue
            target = folder / f"{table}.parquet"
            fresh = folder / f".{table}.parquet.new"
            name = f"{quoted(landed.schema_name)}.{quoted(stored)}"
            connection.execute(f"copy (from {name}) to {literal(str(fresh))} (format parquet, compression zstd)")
            fresh.replace(target)
            copies[table] = [target]
    return copies


def _opened(landed: LandingPlace) -> duckdb.DuckDBPyConnection:
    if not landed.path.is_file():
        message = f"{landed.path}: neither a folder nor a file. Set `tables: path` under `sources:` in csm.yaml."
        raise SourceError(message)
    try:
        return duckdb.connect(str(landed.path), read_only=True)
    except duckdb.IOException as error:
        first = str(error).splitlines()[0]
        if "lock" in first.lower():
            message = f"{landed.path}: locked by another program. Run again when it has finished."
            raise SourceUnavailableError(message) from None
        message = f"{landed.path}: cannot be opened as a DuckDB file: {first}"
        raise SourceError(message) from None


def _tables_of(connection: duckdb.DuckDBPyConnection, landed: LandingPlace) -> dict[str, str]:
    rows = connection.execute(
        "select table_name from information_schema.tables where lower(table_schema) = lower(?)", [landed.schema_name]
    ).fetchall()
    if not rows:
        message = f"{landed.path}: no tables in schema {landed.schema_name!r}. Set `tables: schema` in csm.yaml."
        raise SourceError(message)
    return by_key(str(name) for (name,) in rows)
