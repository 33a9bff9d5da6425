"""The last mart of a day: when everything that is built from its scores has been built, the day is complete."""

import dagster as dg

from assets.context import days_of, days_run_id, pipeline_of
from assets.models import asset_arguments, report
from csm_core import days
from csm_core.finished_days import finish
from csm_core.late_records import span_text
from csm_core.sql_models import SqlModel


def days_asset(model: SqlModel, marts: list[str], partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """``csm_days``: the run's days become complete or accepted, and the table of all statuses is rebuilt."""

    @dg.asset(**asset_arguments(model, partitions), deps=marts)
    def _days(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        pipeline, own = pipeline_of(context), days_of(context)
        with pipeline.warehouse.connect() as connection:
            finished = days.passed_days(connection, days_run_id(context))
            result, again = finish(connection, pipeline.config, finished)
            if again:
                message = f"{span_text(again)}: transitions and reviews are built again, compared with {finished[-1]}"
                context.log.info(message)
                pipeline.notes.append(message)
            days.require_scored(connection, own[1])
            return report(context, connection, model, result, own)

    return _days
