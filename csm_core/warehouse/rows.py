"""Reading query results at the edges, where a row becomes a page or a line of text."""

from __future__ import annotations

from typing import Any

import duckdb


def fetch(connection: duckdb.DuckDBPyConnection, sql: str, values: Any = None) -> list[dict[str, Any]]:
    """All rows of a query, each as column → value."""
    cursor = connection.execute(sql, values)
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
