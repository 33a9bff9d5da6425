"""Creates the view that a model's yml declares under ``view``: some of its columns under a name of the contract."""

from __future__ import annotations

import duckdb

from csm_core.warehouse.models import SqlModel, literal, quoted


def show_view(connection: duckdb.DuckDBPyConnection, model: SqlModel) -> None:
    """Create the declared view of a model with its descriptions, if there is one. The model's table must exist."""
    view = model.view
    if view is None:
        return
    columns = ", ".join(map(quoted, view.columns))
    connection.execute(f"create or replace view {view.name} as select {columns} from {model.table}")
    connection.execute(f"comment on view {view.name} is {literal(view.description)}")
    for name in view.columns:
        connection.execute(f"comment on column {view.name}.{quoted(name)} is {literal(model.columns[name])}")
