"""The source system ``spark``: records in tables of Spark's catalog, or in Parquet files that Spark can read.

Small entities are fetched as Arrow and written to one Parquet file per source, which the loader reads like any other
file: a file with the same content is not loaded again, and a changed one replaces its earlier version. Usage events are
not fetched: ``csm_core.staging.spark_gate`` validates them on Spark.
"""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import duckdb

from csm_core.contract import ENTITIES, USAGE_EVENTS
from csm_core.errors import ConfigError, SourceError
from csm_core.ingest.column_names import by_key, column_key, require_distinct
from csm_core.ingest.loader import load_tables
from csm_core.ingest.raw_tables import LoadResult, Log, RawTable
from csm_core.ingest.source_files import require_columns
from csm_core.sources.files import contract_tables, entity_files
from csm_core.sources.files_settings import FilesSettings, mappable_columns
from csm_core.sources.settings_base import SourceSettings
from csm_core.sources.spark_settings import ONE_SOURCE, SYSTEM, SparkSettings, usage_on_spark
from csm_core.warehouse.live_tables import retried
from csm_core.warehouse.models import quoted
from csm_core.warehouse.remote_session import ArrowTable, ConnectionLostError, EngineQueryError, RemoteSession


class SparkSource:
    """Reads tables and files with Spark."""

    name = SYSTEM

    def __init__(self, open_session: Callable[[], RemoteSession] | None = None) -> None:
        self._open_session = open_session

    @property
    def raw_tables(self) -> tuple[RawTable, ...]:
        """One raw table per entity, except usage events."""
        # A null of a table is a null of its file, so NULL is ordinary text.
        tables = contract_tables(SYSTEM, snapshot=True, null_values=())
        return tuple(table for table in tables if table.entity != USAGE_EVENTS)

    def check(self, settings: SparkSettings) -> str:
        """Check that the table exists and has the required columns. Raises as ``load``."""
        SourceTable(self._session(), settings)
        return f"{settings.place}: Spark reads {settings.entity}; the required columns are present"

    def load(
        self,
        connection: duckdb.DuckDBPyConnection,
        sources: Sequence[SparkSettings],
        *,
        loaded_at: datetime,
        folder: Path,
        log: Log,
    ) -> list[LoadResult]:
        """Fetch and load the tables of all entities except usage events, all or none.

        Raises ConfigError without a session, and SourceError for a table that does not exist or lacks a column.
        """
        files: dict[str, list[Path]] = {table.name: [] for table in self.raw_tables}
        for settings in sources:
            if settings.entity != USAGE_EVENTS:
                file = folder / settings.label / "tables" / f"{settings.entity}.parquet"
                files[settings.entity].append(_fetched(connection, self._session(), settings, file))
        targets = [(table, files[table.name]) for table in self.raw_tables]
        return load_tables(connection, targets, loaded_at=loaded_at, log=log)

    def _session(self) -> RemoteSession:
        if self._open_session is None:
            message = "the system spark reads with the session of the engine; set engine: {kind: spark}"
            raise ConfigError(message)
        return self._open_session()


def require_no_other_usage(sources: Sequence[SourceSettings]) -> None:
    """Raise ConfigError if usage events come from Spark, and a folder of another source has files of them."""
    spark = usage_on_spark(sources)
    for other in sources if spark else ():
        files = entity_files(other).read[USAGE_EVENTS] if isinstance(other, FilesSettings) else []
        if spark and files:
            message = (
                f"sources: usage_events come from {spark.label}, but the source {other.label} has {files[0]}. "
                f"{ONE_SOURCE} Remove the files from the folder, or the source {spark.label}."
            )
            raise ConfigError(message)


class SourceTable:
    """The table of a source as a table of the session, with its columns under the names of the contract.

    ``name`` is its name in the session. ``types`` are the types of the contract's columns that it has, and ``columns``
    the columns of the table that they are taken from. Raises SourceError if Spark cannot read it, and for a column that
    is missing.
    """

    def __init__(self, session: RemoteSession, settings: SparkSettings) -> None:
        self.name = f"source.{settings.label}"
        try:
            found = session.show_source(self.name, table=settings.table, path=settings.path)
        except ConnectionLostError:
            raise
        except EngineQueryError as error:
            key = "table" if settings.table else "path"
            reason = str(error).rstrip(".")
            message = f"{settings.label}: Spark cannot read {settings.place}: {reason}. Check `{key}` under `sources:`."
            raise SourceError(message) from None
        self.columns = _columns(settings, list(found))
        self.types: Mapping[str, str] = {column: found[name] for column, name in self.columns.items()}

    @property
    def expressions(self) -> Mapping[str, str]:
        """The columns of the contract that the table has, as SQL expressions of its columns."""
        return {column: quoted(name) for column, name in self.columns.items()}


def _columns(settings: SparkSettings, found: Sequence[str]) -> dict[str, str]:
    """Return the column of the table for each column of the contract that it has."""
    where = f"{settings.label}: {settings.place}"
    require_distinct(where, found)
    present = by_key(found)
    columns: dict[str, str] = {}
    required = ENTITIES[settings.entity].required_columns
    # Required columns first, as in raw tables.
    for column in (*required, *(name for name in mappable_columns(settings.entity) if name not in required)):
        wanted = settings.columns.get(column, column)
        name = wanted if wanted in found else present.get(column_key(wanted))
        if name is not None:
            columns[column] = name
        elif column in settings.columns:
            message = (
                f"{where}: there is no column {wanted!r}, which `columns` names for {column}. "
                f"Found: {', '.join(found) or 'no column'}."
            )
            raise SourceError(message)
    # A missing column is none of those that are used for another one.
    others = [name for name in found if name not in columns.values()]
    missing = [column for column in required if column not in columns]
    if missing:
        try:
            require_columns(where, missing, others)
        except SourceError as error:
            message = f"{error} Name them under `columns` of the source if they have other names."
            raise SourceError(message) from None
    return columns


def _fetched(
    connection: duckdb.DuckDBPyConnection, session: RemoteSession, settings: SparkSettings, file: Path
) -> Path:
    """Fetch a table; write its rows to the file, in an order that is the same for the same rows."""
    rows = retried(session, lambda: _rows(session, settings))
    if not rows.num_rows and not settings.may_be_empty and _has_rows(connection, file):
        message = (
            f"{settings.label}: {settings.place} has no rows, but had rows before. Nothing was loaded. If this is "
            "correct, set `may_be_empty: true` for the source; otherwise check the table."
        )
        raise SourceError(message)
    file.parent.mkdir(parents=True, exist_ok=True)
    written = file.with_name(f".{file.name}.new")
    with connection.cursor() as cursor:
        cursor.execute("set timezone = 'UTC'")
        cursor.register("fetched_rows", rows)
        cursor.execute("copy (from fetched_rows order by all) to ? (format parquet)", [str(written)])
        cursor.unregister("fetched_rows")
    if file.is_file() and filecmp.cmp(written, file, shallow=False):
        written.unlink()
    else:
        written.replace(file)
    return file


def _rows(session: RemoteSession, settings: SparkSettings) -> ArrowTable:
    table = SourceTable(session, settings)
    values = ", ".join(f"{value} as {column}" for column, value in table.expressions.items())
    return session.query(f"select {values} from {table.name}", {})


def _has_rows(connection: duckdb.DuckDBPyConnection, file: Path) -> bool:
    if not file.is_file():
        return False
    row = connection.execute("select sum(num_rows) from parquet_file_metadata(?)", [str(file)]).fetchone()
    return bool(row and row[0])
