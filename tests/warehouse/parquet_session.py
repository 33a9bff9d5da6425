"""A second engine that is as small as possible: DuckDB in memory over Parquet directories, beside the warehouse."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from csm_core.warehouse.models import SqlModel, literal
from csm_core.warehouse.remote_session import ArrowTable, ConnectionLostError, Directory, EngineQueryError


class ParquetSession:
    """Implements ``RemoteSession``. ``before`` is called with the name of each method, and may raise."""

    def __init__(self, location: Path, before: Callable[[str], None] = lambda _: None) -> None:
        self.location = str(location)
        self.shown: dict[str, object] = {}
        self.before = before
        self.handed_over: list[str] = []
        self._connection = duckdb.connect()

    def reconnect(self) -> None:
        self.shown.clear()
        self._connection = duckdb.connect()

    def hand_over(self, table: str, rows: ArrowTable, columns: Mapping[str, str]) -> None:
        self.before("hand_over")
        self.handed_over.append(table)
        schema = table.partition(".")[0]
        self._connection.execute(f"create schema if not exists {schema}")
        self._drop(table)
        self._connection.register("rows_handed_over", rows)
        self._connection.execute(f"create table {table} as from rows_handed_over")
        self._connection.unregister("rows_handed_over")

    def show(self, table: str, columns: Mapping[str, str], directories: Sequence[Directory]) -> None:
        self.before("show")
        typed = ", ".join(f'cast(null as {_plain(kind)}) as "{name}"' for name, kind in columns.items())
        parts = [f"select {typed} where false"]
        for one in directories:
            days = ", ".join(f"date '{day}'" for day in one.days)
            condition = f"where {one.day} in ({days})" if one.days else ""
            parts.append(f"select * from read_parquet({literal(f'{one.path}/*.parquet')}) {condition}")
        self._connection.execute(f"create schema if not exists {table.partition('.')[0]}")
        self._drop(table)
        self._connection.execute(f"create view {table} as {' union all by name '.join(parts)}")

    def write(
        self, sql: str, values: Mapping[str, Any], columns: Mapping[str, str], path: str, model: SqlModel | None = None
    ) -> str | None:
        self.before("write")
        Path(path).mkdir(parents=True)
        self._execute(f"create or replace temp table result as {sql}", values)
        typed = ", ".join(f'cast("{name}" as {_plain(kind)}) as "{name}"' for name, kind in columns.items())
        self._execute(f"copy (select {typed} from result) to {literal(f'{path}/rows.parquet')} (format parquet)", {})
        self.before("written")
        return f"operation {len(self.handed_over)}"

    def read(self, path: str, columns: Mapping[str, str]) -> ArrowTable:
        self.before("read")
        return self._connection.sql(f"from read_parquet({literal(f'{path}/*.parquet')})").to_arrow_table()

    def count(self, path: str) -> int:
        self.before("count")
        return self._connection.sql(f"select count(*) from read_parquet({literal(f'{path}/*.parquet')})").fetchall()[0][
            0
        ]

    def query(self, sql: str, values: Mapping[str, Any]) -> ArrowTable:
        self.before("query")
        self._execute(f"create or replace temp table result as {sql}", values)
        return self._connection.sql("from result").to_arrow_table()

    def delete(self, path: str) -> None:
        self.before("delete")
        shutil.rmtree(path, ignore_errors=True)

    def _execute(self, sql: str, values: Mapping[str, Any]) -> None:
        try:
            self._connection.execute(sql, dict(values) or None)
        except duckdb.Error as error:
            raise EngineQueryError(str(error).splitlines()[0]) from None

    def _drop(self, table: str) -> None:
        for (kind,) in self._connection.execute(
            "select lower(replace(table_type, 'BASE ', '')) from information_schema.tables "
            "where table_schema || '.' || table_name = ?",
            [table],
        ).fetchall():
            self._connection.execute(f"drop {kind} {table}")


def lose_connection_once() -> Callable[[str], None]:
    """The connection is lost at the first write, and works afterwards."""
    lost: list[str] = []

    def before(method: str) -> None:
        if method == "written" and not lost:
            lost.append(method)
            message = "connection refused"
            raise ConnectionLostError(message)

    return before


def _plain(kind: str) -> str:
    return "varchar" if kind.startswith("ENUM") else kind
