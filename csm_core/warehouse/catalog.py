"""What every module of the warehouse needs: a transaction around a block, and whether a table exists."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress

import duckdb


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Generator[None]:
    """Commit what the block did, or nothing of it."""
    connection.execute("begin transaction")
    try:
        yield
    except BaseException:
        with suppress(duckdb.Error):
            connection.execute("rollback")
        raise
    connection.execute("commit")


def table_exists(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether the schema-qualified table is there."""
    schema, _, name = table.partition(".")
    found = connection.execute(
        "select 1 from duckdb_tables() where database_name = current_database() and schema_name = ? and table_name = ?",
        [schema, name],
    ).fetchone()
    return found is not None
