"""The tables of another engine: Parquet directories, recorded in the warehouse, and tables that are handed over.

A directory is recorded in ``run.engine_directories`` before it is written, so that the next run can delete what a
killed run left, and what later builds replaced. ``run.engine_days`` has the live directory of each day of a table; the
day of a whole table is null.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

import duckdb

from csm_core.contract import ENTITIES, USAGE_EVENTS
from csm_core.logging import get_logger
from csm_core.warehouse.catalog import columns_of
from csm_core.warehouse.models import quoted
from csm_core.warehouse.remote_session import ArrowTable, ConnectionLostError, Directory, RemoteSession

DIRECTORIES, LIVE_DAYS = "run.engine_directories", "run.engine_days"
EVENTS_TABLE = ENTITIES[USAGE_EVENTS].table
_MAY_STILL_BE_WRITTEN = timedelta(hours=6)
_Result = TypeVar("_Result")


class LiveTables:
    """What a session shows of the tables of a warehouse."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, session: RemoteSession) -> None:
        self._warehouse = connection
        self._session = session

    def column_types(self, table: str) -> Mapping[str, str]:
        """Return the columns of a table; the warehouse has an empty table for each table of the engine."""
        return dict(self._warehouse.execute(f"select column_name, column_type from (describe {table})").fetchall())

    def new_directory(self, table: str) -> str:
        """Record a directory before it is written, so that it can be deleted if this process is killed."""
        path = f"{self._session.location.rstrip('/')}/{table}/{uuid.uuid4().hex}"
        self._warehouse.execute(
            f"insert into {DIRECTORIES} values (?, ?, ?)", [path, table, datetime.now(UTC).replace(tzinfo=None)]
        )
        return path

    def set_live(self, table: str, days: Sequence[date | None], path: str) -> None:
        """Make a directory the live one for days of a table; a whole table has the day null."""
        if None in days:
            self._warehouse.execute(f"delete from {LIVE_DAYS} where table_name = ?", [table])
        withdraw(self._warehouse, table, days)
        self._warehouse.execute(
            f"insert into {LIVE_DAYS} select $table, day, $path, len(cast($days as date[])) "
            "from (select unnest(cast($days as date[])) as day) order by day",
            {"table": table, "days": list(days), "path": path},
        )

    def has_days(self, table: str) -> bool:
        """Whether the engine has rows of a table."""
        found = self._warehouse.execute(f"select 1 from {LIVE_DAYS} where table_name = ? limit 1", [table]).fetchone()
        return found is not None

    def show(self, table: str) -> None:
        """Show the live directories of a table to the session, unless it has them."""
        columns, directories = self.column_types(table), self._directories(table)
        state = (tuple(columns.items()), directories)
        if self._session.shown.get(table) != state:
            self._session.show(table, columns, directories)
            self._session.shown[table] = state

    def hand_over(self, table: str) -> None:
        """Hand over a table of the warehouse, if its rows differ from those that the session has."""
        columns = ", ".join(quoted(name) for name in columns_of(self._warehouse, table))
        # A table without rows has a fingerprint of its own: its columns may have changed.
        fingerprint = self._warehouse.execute(
            f"select count(*), sum(hash({columns})), '{columns.replace(chr(39), '')}' from {table}"
        ).fetchone()
        if self._session.shown.get(table) != fingerprint:
            self._session.hand_over(table, self.rows_of(table, "true"), self.column_types(table))
            self._session.shown[table] = fingerprint

    def rows_of(self, table: str, condition: str) -> ArrowTable:
        """Return rows of a table of the warehouse; an enumeration becomes text."""
        columns = ", ".join(
            f"cast({quoted(name)} as varchar) as {quoted(name)}" if kind.startswith("ENUM") else quoted(name)
            for name, kind in self.column_types(table).items()
        )
        return self._warehouse.sql(f"select {columns} from {table} where {condition}").to_arrow_table()

    def delete_unreferenced(self) -> None:
        """Delete the directories of killed runs, and those that later builds replaced.

        The server may still write what a killed run asked for, so a recent directory is looked for again by later runs.
        """
        recent = datetime.now(UTC).replace(tzinfo=None) - _MAY_STILL_BE_WRITTEN
        for directory, created_at in self._warehouse.execute(
            f"select directory, created_at from {DIRECTORIES} "
            f"where directory not in (select directory from {LIVE_DAYS}) order by directory"
        ).fetchall():
            self._session.delete(directory)
            if created_at < recent:
                self._warehouse.execute(f"delete from {DIRECTORIES} where directory = ?", [directory])

    def _directories(self, table: str) -> tuple[Directory, ...]:
        day = day_of(table, self.column_types(table))
        return tuple(
            Directory(path, day, tuple(days)) if written > len(days) else Directory(path)
            for path, days, written in self._warehouse.execute(
                f"select directory, list(day order by day), any_value(days_written) from {LIVE_DAYS} "
                "where table_name = ? group by directory order by directory",
                [table],
            ).fetchall()
        )


def withdraw(connection: duckdb.DuckDBPyConnection, table: str, days: Sequence[date | None]) -> None:
    """Remove days from a table of the engine."""
    connection.execute(
        f"delete from {LIVE_DAYS} where table_name = ? and list_contains(cast(? as date[]), day)", [table, list(days)]
    )


def retried(session: RemoteSession, action: Callable[[], _Result]) -> _Result:
    """Run an action; once more, from its beginning and with a new session, if the connection is lost."""
    try:
        return action()
    except ConnectionLostError as error:
        get_logger(__name__).warning("the connection to the engine was lost; connecting again", error=str(error))
        session.reconnect()
        return action()


def day_of(table: str, columns: Mapping[str, str]) -> str:
    """Return the SQL expression of the day that a table is built by; empty if it has none."""
    if table == EVENTS_TABLE:
        return "cast(occurred_at as date)"
    return next((name for name in ("as_of_date", "usage_date") if name in columns), "")
