"""Reads query results as dictionaries."""

from __future__ import annotations

from typing import Any

import duckdb


def fetch_dicts(connection: duckdb.DuckDBPyConnection, sql: str, values: Any = None) -> list[dict[str, Any]]:
    """Return all rows of a query as dictionaries from column to value."""
    cursor = connection.execute(sql, values)
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
