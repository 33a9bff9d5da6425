"""Keeps the raw records that later loads replaced, for the setting ``history.keep_replaced_days``.

A replaced row moves from its raw table to a table of the same name in the schema ``replaced``, with ``_replaced_at``.
Raw tables therefore have current rows only, and nothing that reads them changes.

A file that is loaded again mostly has the same rows as before. ``replaced.unchanged_rows`` describes these as ranges of
lines of the later load, so that a file that grows every day is stored once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb

from csm_core.contract import BOOKKEEPING
from csm_core.ingest.column_names import REPLACED_AT
from csm_core.ingest.raw_columns import converted
from csm_core.warehouse.catalog import columns_of, has_rows, table_exists
from csm_core.warehouse.models import quoted

SCHEMA = "replaced"
UNCHANGED = f"{SCHEMA}.unchanged_rows"
ENDED_LOADS = f"{SCHEMA}.ended_loads"
_PLACE = "_load_id, _source_file, _source_line"
_TEXT = "VARCHAR"


@dataclass(frozen=True)
class Forgotten:
    """What was deleted from a kept table: its number of rows, those in ranges of unchanged lines included."""

    table: str
    rows: int


def kept_table(raw_table: str) -> str:
    """Return the table of the replaced rows of a raw table."""
    return f"{SCHEMA}.{raw_table.partition('.')[2]}"


def replace_rows_of(
    connection: duckdb.DuckDBPyConnection,
    raw_table: str,
    condition: str,
    values: Mapping[str, Any],
    at: datetime,
    *,
    across_files: bool = False,
) -> None:
    """Move the rows of a raw table that meet a condition to its kept table, in the caller's transaction.

    ``condition`` is SQL with the parameters ``values``; ``at`` is a UTC time. Later versions of the rows are looked for
    in later loads of the same file, or of any file if ``across_files``.
    """
    connection.execute(
        f"create or replace temp table leaving_rows as select {_PLACE} from {raw_table} where {condition}",
        dict(values) or None,
    )
    if has_rows(connection, "temp.leaving_rows"):
        _pair(connection, raw_table, across_files=across_files)
        _keep_ranges(connection, raw_table, at)
        _keep_changed(connection, raw_table, at)
        connection.execute(f"delete from {raw_table} where ({_PLACE}) in (select ({_PLACE}) from temp.leaving_rows)")
        connection.execute("drop table temp.row_pairs")
    connection.execute("drop table temp.leaving_rows")


def forget_replaced(connection: duckdb.DuckDBPyConnection, before: datetime) -> list[Forgotten]:
    """Delete the rows that were replaced before a UTC time; returns what was deleted, by raw table."""
    limit = {"before": before}
    forgotten = dict(
        connection.execute(
            f"select raw_table, cast(sum(last_line - first_line + 1) as bigint) from {UNCHANGED} "
            "where replaced_at < $before group by raw_table",
            limit,
        ).fetchall()
    )
    connection.execute(f"delete from {UNCHANGED} where replaced_at < $before", limit)
    for raw_table in raw_tables_with_kept_rows(connection):
        row = connection.execute(f"delete from {kept_table(raw_table)} where {REPLACED_AT} < $before", limit).fetchone()
        forgotten[raw_table] = forgotten.get(raw_table, 0) + (row[0] if row else 0)
    return [Forgotten(table, rows) for table, rows in sorted(forgotten.items()) if rows]


def raw_tables_with_kept_rows(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the raw tables of which replaced rows are kept."""
    return [
        f"raw.{name}"
        for (name,) in connection.execute(
            "select table_name from duckdb_columns() where database_name = current_database() and schema_name = ? "
            "and column_name = ? order by table_name",
            [SCHEMA, REPLACED_AT],
        ).fetchall()
    ]


def record_end_of_load(
    connection: duckdb.DuckDBPyConnection, raw_table: str, path: str, load_id: int, at: datetime
) -> None:
    """Record when a load of a file stopped to count, because the file was removed or read again."""
    connection.execute(f"insert into {ENDED_LOADS} values (?, ?, ?, ?)", [raw_table, path, load_id, at])


def create_known_rows(connection: duckdb.DuckDBPyConnection, raw_table: str, origin: str, known_at: datetime) -> int:
    """Create a raw table as it was in the attached warehouse ``origin`` at a UTC time; returns its number of rows.

    Rows that are only described as unchanged lines of a later load are copied from it, with the place and the load of
    the version that was current at the time.
    """
    columns = ", ".join(quoted(name) for name in _columns(connection, origin, raw_table))
    content = ", ".join(f"known.{quoted(name)}" for name in _content(_columns(connection, origin, raw_table)))
    kept = f"{origin}.{kept_table(raw_table)}"
    has_kept = _exists(connection, origin, kept_table(raw_table))
    connection.execute(
        f"create table {raw_table} as select {columns}, cast(null as timestamp) as {REPLACED_AT} "
        f"from {origin}.{raw_table} " + (f"union all by name select * from {kept}" if has_kept else "")
    )
    for load_id, path in _needed_loads(connection, raw_table, origin, known_at):
        connection.execute(
            f"insert into {raw_table} by name select {content}, ranges.source_file as _source_file, "
            "known._source_line - ranges.line_shift as _source_line, ranges.loaded_at as _loaded_at, "
            f"ranges.load_id as _load_id, ranges.replaced_at as {REPLACED_AT} "
            f"from {origin}.{UNCHANGED} as ranges inner join {raw_table} as known "
            "on known._load_id = ranges.successor_load_id and known._source_file = ranges.successor_file "
            "and known._source_line between ranges.first_line + ranges.line_shift "
            "and ranges.last_line + ranges.line_shift "
            "where ranges.raw_table = ? and ranges.load_id = ? and ranges.source_file = ?",
            [raw_table, load_id, path],
        )
    connection.execute(f"delete from {raw_table} where _loaded_at > $at or {REPLACED_AT} <= $at", {"at": known_at})
    connection.execute(f"alter table {raw_table} drop column {REPLACED_AT}")
    row = connection.execute(f"select count(*) from {raw_table}").fetchone()
    return int(row[0]) if row else 0


def _pair(connection: duckdb.DuckDBPyConnection, raw_table: str, *, across_files: bool) -> None:
    """Pair each leaving row with a row of the same content in the newest later load, if there is one."""
    # Files may have columns of any name, so their columns are one value here, and have no name.
    names = ", ".join(quoted(name) for name in _content(columns_of(connection, raw_table)))
    same_file = "true" if across_files else "leaving._source_file = staying._source_file"
    files = "" if across_files else "and _source_file in (select _source_file from temp.leaving_rows)"
    connection.execute(
        f"""
        create or replace temp table row_pairs as
        with versions as (
            select {_PLACE}, _loaded_at, ({_PLACE}) in (select ({_PLACE}) from temp.leaving_rows) as leaves,
                row_number() over (partition by _load_id, _source_file order by _source_line) as place_in_file,
                row({names}) as content, hash({names}) as content_hash
            from {raw_table}
            where _load_id >= (select min(_load_id) from temp.leaving_rows) {files}
        ),
        numbered as (
            select *, row_number() over (
                partition by leaves, _load_id, _source_file, content_hash order by _source_line
            ) as occurrence
            from versions
        )
        select leaving._source_file, leaving._load_id, leaving._loaded_at, leaving._source_line, leaving.place_in_file,
            staying._source_file as successor_file, staying._load_id as successor_load_id,
            staying._source_line - leaving._source_line as line_shift,
            staying.place_in_file - leaving.place_in_file as place_shift
        from numbered as leaving
        inner join numbered as staying
            on leaving.content_hash = staying.content_hash and leaving.occurrence = staying.occurrence and {same_file}
            and staying._load_id > leaving._load_id and leaving.content is not distinct from staying.content
        where leaving.leaves and not staying.leaves
        qualify row_number() over (
            partition by leaving._load_id, leaving._source_file, leaving._source_line
            order by staying._load_id desc, staying._source_file
        ) = 1
        """
    )


def _keep_ranges(connection: duckdb.DuckDBPyConnection, raw_table: str, at: datetime) -> None:
    # Neighbouring pairs have the same shift of lines and of places, so that a range has no other row on either side.
    connection.execute(
        f"""
        insert into {UNCHANGED}
        with grouped as (
            select *, place_in_file - row_number() over (
                partition by _load_id, _source_file, successor_load_id, successor_file, line_shift, place_shift
                order by place_in_file
            ) as range_number
            from temp.row_pairs
        )
        select $raw_table, _source_file, _load_id, any_value(_loaded_at), $at, min(_source_line), max(_source_line),
            successor_file, successor_load_id, line_shift
        from grouped
        group by _source_file, _load_id, successor_file, successor_load_id, line_shift, place_shift, range_number
        order by all
        """,
        {"raw_table": raw_table, "at": at},
    )


def _keep_changed(connection: duckdb.DuckDBPyConnection, raw_table: str, at: datetime) -> None:
    kept = kept_table(raw_table)
    if not table_exists(connection, kept):
        connection.execute(
            f"create table {kept} as select *, cast(null as timestamp) as {REPLACED_AT} from {raw_table} limit 0"
        )
    values = ", ".join(_aligned(connection, raw_table, kept))
    connection.execute(
        f"insert into {kept} by name select {values}, cast($at as timestamp) as {REPLACED_AT} from {raw_table} "
        f"where ({_PLACE}) in (select ({_PLACE}) from temp.leaving_rows) "
        f"and ({_PLACE}) not in (select ({_PLACE}) from temp.row_pairs) order by {_PLACE}",
        {"at": at},
    )


def _aligned(connection: duckdb.DuckDBPyConnection, raw_table: str, kept: str) -> list[str]:
    """Add columns to the kept table, and make those of another type text; returns the values to insert."""
    types, stored = (
        dict(connection.execute(f"select column_name, column_type from (describe {table})").fetchall())
        for table in (raw_table, kept)
    )
    values: list[str] = []
    for name, kind in types.items():
        column = quoted(name)
        if name not in stored:
            connection.execute(f"alter table {kept} add column {column} {kind}")
        elif stored[name] not in (kind, _TEXT):
            text = converted(column, stored[name], _TEXT)
            connection.execute(f"alter table {kept} alter column {column} set data type {_TEXT} using {text}")
        is_text = stored.get(name, kind) != kind
        values.append(f"{converted(column, kind, _TEXT)} as {column}" if is_text else column)
    return values


def _needed_loads(
    connection: duckdb.DuckDBPyConnection, raw_table: str, origin: str, known_at: datetime
) -> list[tuple[int, str]]:
    """Return the loads whose unchanged lines are needed for a time, and those that they point to; newest first."""
    return connection.execute(
        f"""
        with recursive needed as (
            select load_id, source_file, successor_load_id, successor_file from {origin}.{UNCHANGED}
            where raw_table = $raw_table and loaded_at <= $at and replaced_at > $at
            union
            select ranges.load_id, ranges.source_file, ranges.successor_load_id, ranges.successor_file
            from {origin}.{UNCHANGED} as ranges
            inner join needed
                on ranges.load_id = needed.successor_load_id and ranges.source_file = needed.successor_file
            where ranges.raw_table = $raw_table
        )
        select distinct load_id, source_file from needed order by load_id desc, source_file
        """,
        {"raw_table": raw_table, "at": known_at},
    ).fetchall()


def _content(columns: list[str]) -> list[str]:
    return [name for name in columns if name not in BOOKKEEPING]


def _exists(connection: duckdb.DuckDBPyConnection, origin: str, table: str) -> bool:
    return bool(_columns(connection, origin, table))


def _columns(connection: duckdb.DuckDBPyConnection, origin: str, table: str) -> list[str]:
    schema, _, name = table.partition(".")
    return [
        column
        for (column,) in connection.execute(
            "select column_name from duckdb_columns() where database_name = ? and schema_name = ? and table_name = ? "
            "order by column_index",
            [origin, schema, name],
        ).fetchall()
    ]
