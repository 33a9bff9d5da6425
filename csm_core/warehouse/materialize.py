"""Materialises models: the days of a run, queued days or a whole table, each in one transaction.

If the process is killed, the warehouse keeps its previous state, and repeating the run has the same result as an
uninterrupted run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import duckdb

from csm_core.contract import ACCOUNTS, ENTITIES
from csm_core.errors import WarehouseError
from csm_core.warehouse.catalog import identifier, table_exists, transaction
from csm_core.warehouse.copy_state import COPIED_LAYER, mark_changed
from csm_core.warehouse.late_changes import record_watermarks
from csm_core.warehouse.live_tables import LIVE_DAYS
from csm_core.warehouse.model_views import show_view
from csm_core.warehouse.models import Incremental, SqlModel, literal, parse_select
from csm_core.warehouse.previous_names import show_previous_names
from csm_core.warehouse.text_macros import keep_macros

ACCOUNT_DAYS_AT_ONCE = 400_000
"""A build of more accounts times days has several statements: the largest model takes some 7 kB for each of them."""

# Every statement reads the days of its windows again.
_LEAST_DAYS = 7
_ACCOUNTS = ENTITIES[ACCOUNTS].table
# The bounds of an empty range, for a rollup without queued days.
_NO_DAY = date(1970, 1, 1)


@dataclass(frozen=True)
class ModelResult:
    """The result of building a model: the row count of the built days (or the whole table), and the duration.

    ``queued_days`` are the days that an incremental model took from its queue and replaced. ``operation`` is the id of
    the build on a server, if the engine has one.
    """

    table: str
    rows: int
    seconds: float
    queued_days: tuple[date, ...] = ()
    operation: str | None = None


@dataclass(frozen=True)
class Build:
    """What a build replaces: the rows of a model's SELECT for ``days``, for ``queued_days``, or of the whole table.

    ``parameters`` are the values of the SELECT's parameters.
    """

    model: SqlModel
    sql: str
    parameters: Mapping[str, Any]
    days: tuple[date, date] | None = None
    queued_days: tuple[date, ...] = ()


# Replaces the rows of a build, within its transaction; returns their number.
Replace = Callable[[duckdb.DuckDBPyConnection, Build], int]
# Adds statements before or after the replacement, within its transaction.
Around = Callable[[Replace], Replace]


def set_run_days(connection: duckdb.DuckDBPyConnection, first: date, last: date) -> None:
    """Set the days that partitioned models materialise: ``first`` to ``last``, both included."""
    if last < first:
        message = f"the first day, {first}, is after the last, {last}"
        raise WarehouseError(message)
    connection.execute("delete from run.days")
    connection.execute(
        "insert into run.days select cast(range as date) from range(?::date, ?::date + interval 1 day, interval 1 day)",
        [first, last],
    )


def build_model(
    connection: duckdb.DuckDBPyConnection,
    model: SqlModel,
    parameters: Mapping[str, Any],
    days: tuple[date, date] | None = None,
) -> ModelResult:
    """Materialise a model in one transaction: the given days, its queued days, or the whole table.

    A partitioned model requires ``days``; only the rows of these days are replaced. Raises WarehouseError with the
    name of the file if the SQL fails.
    """
    return build_table(connection, model, model.sql, parameters, days)


def replace_rows(connection: duckdb.DuckDBPyConnection, build: Build) -> int:
    """Replace the rows of a build with those of its SELECT, in DuckDB; returns their number."""
    model, sql, bound = build.model, build.sql, build.parameters
    if not model.partitioned and not model.incremental:
        connection.execute(f"create or replace table {model.table} as {sql}", bound)
        return _count(connection, model.table)
    affected, span = affected_rows(build)
    connection.execute(f"delete from {model.table} where {affected}", span)
    insert = f"insert into {model.table} by name {sql}"
    parts = _parts(connection, build.days) if build.days else []
    if len(parts) > 1:
        for first, last in parts:
            set_run_days(connection, first, last)
            bounds = {"first_date": first, "last_date": last}
            connection.execute(insert, {name: bounds.get(name, value) for name, value in bound.items()})
        set_run_days(connection, parts[0][0], parts[-1][1])
    else:
        connection.execute(insert, bound)
    return _count(connection, f"{model.table} where {affected}", span)


def _parts(connection: duckdb.DuckDBPyConnection, days: tuple[date, date]) -> list[tuple[date, date]]:
    """Divide the days of a build, so that memory does not grow with their number; no day depends on the others."""
    first, last = days
    length = (last - first).days + 1
    if length > _LEAST_DAYS and table_exists(connection, _ACCOUNTS):
        accounts = max(1, _count(connection, _ACCOUNTS))
        length = max(_LEAST_DAYS, ACCOUNT_DAYS_AT_ONCE // accounts)
    starts = [first + timedelta(days=number) for number in range(0, (last - first).days + 1, length)]
    return [(start, min(start + timedelta(days=length - 1), last)) for start in starts]


def affected_rows(build: Build) -> tuple[str, dict[str, Any]]:
    """Return a SQL condition for the rows that a build of days replaces, and the values of its parameters."""
    if build.model.incremental:
        column = identifier(build.model.incremental.column)
        return f"{column} in (select {column} from {build.model.incremental.queue})", {}
    if build.days is None:
        return "true", {}
    first, last = build.days
    return "as_of_date between $first_date and $last_date", {"first_date": first, "last_date": last}


def build_table(
    connection: duckdb.DuckDBPyConnection,
    model: SqlModel,
    sql: str,
    parameters: Mapping[str, Any],
    days: tuple[date, date] | None = None,
    replace: Replace = replace_rows,
) -> ModelResult:
    """Like ``build_model``, with a separate SELECT for the table that the model describes.

    ``replace`` computes and stores the rows; the days, queues and watermarks are the same for every engine.
    """
    started = time.perf_counter()
    if model.partitioned and days is None:
        message = f"{model.table} is partitioned: `days` is required"
        raise WarehouseError(message)
    values = dict(parameters)
    queued: tuple[date, ...] = ()
    if model.layer == "staging":
        keep_macros(connection)
    try:
        with transaction(connection):
            if days:
                set_run_days(connection, *days)
                values.update(first_date=days[0], last_date=days[1])
            if model.incremental:
                values.update(first_date=_NO_DAY, last_date=_NO_DAY)
                if ensure_table(connection, model, sql, _bound(model, sql, values)):
                    _queue_all_days(connection, model, model.incremental)
                queued = _queued_days(connection, model.incremental)
                if queued:
                    values.update(first_date=queued[0], last_date=queued[-1])
            bound = _bound(model, sql, values)
            if model.partitioned or model.incremental:
                ensure_table(connection, model, sql, bound)
            rows = replace(connection, Build(model, sql, bound, days if model.partitioned else None, queued))
            if model.incremental:
                _advance_queue(connection, model.incremental)
            comment(connection, model)
            show_view(connection, model)
            if model.layer == COPIED_LAYER:
                show_previous_names(connection, model)
            inputs = parse_select(sql, model.path)[0]
            built = days if model.partitioned else None
            record_watermarks(connection, model.table, inputs, built)
            if model.layer == COPIED_LAYER:
                mark_changed(connection, model.table, built)
    except duckdb.Error as error:
        message = f"{model.path}: building {model.table} failed: {str(error).splitlines()[0]}"
        raise WarehouseError(message) from error
    return ModelResult(model.table, rows, time.perf_counter() - started, queued)


def comment(connection: duckdb.DuckDBPyConnection, model: SqlModel) -> None:
    """Store the descriptions in the yml as comments of the table and its columns, which a replaced table loses."""
    connection.execute(f"comment on table {model.table} is {literal(model.description)}")
    for column, description in model.columns.items():
        connection.execute(f"comment on column {model.table}.{identifier(column)} is {literal(description)}")


def _advance_queue(connection: duckdb.DuckDBPyConnection, incremental: Incremental) -> None:
    """Empty the queue of a rollup, and add its days to the queue that it feeds."""
    column, queue, feeds = identifier(incremental.column), incremental.queue, incremental.feeds
    if feeds:
        connection.execute(
            f"insert into {feeds} select {column} from {queue} where {column} not in (select {column} from {feeds})"
        )
    connection.execute(f"delete from {queue}")


def ensure_table(connection: duckdb.DuckDBPyConnection, model: SqlModel, sql: str, bound: Mapping[str, Any]) -> bool:
    """Align the table's columns with the SELECT; returns whether a column was added to an existing table."""
    expected = connection.execute(f"describe ({_without_trailing_semicolon(sql)})", bound).fetchall()
    if not table_exists(connection, model.table):
        # Not "as select ... limit 0": DuckDB 2.0 then stores statistics of empty columns, and joins miss rows that
        # are inserted later until the file is reopened.
        columns = ", ".join(f"{identifier(name)} {kind}" for name, kind, *_ in expected)
        connection.execute(f"create table {model.table} ({columns})")
        return False
    return align_columns(connection, model.table, {name: kind for name, kind, *_ in expected})


def align_columns(connection: duckdb.DuckDBPyConnection, table: str, expected: Mapping[str, str]) -> bool:
    """Add, convert and drop columns of a table so that it has the expected ones; returns whether one was added."""
    stored: dict[str, str] = {name: kind for name, kind, *_ in connection.execute(f"describe {table}").fetchall()}
    for name, kind in expected.items():
        if name not in stored:
            # A newer version of the model has an additional column: past days have null until they are rebuilt.
            connection.execute(f"alter table {table} add column {identifier(name)} {kind}")
        elif kind != stored[name]:
            # A newer version of the model may have another type, such as a wider one; existing values are kept.
            connection.execute(f"alter table {table} alter column {identifier(name)} set data type {kind}")
    for name in stored.keys() - expected.keys():
        connection.execute(f"alter table {table} drop column {identifier(name)}")
    return any(name not in stored for name in expected)


def _queue_all_days(connection: duckdb.DuckDBPyConnection, model: SqlModel, incremental: Incremental) -> None:
    """Queue every day of a rollup, since models read its new column for the whole history."""
    column, queue = identifier(incremental.column), incremental.queue
    built = f"select {column} from {model.table}"
    if table_exists(connection, LIVE_DAYS):
        # The days of a table that another engine keeps.
        built += f" union all select day from {LIVE_DAYS} where table_name = {literal(model.table)}"
    connection.execute(
        f"insert into {queue} select distinct {column} from ({built}) "
        f"where {column} not in (select {column} from {queue}) order by {column}"
    )


def _without_trailing_semicolon(sql: str) -> str:
    return sql.rstrip().rstrip(";")


def _bound(model: SqlModel, sql: str, values: Mapping[str, Any]) -> dict[str, Any]:
    used = parse_select(sql, model.path)[1]
    missing = sorted(used - values.keys())
    if missing:
        message = f"{model.path}: no value for parameter {', '.join(f'${name}' for name in missing)}"
        raise WarehouseError(message)
    return {name: values[name] for name in used}


def _queued_days(connection: duckdb.DuckDBPyConnection, incremental: Incremental) -> tuple[date, ...]:
    column = identifier(incremental.column)
    found = connection.execute(f"select distinct {column} from {incremental.queue} order by 1").fetchall()
    return tuple(day for (day,) in found)


def _count(connection: duckdb.DuckDBPyConnection, relation: str, values: Mapping[str, Any] | None = None) -> int:
    row = connection.execute(f"select count(*) from {relation}", values or None).fetchone()
    return int(row[0]) if row else 0
