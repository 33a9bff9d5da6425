"""Counts the rejected records for analysts: the published copy has their number, never their text."""

from __future__ import annotations

import duckdb

from csm_core.contract import ENTITIES
from csm_core.warehouse.catalog import table_exists, transaction
from csm_core.warehouse.copy_state import mark_changed
from csm_core.warehouse.materialize import comment
from csm_core.warehouse.models import load_filled_tables

NAME = "csm_rejected_records"


def store_rejected_counts(connection: duckdb.DuckDBPyConnection) -> None:
    """Replace ``marts.csm_rejected_records`` if the rejected records differ from it."""
    table = load_filled_tables()[NAME]
    selects = [
        f"select '{entity.name}' as entity, system, field, reason, count(*) as records, "
        "cast(min(rejected_at) as date) as first_rejected_on, cast(max(rejected_at) as date) as last_rejected_on "
        f"from {entity.quarantine_table} group by system, field, reason"
        for entity in ENTITIES.values()
        if table_exists(connection, entity.quarantine_table)
    ]
    if not selects:
        return
    counts = " union all ".join(selects)
    if table_exists(connection, table.table):
        differing = f"(from ({counts}) except from {table.table}) union all (from {table.table} except from ({counts}))"
        if not connection.execute(f"select 1 from ({differing}) limit 1").fetchone():
            return
    with transaction(connection):
        connection.execute(
            f"create or replace table {table.table} as from ({counts}) order by {', '.join(table.grain)}"
        )
        comment(connection, table)
        mark_changed(connection, table.table, None)
