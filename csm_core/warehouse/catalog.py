"""Transactions, validated names, and the existing tables and columns."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager, suppress

import duckdb

from csm_core.errors import WarehouseError

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*\Z")


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Generator[None]:
    """Run the block in a transaction; roll back if it raises."""
    connection.execute("begin transaction")
    try:
        yield
    except BaseException:
        with suppress(duckdb.Error):
            connection.execute("rollback")
        raise
    connection.execute("commit")


def table_exists(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether the schema-qualified table exists."""
    schema, _, name = table.partition(".")
    found = connection.execute(
        "select 1 from duckdb_tables() where database_name = current_database() and schema_name = ? and table_name = ?",
        [schema, name],
    ).fetchone()
    return found is not None


def has_rows(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether a table, or a table with a condition (``t where ...``), has any row."""
    return connection.execute(f"select 1 from {table} limit 1").fetchone() is not None


def columns_of(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """Return the names of the table's columns, in order."""
    schema, _, name = table.partition(".")
    found = connection.execute(
        "select column_name from duckdb_columns() where database_name = current_database() "
        "and schema_name = ? and table_name = ? order by column_index",
        [schema, name],
    ).fetchall()
    return [column for (column,) in found]


def identifier(name: str) -> str:
    """Return ``name`` if it is a plain lower-case identifier, else raise WarehouseError."""
    if not _IDENTIFIER.match(name):
        message = f"not a table or column name: {name!r}"
        raise WarehouseError(message)
    return name
