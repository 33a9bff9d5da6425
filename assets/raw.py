"""Raw assets: one source system's records as they arrived, one asset per raw table."""

from datetime import UTC, datetime

import dagster as dg
import structlog

from assets.context import BACKFILL, OWNERS, RESOURCE, pipeline_of
from assets.models import asset_name
from csm_core.config import SourceConfig
from csm_core.sources.registry import get_system

log = structlog.get_logger("csm_core.sources")


def raw_assets(source: SourceConfig, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """What a configured source brings; files that were loaded before and have not changed are skipped."""
    system = get_system(source.system)

    @dg.multi_asset(
        name=f"load_{system.name}",
        specs=[
            dg.AssetSpec(
                asset_name(raw.table),
                description=f"{raw.name} of {system.name}, as they arrived.",
                group_name="raw",
                kinds={"duckdb", system.name},
                owners=OWNERS,
                metadata={"dagster/table_name": raw.table},
            )
            for raw in system.raw_tables
        ],
        partitions_def=partitions,
        backfill_policy=BACKFILL,
        required_resource_keys={RESOURCE},
    )
    def _load(context: dg.AssetExecutionContext):
        pipeline = pipeline_of(context)
        with pipeline.warehouse.connect() as connection:
            results = system.load(connection, source, loaded_at=datetime.now(UTC), log=log)
        for result in results:
            pipeline.progress(asset_name(result.table), {"rows": result.read, "seconds": result.seconds})
            yield dg.MaterializeResult(
                asset_key=asset_name(result.table),
                metadata={
                    "dagster/row_count": result.loaded,
                    "rows_read": result.read,
                    "rejected": result.unparseable,
                    "files_loaded": len(result.files),
                    "files_unchanged": result.files_unchanged,
                    "seconds": round(result.seconds, 3),
                },
            )

    return _load
