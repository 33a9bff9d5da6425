"""Builds models with an engine outside the warehouse, such as Spark, and keeps their tables as Parquet directories.

Each build writes a new directory below ``location``; the transaction that records the build makes it live for its days
(``run.engine_days``). A day is therefore old or new, never half, and nothing relies on renames in an object store. A
directory is recorded in ``run.engine_directories`` before it is written, so that the next run can delete what a killed
run left, and what later builds replaced.

The other engine reads three kinds of tables: views of the live directories of tables that it built; small tables of
the warehouse, which are handed over when they have changed; and usage events of the warehouse, of which only the
queued days are handed over. The rebuilt days of every mart, and of the few intermediate tables that other code reads,
are fetched into the warehouse: the published copy, explanations, pages and reports read DuckDB with every engine.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

import duckdb

from csm_core.contract import ENTITIES, USAGE_EVENTS
from csm_core.errors import WarehouseError
from csm_core.logging import get_logger
from csm_core.warehouse.catalog import columns_of, has_rows, identifier, table_exists
from csm_core.warehouse.materialize import Build, ModelResult, affected_rows, build_table, ensure_table
from csm_core.warehouse.models import SqlModel, parse_select, quoted
from csm_core.warehouse.rows import fetch_dicts

# A pyarrow.Table. pyarrow comes with the packages of the other engine, and has no types.
ArrowTable = Any

DIRECTORIES, LIVE_DAYS = "run.engine_directories", "run.engine_days"
EVENTS_TABLE = ENTITIES[USAGE_EVENTS].table
# Every other table has at most one row per account and day, or feature of a plan, so it is fetched into the warehouse.
KEPT_IN_ENGINE = frozenset(("intermediate.int_usage_daily", "intermediate.int_account_features"))
BUILT_LAYERS = ("intermediate.", "marts.")
_QUERY = Path("a query")
_Result = TypeVar("_Result")


class EngineQueryError(WarehouseError):
    """The engine refused a query; the message is the first line of its own."""


class ConnectionLostError(EngineQueryError):
    """The connection to the engine was lost; what it knew of this session, such as its views, is gone."""


@dataclass(frozen=True)
class Directory:
    """A Parquet directory of a table: all of its rows, or those whose ``day`` (a SQL expression) is in ``days``."""

    path: str
    day: str = ""
    days: tuple[date, ...] = ()


class RemoteSession(Protocol):
    """A session of another engine. SELECTs are in DuckDB's dialect and name tables with their schema.

    Column types are named as in DuckDB. Methods raise EngineQueryError with the first line of the engine's message, and
    ConnectionLostError if the session is gone.
    """

    @property
    def location(self) -> str:
        """The folder of the tables, as the engine names it."""
        ...

    @property
    def shown(self) -> dict[str, object]:
        """What the session has of each table, so that it is not handed over or shown again; changed by the engine."""
        ...

    def reconnect(self) -> None:
        """Start a new session after the connection was lost; it shows no table."""
        ...

    def hand_over(self, table: str, rows: ArrowTable, columns: Mapping[str, str]) -> None:
        """Give the engine rows, as a table of this session."""
        ...

    def show(self, table: str, columns: Mapping[str, str], directories: Sequence[Directory]) -> None:
        """Show directories as a table of this session. Columns that a directory lacks are null."""
        ...

    def show_source(self, name: str, *, table: str | None = None, path: str | None = None) -> Mapping[str, str]:
        """Show a table of the engine's catalog, or Parquet files, as a table of this session; return its columns.

        It also has ``_source_file`` (the table, or the file of the row) and ``_source_line`` (the number of the row in
        its file from 1; null for a table). Values of types that the warehouse does not have become text.
        """
        ...

    def write(
        self, sql: str, values: Mapping[str, Any], columns: Mapping[str, str], path: str, model: SqlModel | None = None
    ) -> str | None:
        """Write the rows of a SELECT to a new directory, with these columns; returns the id of the operation.

        ``sql`` is the SELECT of ``model``, unless the engine has its own file for the model.
        """
        ...

    def read(self, path: str, columns: Mapping[str, str]) -> ArrowTable:
        """Return the rows of a directory."""
        ...

    def count(self, path: str) -> int:
        """Return the number of rows of a directory."""
        ...

    def query(self, sql: str, values: Mapping[str, Any]) -> ArrowTable:
        """Return the rows of a SELECT."""
        ...

    def delete(self, path: str) -> None:
        """Delete a directory, if it exists."""
        ...


class RemoteEngine:
    """Builds models in a session of another engine; implements ``Engine``."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, session: RemoteSession) -> None:
        self.warehouse = connection
        self._session = session

    def build(
        self,
        model: SqlModel,
        parameters: Mapping[str, Any],
        days: tuple[date, date] | None = None,
        *,
        sql: str | None = None,
        portable_sql: str | None = None,
    ) -> ModelResult:
        """Replace rows of a model: in the engine, then in the warehouse in one transaction; see ``Engine``."""
        select = sql or model.sql
        try:
            return self._retried(lambda: self._build(model, select, portable_sql or select, parameters, days))
        except EngineQueryError as error:
            message = f"{model.path}: building {model.table} failed: {error}"
            raise WarehouseError(message) from None

    def query(self, sql: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT: from the warehouse if it has its tables, else from the engine."""
        if self._in_warehouse(sql):
            return self.warehouse.execute(sql, values or None).fetchall()
        rows = self._retried(lambda: self._remote_rows(sql, values or {}))
        return [tuple(row.values()) for row in rows]

    def query_dicts(self, sql: str, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the rows of a SELECT as dictionaries from column to value."""
        if self._in_warehouse(sql):
            return fetch_dicts(self.warehouse, sql, values or None)
        return self._retried(lambda: self._remote_rows(sql, values or {}))

    def column_types(self, table: str) -> Mapping[str, str]:
        """Return the columns of a table; the warehouse has an empty table for each table of the engine."""
        return dict(self.warehouse.execute(f"select column_name, column_type from (describe {table})").fetchall())

    def delete_unreferenced(self) -> None:
        """Delete the directories of killed runs, and those that later builds replaced."""
        for (directory,) in self.warehouse.execute(
            f"select directory from {DIRECTORIES} where directory not in (select directory from {LIVE_DAYS}) order by 1"
        ).fetchall():
            self._session.delete(directory)
            self.warehouse.execute(f"delete from {DIRECTORIES} where directory = ?", [directory])

    def _retried(self, action: Callable[[], _Result]) -> _Result:
        """Run an action; once more, from its beginning and with a new session, if the connection is lost."""
        try:
            return action()
        except ConnectionLostError as error:
            get_logger(__name__).warning("the connection to the engine was lost; connecting again", error=str(error))
            self._session.reconnect()
            return action()

    def _build(
        self,
        model: SqlModel,
        sql: str,
        portable_sql: str,
        parameters: Mapping[str, Any],
        days: tuple[date, date] | None,
    ) -> ModelResult:
        self.delete_unreferenced()
        tables = parse_select(portable_sql, model.path)[0]
        for table in sorted({model.table, *tables}):
            self._adopt(table)
        path = self._new_directory(model.table)
        operations: list[str | None] = []

        def replace(connection: duckdb.DuckDBPyConnection, build: Build) -> int:
            if not model.partitioned and not model.incremental:
                ensure_table(connection, model, sql, build.parameters)
            columns = self.column_types(model.table)
            self._show_tables(tables, build)
            operations.append(self._session.write(portable_sql, build.parameters, columns, path, model))
            self._set_live(build, path)
            if not _is_fetched(model.table):
                return self._session.count(path)
            rows = self._session.read(path, columns)
            _replace_fetched(connection, build, rows)
            return rows.num_rows

        result = build_table(self.warehouse, model, sql, parameters, days, replace)
        return ModelResult(result.table, result.rows, result.seconds, result.queued_days, operations[-1])

    def _new_directory(self, table: str) -> str:
        """Record a directory before it is written, so that it can be deleted if this process is killed."""
        path = f"{self._session.location.rstrip('/')}/{table}/{uuid.uuid4().hex}"
        self.warehouse.execute(
            f"insert into {DIRECTORIES} values (?, ?, ?)", [path, table, datetime.now(UTC).replace(tzinfo=None)]
        )
        return path

    def _set_live(self, build: Build, path: str) -> None:
        """Make a directory the live one for the days of a build; a whole table has the day null."""
        table = build.model.table
        if build.model.incremental:
            days: list[date | None] = list(build.queued_days)
            replaced = "list_contains($days, day)"
        elif build.days:
            days = list(_days_between(*build.days))
            replaced = "list_contains($days, day)"
        else:
            days = [None]
            replaced = "len($days) > 0"
        values = {"table": table, "days": days}
        replaced = replaced.replace("$days", "cast($days as date[])")
        self.warehouse.execute(f"delete from {LIVE_DAYS} where table_name = $table and {replaced}", values)
        self.warehouse.execute(
            f"insert into {LIVE_DAYS} select $table, day, $path, len(cast($days as date[])) "
            "from (select unnest(cast($days as date[])) as day) order by day",
            {**values, "path": path},
        )

    def _show_tables(self, tables: Iterable[str], build: Build | None = None) -> None:
        """Make sure that the session has the current rows of tables."""
        for table in sorted(tables):
            if not table_exists(self.warehouse, table):
                message = f"the table {table} does not exist yet; materialise it first"
                raise WarehouseError(message)
            if table.startswith(BUILT_LAYERS):
                self._show_live(table)
            elif table == EVENTS_TABLE and build:
                self._hand_over_events(build)
            else:
                self._hand_over(table)

    def _show_live(self, table: str) -> None:
        columns, directories = self.column_types(table), self._live_directories(table)
        state = (tuple(columns.items()), directories)
        if self._session.shown.get(table) != state:
            self._session.show(table, columns, directories)
            self._session.shown[table] = state

    def _live_directories(self, table: str) -> tuple[Directory, ...]:
        day = _day_of(self.column_types(table))
        return tuple(
            Directory(path, day, tuple(days)) if written > len(days) else Directory(path)
            for path, days, written in self.warehouse.execute(
                f"select directory, list(day order by day), any_value(days_written) from {LIVE_DAYS} "
                "where table_name = ? group by directory order by directory",
                [table],
            ).fetchall()
        )

    def _adopt(self, table: str) -> None:
        """Hand over the rows of a table that DuckDB built before the configuration was changed to this engine."""
        if not table.startswith(BUILT_LAYERS) or not table_exists(self.warehouse, table):
            return
        tracked = self.warehouse.execute(f"select 1 from {LIVE_DAYS} where table_name = ? limit 1", [table]).fetchone()
        if tracked or not has_rows(self.warehouse, table):
            return
        columns = self.column_types(table)
        path = self._new_directory(table)
        self._session.hand_over(table, self._rows_of(table, "true"), self.column_types(table))
        self._session.write(f"select * from {table}", {}, columns, path)
        self._session.shown.pop(table, None)
        day = _day_of(columns)
        self.warehouse.execute(
            f"insert into {LIVE_DAYS} with days as (select distinct {day or 'cast(null as date)'} as day from {table}) "
            "select ?, day, ?, (select count(*) from days) from days order by day",
            [table, path],
        )

    def _hand_over(self, table: str) -> None:
        """Hand over a table of the warehouse, if its rows differ from those that the session has."""
        columns = ", ".join(quoted(name) for name in columns_of(self.warehouse, table))
        # A table without rows has a fingerprint of its own: its columns may have changed.
        fingerprint = self.warehouse.execute(
            f"select count(*), sum(hash({columns})), '{columns.replace(chr(39), '')}' from {table}"
        ).fetchone()
        if self._session.shown.get(table) != fingerprint:
            self._session.hand_over(table, self._rows_of(table, "true"), self.column_types(table))
            self._session.shown[table] = fingerprint

    def _hand_over_events(self, build: Build) -> None:
        """Hand over the usage events of the queued days only: the whole table may have a billion rows."""
        condition = "false"
        if build.queued_days and build.model.incremental:
            first, last = build.queued_days[0], build.queued_days[-1]
            condition = (
                f"occurred_at >= timestamp '{first}' and occurred_at < date '{last}' + 1 "
                f"and cast(occurred_at as date) in (select usage_date from {build.model.incremental.queue})"
            )
        self._session.hand_over(EVENTS_TABLE, self._rows_of(EVENTS_TABLE, condition), self.column_types(EVENTS_TABLE))

    def _rows_of(self, table: str, condition: str) -> ArrowTable:
        columns = ", ".join(
            f"cast({quoted(name)} as varchar) as {quoted(name)}" if kind.startswith("ENUM") else quoted(name)
            for name, kind in self.column_types(table).items()
        )
        return self.warehouse.sql(f"select {columns} from {table} where {condition}").to_arrow_table()

    def _in_warehouse(self, sql: str) -> bool:
        return not parse_select(sql, _QUERY)[0] & KEPT_IN_ENGINE

    def _remote_rows(self, sql: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        tables, parameters = parse_select(sql, _QUERY)
        for table in sorted(tables):
            self._adopt(table)
        self._show_tables(tables)
        return self._session.query(sql, {name: values[name] for name in parameters}).to_pylist()


def _is_fetched(table: str) -> bool:
    return table.startswith(BUILT_LAYERS) and table not in KEPT_IN_ENGINE


def _replace_fetched(connection: duckdb.DuckDBPyConnection, build: Build, rows: ArrowTable) -> None:
    """Replace the rows of a build in the warehouse with those that the engine computed."""
    table = build.model.table
    affected, values = affected_rows(build)
    connection.execute(f"delete from {table} where {affected}", values or None)
    order = [name for name in ("as_of_date", *build.model.grain) if name in rows.column_names]
    connection.register("fetched_rows", rows)
    try:
        by_key = f"order by {', '.join(dict.fromkeys(identifier(name) for name in order))}" if order else ""
        connection.execute(f"insert into {table} by name from fetched_rows {by_key}")
    finally:
        connection.unregister("fetched_rows")


def _day_of(columns: Mapping[str, str]) -> str:
    """Return the SQL expression of the day that a table is built by; empty if it has none."""
    return next((name for name in ("as_of_date", "usage_date") if name in columns), "")


def _days_between(first: date, last: date) -> list[date]:
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]
