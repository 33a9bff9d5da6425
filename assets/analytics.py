"""The read-only copy of the marts that analysts and `csm sql` read, replaced at once when the marts are done."""

import time

import dagster as dg

from assets.context import BACKFILL, OWNERS, RESOURCE, pipeline_of
from csm_core.scoring_macros import create_macros

NAME = "csm_analytics"


def analytics_asset(marts: list[str], partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """``csm_analytics``: every mart copied to ``published/csm_analytics.duckdb``."""

    @dg.asset(
        key=NAME,
        deps=marts,
        description="Read-only copy of the marts for analysts, with the rubric as macros; who has it open keeps it.",
        group_name="marts",
        kinds={"duckdb"},
        owners=OWNERS,
        partitions_def=partitions,
        backfill_policy=BACKFILL,
        required_resource_keys={RESOURCE},
    )
    def _analytics(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        pipeline = pipeline_of(context)
        started = time.perf_counter()
        copy = pipeline.warehouse.publish_copy(create_macros)
        seconds = time.perf_counter() - started
        pipeline.progress(NAME, {"seconds": seconds})
        return dg.MaterializeResult(
            metadata={
                "path": dg.MetadataValue.path(str(copy)),
                "megabytes": round(copy.stat().st_size / 1e6, 1),
                "seconds": round(seconds, 3),
            }
        )

    return _analytics
