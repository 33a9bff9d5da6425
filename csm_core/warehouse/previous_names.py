"""Creates a view with the previous column names for each mart with renamed columns, for one version."""

from __future__ import annotations

import duckdb

from csm_core.warehouse.models import SqlModel, literal, quoted


def show_previous_names(connection: duckdb.DuckDBPyConnection, model: SqlModel) -> None:
    """Create the view with the column names of the previous version, or drop it if no column was renamed."""
    view = model.view_of_previous_names
    if not model.renamed:
        connection.execute(f"drop view if exists {view}")
        return
    columns = connection.execute(
        "select column_name from duckdb_columns() where database_name = current_database() "
        "and schema_name = ? and table_name = ? order by column_index",
        [model.layer, model.name],
    ).fetchall()
    listed = ", ".join(f"{quoted(name)} as {quoted(model.renamed.get(name, name))}" for (name,) in columns)
    connection.execute(f"create or replace view {view} as select {listed} from {model.table}")
    text = f"{model.table} with the column names of the previous version; the next version removes this view."
    connection.execute(f"comment on view {view} is {literal(text)}")
    for name, description in model.columns.items():
        column = quoted(model.renamed.get(name, name))
        connection.execute(f"comment on column {view}.{column} is {literal(description)}")
