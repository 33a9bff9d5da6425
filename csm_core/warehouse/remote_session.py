"""The interface of a session with an engine outside the warehouse, such as Spark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

from csm_core.errors import WarehouseError
from csm_core.warehouse.models import SqlModel

# A pyarrow.Table. pyarrow comes with the packages of the other engine, and has no types.
ArrowTable = Any


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
