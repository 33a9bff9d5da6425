"""Warehouses as the version before ``run.migrations`` left them."""

from pathlib import Path

import duckdb

# One statement a table, after those that create the schemas.
STATEMENTS = tuple(
    statement.strip() for statement in Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").split(";\n")
)[:-1]


def create_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the bookkeeping tables of that version in an empty database."""
    for statement in STATEMENTS:
        connection.execute(statement)


def turn_back(connection: duckdb.DuckDBPyConnection) -> None:
    """Give the bookkeeping tables of a warehouse the form of that version, with their rows."""
    connection.execute("drop table run.migrations; alter table run.changed_marts rename to uncopied")
    for table in ("notion_pages", "notion_changes", "notion_journal"):
        connection.execute(f"alter table sync.{table} drop column account_id")
