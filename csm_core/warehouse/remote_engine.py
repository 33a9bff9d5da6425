"""Builds models with an engine outside the warehouse, such as Spark, and keeps their tables as Parquet directories.

Each build writes a new directory below ``location``; the transaction that records the build makes it live for its days
(``csm_core.warehouse.live_tables``). A day is therefore old or new, never half, and nothing relies on renames in an
object store.

The other engine reads three kinds of tables: views of the live directories of tables that it built, and of usage events
that it validated; small tables of the warehouse, which are handed over when they have changed; and usage events of the
warehouse, of which only the queued days are handed over. The rebuilt days of every mart, and of the few intermediate
tables that other code reads, are fetched into the warehouse: the published copy, explanations, pages and reports read
DuckDB with every engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb

from csm_core.errors import WarehouseError
from csm_core.warehouse.catalog import has_rows, identifier, table_exists
from csm_core.warehouse.live_tables import EVENTS_TABLE, LIVE_DAYS, LiveTables, day_of, retried
from csm_core.warehouse.materialize import Around, Build, ModelResult, affected_rows, build_table, ensure_table
from csm_core.warehouse.models import SqlModel, parse_select
from csm_core.warehouse.remote_session import ArrowTable, EngineQueryError, RemoteSession
from csm_core.warehouse.rows import fetch_dicts

# Every other table has at most one row per account and day, or feature of a plan, so it is fetched into the warehouse.
KEPT_IN_ENGINE = frozenset(("intermediate.int_usage_daily", "intermediate.int_account_features"))
BUILT_LAYERS = ("intermediate.", "marts.")
_QUERY = Path("a query")


class RemoteEngine:
    """Builds models in a session of another engine; implements ``Engine``."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, session: RemoteSession) -> None:
        self.warehouse = connection
        self._session = session
        self._tables = LiveTables(connection, session)

    def build(
        self,
        model: SqlModel,
        parameters: Mapping[str, Any],
        days: tuple[date, date] | None = None,
        *,
        sql: str | None = None,
        portable_sql: str | None = None,
        around: Around | None = None,
    ) -> ModelResult:
        """Replace rows of a model: in the engine, then in the warehouse in one transaction; see ``Engine``."""
        select = sql or model.sql
        try:
            return retried(
                self._session, lambda: self._build(model, select, portable_sql or select, parameters, days, around)
            )
        except EngineQueryError as error:
            message = f"{model.path}: building {model.table} failed: {error}"
            raise WarehouseError(message) from None

    def query(self, sql: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT: from the warehouse if it has its tables, else from the engine."""
        if self._in_warehouse(sql):
            return self.warehouse.execute(sql, values or None).fetchall()
        rows = retried(self._session, lambda: self._remote_rows(sql, values or {}))
        return [tuple(row.values()) for row in rows]

    def query_dicts(self, sql: str, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the rows of a SELECT as dictionaries from column to value."""
        if self._in_warehouse(sql):
            return fetch_dicts(self.warehouse, sql, values or None)
        return retried(self._session, lambda: self._remote_rows(sql, values or {}))

    def column_types(self, table: str) -> Mapping[str, str]:
        """Return the columns of a table; the warehouse has an empty table for each table of the engine."""
        return self._tables.column_types(table)

    def delete_unreferenced(self) -> None:
        """Delete the directories of killed runs, and those that later builds replaced."""
        self._tables.delete_unreferenced()

    def _build(
        self,
        model: SqlModel,
        sql: str,
        portable_sql: str,
        parameters: Mapping[str, Any],
        days: tuple[date, date] | None,
        around: Around | None,
    ) -> ModelResult:
        tables = parse_select(portable_sql, model.path)[0]
        for table in sorted({model.table, *tables}):
            self._adopt(table)
        path = self._tables.new_directory(model.table)
        operations: list[str | None] = []

        def replace(connection: duckdb.DuckDBPyConnection, build: Build) -> int:
            if not model.partitioned and not model.incremental:
                ensure_table(connection, model, sql, build.parameters)
            columns = self.column_types(model.table)
            self._show_tables(tables, build)
            operations.append(self._session.write(portable_sql, build.parameters, columns, path, model))
            self._tables.set_live(model.table, _days_of(build), path)
            if not _is_fetched(model.table):
                # Rows that DuckDB built before this engine was chosen.
                connection.execute(f"delete from {model.table}")
                return self._session.count(path)
            rows = self._session.read(path, columns)
            _replace_fetched(connection, build, rows)
            return rows.num_rows

        result = build_table(self.warehouse, model, sql, parameters, days, around(replace) if around else replace)
        return ModelResult(result.table, result.rows, result.seconds, result.queued_days, operations[-1])

    def _show_tables(self, tables: Iterable[str], build: Build | None = None) -> None:
        """Make sure that the session has the current rows of tables."""
        for table in sorted(tables):
            if not table_exists(self.warehouse, table):
                message = f"the table {table} does not exist yet; materialise it first"
                raise WarehouseError(message)
            if table.startswith(BUILT_LAYERS) or (table == EVENTS_TABLE and self._tables.has_days(table)):
                self._tables.show(table)
            elif table == EVENTS_TABLE and build:
                self._hand_over_events(build)
            else:
                self._tables.hand_over(table)

    def _adopt(self, table: str) -> None:
        """Hand over the rows of a table that DuckDB built before the configuration was changed to this engine."""
        if not table.startswith(BUILT_LAYERS) or not table_exists(self.warehouse, table):
            return
        if self._tables.has_days(table) or not has_rows(self.warehouse, table):
            return
        columns = self.column_types(table)
        path = self._tables.new_directory(table)
        self._session.hand_over(table, self._tables.rows_of(table, "true"), self.column_types(table))
        self._session.write(f"select * from {table}", {}, columns, path)
        self._session.shown.pop(table, None)
        day = day_of(table, columns)
        self.warehouse.execute(
            f"insert into {LIVE_DAYS} with days as (select distinct {day or 'cast(null as date)'} as day from {table}) "
            "select ?, day, ?, (select count(*) from days) from days order by day",
            [table, path],
        )

    def _hand_over_events(self, build: Build) -> None:
        """Hand over the usage events of the queued days only: the whole table may have a billion rows."""
        condition = "false"
        if build.queued_days and build.model.incremental:
            first, last = build.queued_days[0], build.queued_days[-1]
            condition = (
                f"occurred_at >= timestamp '{first}' and occurred_at < date '{last}' + 1 "
                f"and cast(occurred_at as date) in (select usage_date from {build.model.incremental.queue})"
            )
        rows = self._tables.rows_of(EVENTS_TABLE, condition)
        self._session.hand_over(EVENTS_TABLE, rows, self.column_types(EVENTS_TABLE))

    def _in_warehouse(self, sql: str) -> bool:
        tables = parse_select(sql, _QUERY)[0]
        return not tables & KEPT_IN_ENGINE and not (EVENTS_TABLE in tables and self._tables.has_days(EVENTS_TABLE))

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


def _days_of(build: Build) -> list[date | None]:
    """Return the days that a build replaces; a whole table has the day null."""
    if build.model.incremental:
        return list(build.queued_days)
    return list(_days_between(*build.days)) if build.days else [None]


def _days_between(first: date, last: date) -> list[date]:
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]
