"""The read-only copy of the marts for analysts, updated with the rebuilt days and replaced in one rename.

It contains only complete and accepted days, and ``marts.csm_days`` with the status of every day.

The previous copy is copied as a file and only the days built since then are written to it, so the cost of a daily run
hardly depends on the history. Readers see either the old or the new file, never a partial one.

The file has the storage format of DuckDB 1.2, so clients with DuckDB 1.2 or later can open it. The warehouse stores the
checksum of the last published file: a file with another checksum (damaged, replaced, outdated, from another warehouse
or an interrupted run) is rebuilt from the warehouse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from csm_core.analysts.parquet_files import remove_parquet, update_parquet
from csm_core.days.finished_days import show_counted_days
from csm_core.errors import WarehouseError
from csm_core.logging import get_logger
from csm_core.staging.rejected_counts import store_rejected_counts
from csm_core.system.checksums import copy_file, sha256_of
from csm_core.system.file_access import give_group, make_folder
from csm_core.system.text_table import counted
from csm_core.warehouse.catalog import identifier, table_exists, transaction
from csm_core.warehouse.copy_state import MartChanges, changed_since_copy, copied_checksum, mark_copied
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.day_status import counted_sql
from csm_core.warehouse.models import literal

# Analysts can query the published pages and records, and the alerts; the journal, the data sources and the digests are
# internal to publishing.
PUBLISHED_LEDGERS = (
    "notion_runs",
    "notion_changes",
    "notion_pages",
    "opportunity_statuses",
    "pulses",
    "alert_states",
    "alert_events",
    "alert_silences",
    "crm_records",
    "crm_runs",
    "crm_changes",
)

# The oldest DuckDB that must be able to open the copy. A file in a newer format cannot be converted, only rebuilt.
STORAGE_VERSION = "v1.2.0"

_COPY = "published"
_BELONG_TOGETHER = ("marts.csm_health_signals", "marts.csm_health_scores")
# From other tables, only complete and accepted days are copied. The list of days has every day; a review covers the
# days before the day on which it is due; the roots of a day that is held now were published before.
_WHOLE = ("marts.csm_days", "marts.csm_day_roots", "marts.csm_qbr", "marts.csm_review_signals")


def publish_copy(
    warehouse: Warehouse,
    macros: Callable[[duckdb.DuckDBPyConnection], None] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Path:
    """Replace the read-only copy of the marts and of the ledger atomically; returns its path.

    Afterwards, the Parquet files of the changed days are replaced, if the warehouse writes them.
    ``parameters`` are those of the models, for tables that a killed run left outdated (see ``show_counted_days``).
    Raises WarehouseError, without changing the copy, if a day has signals and scores of different accounts.
    """
    target = warehouse.published_path
    make_folder(target.parent)
    fresh = target.with_name(f".{target.name}.new")
    with warehouse.connect() as connection:
        for leftover in (fresh, fresh.with_name(fresh.name + ".wal")):
            leftover.unlink(missing_ok=True)
        show_counted_days(warehouse.engine(connection), parameters)
        store_rejected_counts(connection)
        previous = copied_checksum(connection)
        lacking = changed_since_copy(connection) if _copy_previous(connection, target, fresh) else None
        _require_whole_days(connection, lacking)
        connection.execute(f"attach {literal(str(fresh))} as {_COPY} (storage_version {literal(STORAGE_VERSION)})")
        try:
            # One transaction: committing each table and each comment on its own takes longer than writing them.
            with transaction(connection):
                _bring_up_to_date(connection, lacking)
        finally:
            connection.execute(f"detach {_COPY}")
        views = _views_of_marts(connection)
        comments = _comments_of(connection, [name for name, *_ in views])
        with duckdb.connect(str(fresh)) as copy:
            _replace_views(copy, views, comments)
            _replace_macros(copy, macros)
            copy.execute("checkpoint")
        checksum = _checksum_of(sha256_of(fresh))
        give_group(fresh)
        fresh.replace(target)
        with transaction(connection):
            mark_copied(connection, checksum)
        # While the warehouse is open, no other process publishes.
        if warehouse.writes_parquet:
            update_parquet(target, checksum, previous, lacking)
        else:
            remove_parquet(target)
    return target


def write_parquet(warehouse: Warehouse) -> None:
    """Write the Parquet files of the published copy, if there is one, unless they are switched off."""
    if warehouse.writes_parquet and warehouse.published_path.is_file():
        update_parquet(warehouse.published_path, _checksum_of(sha256_of(warehouse.published_path)))


def _copy_previous(connection: duckdb.DuckDBPyConnection, target: Path, fresh: Path) -> bool:
    """Copy the published file to ``fresh`` if it can be updated: it has the expected checksum and is not sparse."""
    expected = copied_checksum(connection)
    if expected is None or not target.is_file():
        return False
    try:
        actual = _checksum_of(copy_file(target, fresh))
    except OSError as error:
        actual = str(error)
    if actual != expected:
        get_logger(__name__).warning(
            "the published copy does not have the expected checksum; rebuilding it from the warehouse",
            copy=str(target),
            expected=expected,
            found=actual,
        )
    elif not _sparse(fresh):
        return True
    fresh.unlink(missing_ok=True)
    return False


def _checksum_of(digest: str) -> str:
    return f"{STORAGE_VERSION} {digest}"


def _sparse(path: Path) -> bool:
    """Whether the file has more free blocks than used blocks."""
    with duckdb.connect(str(path), read_only=True) as connection:
        row = connection.execute("select sum(free_blocks) > sum(used_blocks) from pragma_database_size()").fetchone()
    return bool(row and row[0])


def _require_whole_days(connection: duckdb.DuckDBPyConnection, lacking: dict[str, MartChanges] | None) -> None:
    """Raise WarehouseError if a run was killed between signals and scores; analysts must not see a partial day."""
    if not all(table_exists(connection, table) for table in _BELONG_TOGETHER):
        return
    spans = (
        None if lacking is None else [span for one in _BELONG_TOGETHER if one in lacking for span in lacking[one].spans]
    )
    within = f"({'true' if spans is None else _within(spans)}) and {counted_sql(connection)}"
    signals, scores = (
        f"select as_of_date, count(*) as accounts from {table} where {within} group by as_of_date"
        for table in _BELONG_TOGETHER
    )
    half = connection.execute(
        f"select as_of_date, coalesce(signals.accounts, 0), coalesce(scores.accounts, 0) from ({signals}) as signals "
        f"full join ({scores}) as scores using (as_of_date) where signals.accounts is distinct from scores.accounts "
        "order by as_of_date limit 1"
    ).fetchone()
    if half:
        message = (
            f"{half[0]} has signals of {counted(int(half[1]), 'account')} and scores of {half[2]:,}: its run was "
            f"interrupted. The published copy is not changed. Run the day again: csm run --as-of {half[0]}"
        )
        raise WarehouseError(message)


def _within(spans: Sequence[tuple[date, date]]) -> str:
    return " or ".join(f"as_of_date between date '{first}' and date '{last}'" for first, last in spans) or "false"


@dataclass
class _Table:
    """The columns and types of a table, its comment, and those of its columns by name."""

    columns: list[tuple[str, str]] = field(default_factory=list)
    comment: str | None = None
    comments: dict[str, str] = field(default_factory=dict)


def _tables_of(connection: duckdb.DuckDBPyConnection, database: str | None = None) -> dict[str, _Table]:
    """The tables of marts and ledgers in a database (None: the warehouse), in one query, since DuckDB describes all."""
    of_database = "database_name = coalesce(?, current_database()) and schema_name in ('marts', 'sync')"
    found = {
        f"{schema}.{name}": _Table(comment=comment)
        for schema, name, comment in connection.execute(
            f"select schema_name, table_name, comment from duckdb_tables() where {of_database} order by all", [database]
        ).fetchall()
    }
    for schema, table, column, kind, comment in connection.execute(
        "select schema_name, table_name, column_name, data_type, comment from duckdb_columns() "
        f"where {of_database} order by schema_name, table_name, column_index",
        [database],
    ).fetchall():
        one = found.get(f"{schema}.{table}")
        if one is not None:
            one.columns.append((column, kind))
            if comment is not None:
                one.comments[column] = comment
    return found


def _bring_up_to_date(connection: duckdb.DuckDBPyConnection, lacking: dict[str, MartChanges] | None) -> None:
    tables = {
        name: one
        for name, one in _tables_of(connection).items()
        if name.startswith("marts.") or name.removeprefix("sync.") in PUBLISHED_LEDGERS
    }
    for schema in ("marts", "sync"):
        connection.execute(f"create schema if not exists {_COPY}.{schema}")
    present = _tables_of(connection, _COPY)
    for name in present.keys() - tables.keys():
        connection.execute(f"drop table {_COPY}.{_checked(name)}")
    for name, table in tables.items():
        lacks = (lacking or {}).get(name, MartChanges())
        copied = present.get(name, _Table())
        rows = f"from {_checked(name)} where {{}}{_copied(connection, name, table)}"
        if table.columns != copied.columns:
            connection.execute(f"create or replace table {_COPY}.{name} as {rows.format('')}")
            copied = _Table()
        elif name.startswith("sync.") or lacks.whole:
            # The table keeps its comments, each of which is a statement.
            connection.execute(f"delete from {_COPY}.{name}")
            connection.execute(f"insert into {_COPY}.{name} by name {rows.format('')}")
        elif lacks.spans:
            within = _within(lacks.spans)
            connection.execute(f"delete from {_COPY}.{name} where {within}")
            connection.execute(f"insert into {_COPY}.{name} by name {rows.format(f'({within}) and ')}")
        _copy_comments(connection, name, table, copied)


def _checked(table: str) -> str:
    return ".".join(identifier(part) for part in table.split("."))


def _copied(connection: duckdb.DuckDBPyConnection, name: str, table: _Table) -> str:
    """A SQL condition for the rows of a mart that are copied: those of complete and accepted days."""
    has_days = any(column == "as_of_date" for column, _ in table.columns)
    return counted_sql(connection) if has_days and name.startswith("marts.") and name not in _WHOLE else "true"


def _copy_comments(connection: duckdb.DuckDBPyConnection, name: str, table: _Table, copied: _Table) -> None:
    """Copy the comments that differ: each one is a statement, and there are hundreds."""
    if table.comment is not None and table.comment != copied.comment:
        connection.execute(f"comment on table {_COPY}.{name} is {literal(table.comment)}")
    for column, text in table.comments.items():
        if text != copied.comments.get(column):
            connection.execute(f"comment on column {_COPY}.{name}.{identifier(column)} is {literal(text)}")


def _views_of_marts(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str, str | None]]:
    """Name, definition and comment of every view in the schema of the marts."""
    return connection.execute(
        "select view_name, sql, comment from duckdb_views() where database_name = current_database() "
        "and schema_name = 'marts' and not internal order by view_name"
    ).fetchall()


def _comments_of(connection: duckdb.DuckDBPyConnection, views: Sequence[str]) -> list[tuple[str, str, str]]:
    """View, column and comment of each column with a comment."""
    return connection.execute(
        "select table_name, column_name, comment from duckdb_columns() where database_name = current_database() "
        "and schema_name = 'marts' and list_contains(?, table_name) and comment is not null order by all",
        [list(views)],
    ).fetchall()


def _replace_views(
    copy: duckdb.DuckDBPyConnection,
    views: Sequence[tuple[str, str, str | None]],
    comments: Sequence[tuple[str, str, str]],
) -> None:
    for name, *_ in _views_of_marts(copy):
        copy.execute(f"drop view marts.{identifier(name)}")
    for name, definition, text in views:
        copy.execute(definition)
        if text:
            copy.execute(f"comment on view marts.{identifier(name)} is {literal(text)}")
    for name, column, text in comments:
        copy.execute(f"comment on column marts.{identifier(name)}.{identifier(column)} is {literal(text)}")


def _replace_macros(
    connection: duckdb.DuckDBPyConnection, macros: Callable[[duckdb.DuckDBPyConnection], None] | None
) -> None:
    for name, kind in connection.execute(
        "select distinct function_name, function_type from duckdb_functions() "
        "where not internal and function_type in ('macro', 'table_macro')"
    ).fetchall():
        connection.execute(f"drop macro {'table ' if kind == 'table_macro' else ''}{identifier(name)}")
    if macros:
        macros(connection)
