"""The resources for assistants: the glossary, and the descriptions of the tables of the published copy."""

from __future__ import annotations

from typing import Any

import duckdb

from csm_core.errors import InputError
from csm_core.system.project_files import PROJECT_FILES
from csm_core.warehouse.rows import fetch_dicts

_OWN_SCHEMAS = "('marts', 'sync')"


def glossary() -> str:
    """The terms of this project, as Markdown."""
    return (PROJECT_FILES / "docs" / "glossary.md").read_text(encoding="utf-8")


def tables(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Every table and view of the copy with its description."""
    return fetch_dicts(
        connection,
        f"""
        select schema_name as schema, table_name as table, comment as description
        from duckdb_tables()
        where database_name = current_database() and schema_name in {_OWN_SCHEMAS}
        union all
        select schema_name, view_name, comment
        from duckdb_views()
        where database_name = current_database() and schema_name in {_OWN_SCHEMAS}
        order by schema, "table"
        """,
    )


def table(connection: duckdb.DuckDBPyConnection, name: str) -> dict[str, Any]:
    """A table or view with its columns, their types and descriptions. Raises InputError if the copy has none."""
    schema, _, plain = name.rpartition(".")
    found = [one for one in tables(connection) if one["table"] == plain and schema in ("", one["schema"])]
    if not found:
        message = f"the published copy has no table with this name. It has {', '.join(_names(connection))}"
        raise InputError(message)
    columns = fetch_dicts(
        connection,
        """
        select column_name as "column", data_type as type, comment as description
        from duckdb_columns()
        where database_name = current_database() and schema_name = $schema and table_name = $table
        order by column_index
        """,
        {"schema": found[0]["schema"], "table": plain},
    )
    return {**found[0], "columns": columns}


def _names(connection: duckdb.DuckDBPyConnection) -> list[str]:
    return [one["table"] for one in tables(connection)]
