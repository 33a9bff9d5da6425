"""Assets that Dagster shows in the lineage and never materialises: source systems and views of the warehouse."""

from collections.abc import Iterable, Sequence

import dagster as dg

from assets.names import DEFAULT, Names
from csm_core.sources.settings_base import SourceSettings
from csm_core.warehouse.copy_state import COPIED_LAYER
from csm_core.warehouse.models import SqlModel

SOURCES_GROUP = "sources"


def source_name(system: str) -> str:
    """Return the name of the external asset of a source system."""
    return f"source_{system}"


def source_assets(sources: Sequence[SourceSettings], names: Names = DEFAULT) -> list[dg.AssetSpec]:
    """Return an external asset for each configured system, upstream of its raw assets."""
    return [
        dg.AssetSpec(
            names.key(source_name(system)),
            description=f"The records of the source system {system}, as it provides them. Not materialised by Dagster.",
            group_name=names.group(SOURCES_GROUP),
            kinds={system},
            owners=names.owners,
        )
        for system in dict.fromkeys(source.system for source in sources)
    ]


def view_assets(models: Iterable[SqlModel], names: Names = DEFAULT) -> list[dg.AssetSpec]:
    """Return a virtual asset for each view of a model: its declared view, and that of its previous column names."""
    return [
        *(
            _view_asset(model, model.view.name, model.view.description, model.view.columns, names)
            for model in models
            if model.view
        ),
        *(
            _view_asset(
                model,
                model.view_of_previous_names,
                f"{model.table} with the column names of the previous version.",
                [model.renamed.get(column, column) for column in model.columns],
                names,
            )
            for model in models
            if model.renamed and model.layer == COPIED_LAYER
        ),
    ]


def _view_asset(model: SqlModel, view: str, description: str, columns: Sequence[str], names: Names) -> dg.AssetSpec:
    layer, _, name = view.partition(".")
    described = {model.renamed.get(column, column): text for column, text in model.columns.items()}
    described |= model.columns
    return dg.AssetSpec(
        names.key(name),
        deps=[names.key(model.name)],
        description=description,
        group_name=names.group(layer),
        kinds={"duckdb", "view"},
        owners=names.owners,
        is_virtual=True,
        metadata={
            "dagster/table_name": names.table(view),
            "dagster/column_schema": dg.TableSchema(
                columns=[dg.TableColumn(column, description=described[column]) for column in columns]
            ),
        },
    )
