"""Tables that Fivetran, Airbyte or the like land, brought to files that the loader takes.

A folder holds one file (CSV, JSON lines or Parquet) or one folder of files per table. A DuckDB file is opened
read-only and its tables are copied to Parquet below the source's own folder, as they are, without going through Python.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import duckdb

from csm_core.errors import SourceError, SourceUnavailableError
from csm_core.sources.files import readable_files
from csm_core.sources.settings import LandingPlace
from csm_core.sources.source_files import SUFFIXES, form_of
from csm_core.sql_models import literal


def landed_files(landed: LandingPlace, tables: Iterable[str], folder: Path) -> dict[str, list[Path]]:
    """The files of each table that is there, by the table's name; ``folder`` takes copies of database tables.

    Raises SourceError for a path that is neither a folder nor a DuckDB file, SourceUnavailableError for a file that
    another program holds.
    """
    if landed.path.is_dir():
        return {table: files for table in tables if (files := files_of(landed.path, table))}
    return _copied(landed, list(tables), folder)


def found_tables(landed: LandingPlace, tables: Iterable[str]) -> list[str]:
    """The names among ``tables`` that are there. Raises as ``landed_files``."""
    if landed.path.is_dir():
        return [table for table in tables if files_of(landed.path, table)]
    with _opened(landed) as connection:
        there = _tables_of(connection, landed)
    return [table for table in tables if table in there]


def files_of(folder: Path, table: str) -> list[Path]:
    """The file, or the files of the folder, of that name."""
    if (folder / table).is_dir():
        return readable_files(folder / table)
    names = (f"{table}{suffix}{packed}" for suffix in SUFFIXES for packed in ("", ".gz"))
    return [path for name in names if form_of(path := folder / name) and path.is_file()]


def _copied(landed: LandingPlace, tables: list[str], folder: Path) -> dict[str, list[Path]]:
    copies: dict[str, list[Path]] = {}
    folder.mkdir(parents=True, exist_ok=True)
    with _opened(landed) as connection:
        there = _tables_of(connection, landed)
        for table in tables:
            if table not in there:
                continue
            target = folder / f"{table}.parquet"
            fresh = folder / f".{table}.parquet.new"
            name = f'"{landed.schema_name}"."{there[table]}"'
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
            message = f"{landed.path}: held by another program. Run again when it has finished."
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
    return {str(name).lower(): str(name) for (name,) in rows}
