"""Stores the observations of a backtest in the marts, for queries of analysts."""

from __future__ import annotations

import duckdb

from csm_core.analysts.backtest.observation_rows import OBSERVATIONS, Scope
from csm_core.warehouse.catalog import transaction
from csm_core.warehouse.copy_state import mark_changed
from csm_core.warehouse.materialize import comment
from csm_core.warehouse.models import SqlModel, load_filled_tables

NAME = "csm_backtest_observations"


def observation_table() -> SqlModel:
    """Return the description of ``marts.csm_backtest_observations``."""
    return load_filled_tables()[NAME]


def store_observations(connection: duckdb.DuckDBPyConnection, scope: Scope) -> int:
    """Replace ``marts.csm_backtest_observations`` by what ``create_observations`` wrote; return the number of rows."""
    table = observation_table()
    selected = {
        "lead_days": f"{scope.options.lead_days}::bigint",
        "horizon_days": f"{scope.options.horizon_days}::bigint",
        "pulse": "pulse::bigint",
    }
    columns = ", ".join(f"{selected.get(name, name)} as {name}" for name in table.columns)
    with transaction(connection):
        connection.execute(
            f"create or replace table {table.table} as select {columns} from {OBSERVATIONS} "
            f"order by {', '.join(table.grain)}"
        )
        comment(connection, table)
        mark_changed(connection, table.table, None)
    row = connection.execute(f"select count(*) from {table.table}").fetchone()
    return int(row[0]) if row else 0
