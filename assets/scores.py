"""The asset that scores: the one mart whose SQL the vectorised scorer writes from the rubric."""

from typing import Any

import dagster as dg

from assets.context import days_run_id, days_to_build, pipeline_of
from assets.models import asset_arguments, report
from csm_core.charts import rag_over_time, score_distribution
from csm_core.days import begin_days
from csm_core.health_scores import other_configurations, score_days, scores_sql
from csm_core.late_records import days_touched_by_late_records, lacking_text, span_text
from csm_core.sql_models import SqlModel, version_of


def scores_asset(model: SqlModel, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """``csm_health_scores``: every account and day of the run scored inside the warehouse."""
    arguments = asset_arguments(model, partitions)
    arguments["code_version"] = version_of(scores_sql())

    @dg.asset(**arguments, deps=["csm_health_signals", "int_account_days"])
    def _scores(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        pipeline = pipeline_of(context)
        with pipeline.warehouse.connect() as connection:
            days = days_to_build(context, connection, model.table)
            for earlier, number in other_configurations(connection, pipeline.config, days):
                said = (
                    f"{number:,} of the days were scored under another configuration ({earlier}) and are scored anew "
                    f"under this one ({pipeline.config.config_hash})"
                )
                context.log.warning(said)
                pipeline.notes.append(said)
            begin_days(connection, days, days_run_id(context))
            result = score_days(connection, model, pipeline.config, days)
            limit = pipeline.config.late_arrival_days
            lacking = days_touched_by_late_records(connection, days[1], limit)
            more: dict[str, Any] = {
                "score_distribution": dg.MetadataValue.md(score_distribution(connection, days[1])),
                "rag_over_time": dg.MetadataValue.md(rag_over_time(connection, days[1])),
            }
            if lacking:
                said = lacking_text(lacking, days[1], limit)
                context.log.warning(said)
                pipeline.notes.append(said)
                more["days_lacking_late_records"] = span_text((lacking.days[0], lacking.days[-1]))
            return report(context, connection, model, result, days, more)

    return _scores
