"""The default engine: models are built and queried in the warehouse itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import duckdb

from csm_core.warehouse.materialize import Around, ModelResult, build_table, replace_rows
from csm_core.warehouse.models import SqlModel
from csm_core.warehouse.rows import fetch_dicts


class DuckDbEngine:
    """Builds models in the warehouse; implements ``Engine``."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.warehouse = connection

    def build(
        self,
        model: SqlModel,
        parameters: Mapping[str, Any],
        days: tuple[date, date] | None = None,
        *,
        sql: str | None = None,
        portable_sql: str | None = None,  # noqa: ARG002 - part of the interface
        around: Around | None = None,
    ) -> ModelResult:
        """Replace rows of a model in one transaction; see ``Engine``."""
        replace = around(replace_rows) if around else replace_rows
        return build_table(self.warehouse, model, sql or model.sql, parameters, days, replace)

    def query(self, sql: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT."""
        return self.warehouse.execute(sql, values or None).fetchall()

    def query_dicts(self, sql: str, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the rows of a SELECT as dictionaries from column to value."""
        return fetch_dicts(self.warehouse, sql, values or None)

    def column_types(self, table: str) -> Mapping[str, str]:
        """Return the columns of a table with their types."""
        return dict(self.warehouse.execute(f"select column_name, column_type from (describe {table})").fetchall())
