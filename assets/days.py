"""The last mart of a day, which completes the day once all models that depend on its scores are built."""

from datetime import UTC, date, timedelta
from typing import Any

import dagster as dg

from assets.context import Pipeline, days_between, days_of, days_run_id, pipeline_of
from assets.models import report, sql_asset
from assets.names import DEFAULT, Names
from csm_core.days.finished_days import finish
from csm_core.ingest.replaced_rows import forget_replaced
from csm_core.system.text_table import counted
from csm_core.warehouse import day_status
from csm_core.warehouse.catalog import transaction
from csm_core.warehouse.late_changes import span_text
from csm_core.warehouse.models import SqlModel


def days_asset(
    model: SqlModel, marts: list[str], partitions: dg.PartitionsDefinition, names: Names = DEFAULT
) -> dg.AssetsDefinition:
    """Return ``csm_days``, which sets the run's days to complete or accepted and rebuilds the table of all statuses."""

    @sql_asset(model, partitions, marts, names)
    def _days(context: dg.AssetExecutionContext):
        pipeline, own = pipeline_of(context), days_of(context)
        with pipeline.warehouse.connect() as connection:
            finished = day_status.passed_days(connection, days_run_id(context))
            engine = pipeline.warehouse.engine(connection)
            result, again = finish(engine, pipeline.config, finished)
            if again:
                message = f"{span_text(again)}: transitions and reviews were rebuilt, compared with {finished[-1]}"
                context.log.info(message)
                pipeline.notes.append(message)
            day_status.require_scored(connection, own[1])
            forgotten = _forget_replaced(context, pipeline, connection)
            return report(context, engine, model, result, own, forgotten, _status_by_day(connection, own))

    return _days


def _forget_replaced(context: dg.AssetExecutionContext, pipeline: Pipeline, connection: Any) -> dict[str, Any]:
    """Delete replaced raw records that are older than the configured days; returns their number as metadata."""
    days = pipeline.config.history.keep_replaced_days
    before = pipeline.clock().astimezone(UTC).replace(tzinfo=None) - timedelta(days=days)
    with transaction(connection):
        forgotten = forget_replaced(connection, before)
    total = sum(one.rows for one in forgotten)
    if not total:
        return {}
    shown = ", ".join(f"{one.rows} of {one.table}" for one in forgotten)
    message = f"{counted(total, 'replaced raw record')} older than {counted(days, 'day')} deleted: {shown}"
    context.log.info(message)
    pipeline.notes.append(message)
    return {"replaced_raw_records_deleted": total}


def _status_by_day(connection: Any, span: tuple[date, date]) -> dict[date, dict[str, Any]]:
    """Return the metadata of each partition: the day's status, and the failed checks of a held or accepted day."""
    statuses = day_status.statuses(connection)
    return {day: _status(statuses[day]) for day in days_between(*span) if day in statuses}


def _status(day: day_status.DayStatus) -> dict[str, Any]:
    shown = {"status": day.status, "failed_checks": ", ".join(day.failed_checks), "accepted_by": day.accepted_by}
    return {name: value for name, value in shown.items() if value}
