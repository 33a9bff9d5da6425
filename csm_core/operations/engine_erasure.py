"""Erases an account from the tables that another engine keeps: their directories are written again without it.

The new directories are written first, and become live in the transaction of the erasure; the directories that they
replace are deleted after it. A process that is killed in between leaves unreferenced directories, which the next call
and the next run delete.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import duckdb

from csm_core.contract import ACCOUNT_COLUMN
from csm_core.staging.spark_events import contents_by_day
from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.engine import EngineSettings, open_engine, open_session
from csm_core.warehouse.engine_usage_days import USAGE_DAYS
from csm_core.warehouse.live_tables import EVENTS_TABLE, LIVE_DAYS, LiveTables, withdraw
from csm_core.warehouse.remote_session import Directory, RemoteSession

_WITHOUT = "gate.without_account"
_IS_ACCOUNT = f"trim(cast({ACCOUNT_COLUMN} as varchar)) = $account"


@dataclass(frozen=True)
class _Rewritten:
    """A table without the account: its new directory, its live days, and the rows that it no longer has."""

    table: str
    path: str
    days: tuple[date | None, ...]
    rows: int


class EngineErasure:
    """The erasure of an account from the tables of another engine; nothing to do if the warehouse has none."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, settings: EngineSettings, account_id: str) -> None:
        """Raise ConfigError or InputError, as ``open_session``, if there are such tables but no engine."""
        self._connection = connection
        self._account = account_id
        self._live = _live_tables(connection)
        self._session: RemoteSession | None = None
        if self._live:
            # Raises if the configuration has another engine than these tables.
            open_engine(connection, settings)
            self._session = open_session(settings)
        self._rewritten: list[_Rewritten] = []

    def count_rows(self) -> dict[str, int]:
        """Return the number of rows of the account by table, without tables that have none."""
        if self._session is None:
            return {}
        tables = LiveTables(self._connection, self._session)
        counts: dict[str, int] = {}
        for table in self._live:
            tables.show(table)
            rows = self._session.query(
                f"select count(*) as found from {table} where {_IS_ACCOUNT}", {"account": self._account}
            )
            if found := int(rows.to_pylist()[0]["found"]):
                counts[table] = found
        return counts

    def write(self) -> None:
        """Write each table that has the account to a new directory without it."""
        if self._session is None:
            return
        tables = LiveTables(self._connection, self._session)
        for table, rows in self.count_rows().items():
            path = tables.new_directory(table)
            kept = f"select * from {table} where {ACCOUNT_COLUMN} is null or not ({_IS_ACCOUNT})"
            self._session.write(kept, {"account": self._account}, tables.column_types(table), path)
            self._rewritten.append(_Rewritten(table, path, self._live[table], rows))

    def make_live(self) -> dict[str, int]:
        """Replace the directories, in the caller's transaction; returns the number of erased rows by table."""
        if self._session is None:
            return {}
        tables = LiveTables(self._connection, self._session)
        for one in self._rewritten:
            days: Sequence[date | None] = one.days
            if one.table == EVENTS_TABLE:
                withdraw(self._connection, one.table, days)
                days = self._record_events(self._session, tables, one.path)
            if days:
                tables.set_live(one.table, days, one.path)
        return {one.table: one.rows for one in self._rewritten}

    def delete_replaced(self) -> None:
        """Delete the directories that still have the account, also those of an earlier call that was killed."""
        if self._session is not None:
            LiveTables(self._connection, self._session).delete_unreferenced()

    def _record_events(self, session: RemoteSession, tables: LiveTables, path: str) -> list[date]:
        """Record what is left of each day, so that the next run does not take the days for changed ones."""
        session.show(_WITHOUT, tables.column_types(EVENTS_TABLE), [Directory(path)])
        left = session.query(contents_by_day(_WITHOUT), {}).to_pylist()
        self._connection.execute(f"delete from {USAGE_DAYS} where usage_date is not null")
        if left:
            self._connection.executemany(
                f"insert into {USAGE_DAYS} values (?, ?, ?)",
                [[one["usage_date"], one["events"], Decimal(int(one["content"]))] for one in left],
            )
        return sorted(one["usage_date"] for one in left)


def _live_tables(connection: duckdb.DuckDBPyConnection) -> Mapping[str, tuple[date | None, ...]]:
    """Return the tables of the engine that have accounts, with their live days."""
    if not table_exists(connection, LIVE_DAYS):
        return {}
    rows = connection.execute(
        f"select table_name, list(day order by day) from {LIVE_DAYS} where table_name in "
        "(select schema_name || '.' || table_name from duckdb_columns() "
        "where database_name = current_database() and column_name = ?) group by table_name order by table_name",
        [ACCOUNT_COLUMN],
    ).fetchall()
    return {table: tuple(days) for table, days in rows}
