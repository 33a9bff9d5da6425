"""Brings the columns of tables that an earlier version built to the names of this version, when the file is opened.

A renamed column keeps the values of the past days. A mart has a view with the previous names beside it, for one
version. Other new columns are added when the model is built; those that are read before that are listed here.
"""

from __future__ import annotations

from functools import cache

import duckdb

from csm_core.warehouse.catalog import transaction
from csm_core.warehouse.models import SqlModel, literal, load_models, quoted

LAYERS = ("intermediate", "marts")

# By table, the columns that `csm notion plan` reads before a run has built the table again.
_ADDED = {"marts.csm_feature_adoption": {"window_days": "integer"}}


def upgrade_columns(connection: duckdb.DuckDBPyConnection) -> None:
    """Rename the columns that still have the name of the previous version, and add what is read before a run."""
    stored: dict[str, set[str]] = {}
    for table, column in connection.execute(
        "select schema_name || '.' || table_name, column_name from duckdb_columns() "
        "where database_name = current_database() and list_contains($tables, schema_name || '.' || table_name)",
        {"tables": list({*(model.table for model in _renaming_models()), *_ADDED})},
    ).fetchall():
        stored.setdefault(table, set()).add(column)
    statements = [
        f"alter table {model.table} rename column {quoted(previous)} to {quoted(name)}"
        for model in _renaming_models()
        for name, previous in model.renamed.items()
        if previous in stored.get(model.table, ()) and name not in stored[model.table]
    ]
    statements += [
        f"alter table {table} add column {quoted(name)} {kind}"
        for table, columns in _ADDED.items()
        for name, kind in columns.items()
        if table in stored and name not in stored[table]
    ]
    if statements:
        with transaction(connection):
            for statement in statements:
                connection.execute(statement)
            for model in _renaming_models():
                if model.layer == "marts" and model.table in stored:
                    show_previous_names(connection, model)


def show_previous_names(connection: duckdb.DuckDBPyConnection, model: SqlModel) -> None:
    """Keep a view with the column names of the previous version beside a mart of which columns were renamed."""
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


@cache
def _renaming_models() -> tuple[SqlModel, ...]:
    return tuple(model for layer in LAYERS for model in load_models(layer).values() if model.renamed)
