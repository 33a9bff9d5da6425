"""The changes of the migrations that keep history in a warehouse; ``csm_core.warehouse.migrations`` lists them."""

from __future__ import annotations

import duckdb

from csm_core.warehouse.catalog import columns_of, table_exists
from csm_core.warehouse.version_tables import ALWAYS, VERSION_TABLES


def create_versions(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the tables of the attributes over time, with one version of each staged record, valid on all days."""
    connection.execute("alter table raw.full_files add column if not exists dated_at timestamp")
    for versions in VERSION_TABLES.values():
        connection.execute(f"create table if not exists {versions.table} ({versions.definition})")
        staged = versions.entity.table
        if not table_exists(connection, staged):
            continue
        # A warehouse of an earlier version may lack columns.
        present = set(columns_of(connection, staged))
        names = ", ".join(name for name in (versions.entity.key, *versions.attributes, "_load_id") if name in present)
        connection.execute(
            f"insert into {versions.table} by name select {names}, {ALWAYS} as valid_from, 'load' as basis "
            f"from {staged} where {versions.entity.key} not in (select {versions.entity.key} from {versions.table}) "
            f"order by {versions.entity.key}"
        )
