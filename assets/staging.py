"""Staging assets: one per entity of the staged contract, from every configured system that has a model for it."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from assets.context import BACKFILL, OWNERS, RESOURCE, pipeline_of
from assets.models import asset_name
from csm_core.config import Config
from csm_core.contract import ACCOUNTS, ENTITIES, Entity
from csm_core.notion import assessments
from csm_core.sql_models import SqlModel, staging_models
from csm_core.staging_gate import stage_entity


def staging_assets(config: Config, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """One asset per entity; an entity that no configured system has stays an empty table."""
    # What people choose in Notion comes back as records, whatever the sources are.
    systems = list(dict.fromkeys([*(source.system for source in config.sources), assessments.SYSTEM]))
    models = {system: staging_models(system) for system in systems}
    return [
        _staging_asset(
            entity,
            {system: found[entity.name] for system, found in models.items() if entity.name in found},
            partitions,
        )
        for entity in ENTITIES.values()
    ]


def _staging_asset(
    entity: Entity, models: dict[str, SqlModel], partitions: dg.PartitionsDefinition
) -> dg.AssetsDefinition:
    # No asset of the run makes what publishing of earlier runs read back: an edge from there would be a circle.
    upstream = {asset_name(table) for model in models.values() for table in model.dependencies - {assessments.TABLE}}
    # An account_id unknown to accounts is refused, so accounts are staged before everything else.
    if entity.name != ACCOUNTS:
        upstream.add(asset_name(ENTITIES[ACCOUNTS].table))

    @dg.asset(
        key=asset_name(entity.table),
        deps=sorted(upstream),
        description=f"{entity.name} as the staged contract has them, from {', '.join(models) or 'no source'}; "
        f"refused records are in {entity.quarantine_table}.",
        group_name="staging",
        kinds={"duckdb", "sql"},
        owners=OWNERS,
        code_version="+".join(model.version for model in models.values()) or "none",
        partitions_def=partitions,
        backfill_policy=BACKFILL,
        required_resource_keys={RESOURCE},
        metadata={
            "dagster/table_name": entity.table,
            "dagster/column_schema": dg.TableSchema(
                columns=[
                    dg.TableColumn(column.name, str(column.kind), description=column.note or None)
                    for column in entity.columns
                ]
            ),
        },
    )
    def _stage(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        pipeline = pipeline_of(context)
        with pipeline.warehouse.connect() as connection:
            if assessments.SYSTEM in models:
                assessments.prepare(connection)
            result = stage_entity(
                connection,
                entity.name,
                [(system, model.sql) for system, model in models.items()],
                staged_at=datetime.now(UTC),
                max_rejected_percent=pipeline.config.max_rejected_percent,
            )
        pipeline.staged.append(result)
        pipeline.progress(asset_name(entity.table), {"rows": result.loaded, "seconds": result.seconds})
        metadata: dict[str, Any] = {
            "dagster/row_count": result.loaded,
            "rows_read": result.read,
            "rejected": result.rejected,
            "superseded": result.superseded,
            "rejected_by_reason": dict(result.by_reason),
            "seconds": round(result.seconds, 3),
        }
        if result.touched_days:
            metadata["days_touched"] = (
                f"{len(result.touched_days)}: {result.touched_days[0]} to {result.touched_days[-1]}"
            )
        return dg.MaterializeResult(metadata=metadata)

    return _stage
