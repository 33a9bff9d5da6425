"""The published copy: the read-only file that analysts and `csm sql` read, replaced at the end of a run."""

import time

import dagster as dg

from assets.context import BACKFILL, pipeline_of
from assets.freshness import DAILY_HOUR, due_by
from assets.names import DEFAULT, Names
from csm_core.analysts.published_copy import publish_copy
from csm_core.days.finished_days import model_parameters
from csm_core.scoring.macros import create_macros

NAME = "csm_analytics"
# After publishing, since the copy includes its results, but without a dependency: if publishing fails, the marts are
# still copied.
LAST = {"dagster/priority": "-2"}


def analytics_asset(marts: list[str], timezone: str = "UTC", names: Names = DEFAULT) -> dg.AssetsDefinition:
    """Return ``csm_analytics``, which copies every mart to ``published/csm_analytics.duckdb``."""

    @dg.asset(
        key=names.key(NAME),
        deps=names.keys(marts),
        description="Read-only copy of the marts and of the pages published to Notion, for analysts, with the rubric "
        "as DuckDB macros. Open connections keep the previous file.",
        group_name=names.group("marts"),
        kinds={"duckdb"},
        owners=names.owners,
        required_resource_keys={names.resource},
        op_tags=LAST,
        pool=names.pool,
        backfill_policy=BACKFILL,
        freshness_policy=due_by(DAILY_HOUR, timezone),
    )
    def _analytics(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        pipeline = pipeline_of(context)
        started = time.perf_counter()
        copy = publish_copy(pipeline.warehouse, create_macros, model_parameters(pipeline.config))
        seconds = time.perf_counter() - started
        pipeline.progress(NAME, {"seconds": seconds, "layer": "copy"})
        return dg.MaterializeResult(
            metadata={
                "path": dg.MetadataValue.path(str(copy)),
                "megabytes": round(copy.stat().st_size / 1e6, 1),
                "seconds": round(seconds, 3),
            }
        )

    return _analytics
