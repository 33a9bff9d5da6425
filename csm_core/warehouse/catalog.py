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
    """Whether the schema-qualified table exists in the current database; false for a view."""
    found = _relation(connection, table)
    return found is not None and found.type == "TABLE_RELATION"


def _relation(connection: duckdb.DuckDBPyConnection, name: str) -> duckdb.DuckDBPyRelation | None:
    """The schema-qualified table or view; None if there is none.

    The functions that list the catalog take ten times as long, and a run asks hundreds of times. A query that names a
    missing table would end the transaction.
    """
    quoted = ".".join('"' + part.replace('"', '""') + '"' for part in name.split(".", 1))
    try:
        return connection.table(quoted)
    except duckdb.CatalogException:
        return None


def has_rows(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether a table, or a table with a condition (``t where ...``), has any row."""
    return connection.execute(f"select 1 from {table} limit 1").fetchone() is not None


def columns_of(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """Return the names of the columns of a table or view, in order; none if it does not exist."""
    found = _relation(connection, table)
    return found.columns if found is not None else []


def identifier(name: str) -> str:
    """Return ``name`` if it is a plain lower-case identifier, else raise WarehouseError."""
    if not _IDENTIFIER.match(name):
        message = f"not a table or column name: {name!r}"
        raise WarehouseError(message)
    return name
