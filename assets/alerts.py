"""The alerts about accounts: states of the newest day and digests for their owners, after the published copy."""

from typing import TYPE_CHECKING

import dagster as dg

from assets.analytics import NAME as ANALYTICS
from assets.context import BACKFILL, DO_NOT_PUBLISH, Pipeline, days_of, pipeline_of
from assets.freshness import DAILY_HOUR, due_by
from assets.names import DEFAULT, Names
from csm_core.analysts.published_copy import publish_copy
from csm_core.days.finished_days import model_parameters
from csm_core.errors import CSMError, PublishError
from csm_core.scoring.macros import create_macros
from csm_core.warehouse.day_status import require_newest, require_scored

if TYPE_CHECKING:
    from datetime import date

    from csm_core.publishing.alerts.publish import AlertReport

NAME = "csm_alerts"
_UPSTREAM = ("csm_days", "csm_health_scores", "csm_health_signals", "csm_signal_points")
# After the pages in Notion, since digests link to them.
_LAST = {"dagster/priority": "-3"}


def alerts_asset(
    partitions: dg.PartitionsDefinition, timezone: str = "UTC", names: Names = DEFAULT
) -> dg.AssetsDefinition:
    """Return ``csm_alerts``, which evaluates the rules on new days and delivers the digests of the newest day."""

    @dg.asset(
        key=names.key(NAME),
        deps=names.keys([ANALYTICS, *_UPSTREAM]),
        description="The states of alerts about accounts, also in the published copy, and a digest for each route and "
        "owner.",
        group_name=names.group("publish"),
        owners=names.owners,
        partitions_def=partitions,
        backfill_policy=BACKFILL,
        required_resource_keys={names.resource},
        op_tags=_LAST,
        pool=names.pool,
        freshness_policy=due_by(DAILY_HOUR, timezone),
    )
    def _alerts(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        from csm_core.publishing.alerts.publish import alert_day

        pipeline = pipeline_of(context)
        reason = context.run.tags.get(DO_NOT_PUBLISH)
        if reason:
            context.log.info(f"this run sends no alerts ({reason}); the run of the latest day does")
            return dg.MaterializeResult(metadata={"alerts": False})
        with pipeline.warehouse.connect() as connection:
            first, day = days_of(context)
            newest = require_newest(connection)
            require_scored(connection, day)
            if day < newest:
                context.log.info(f"{day} is older than the newest complete day, {newest}; only the newest day alerts")
                return dg.MaterializeResult(metadata={"alerts": False})
            report = alert_day(connection, pipeline.config.alerts, first, day, clock=pipeline.clock)
        if report.evaluated_days:
            # The copy was written before the rules were evaluated; the report reads the states from it.
            publish_copy(pipeline.warehouse, create_macros, model_parameters(pipeline.config))
        pipeline.alerts.append(report)
        pipeline.progress(NAME, {"rows": report.delivery.accounts, "layer": "alerts"})
        metadata = _metadata(report)
        for problem in report.delivery.problems:
            context.log.warning(problem)
        if report.delivery.failed:
            # A failed step has no materialisation, so the results are reported as an observation.
            context.log_event(dg.AssetObservation(context.asset_key, metadata=metadata))
            message = f"{report.delivery.failed} digests could not be sent: {'; '.join(report.delivery.problems[:10])}"
            raise PublishError(message)
        return dg.MaterializeResult(metadata=metadata)

    return _alerts


def notify_data_team(
    context: dg.AssetCheckExecutionContext, pipeline: Pipeline, day: "date", names: Names = DEFAULT
) -> None:
    """Send the message about a held day, if this run sends alerts: the steps after the failed check do not run."""
    from csm_core.publishing.alerts.publish import report_data_problem

    run = context.op_execution_context.run
    selected = context.op_execution_context.job_def.asset_layer.executable_asset_keys
    if DO_NOT_PUBLISH in run.tags or names.key(NAME) not in selected:
        return
    try:
        with pipeline.warehouse.connect() as connection:
            report = report_data_problem(connection, pipeline.config.alerts, day, clock=pipeline.clock)
    except CSMError as error:
        # This run reports the failed checks; the next run sends the message.
        context.log.warning(f"the message about the data problem was not sent: {error}")
        return
    if report:
        pipeline.alerts.append(report)
        for problem in report.delivery.problems:
            context.log.warning(problem)


def _metadata(report: "AlertReport") -> dict[str, dg.MetadataValue]:
    done = report.delivery
    counts = {
        "evaluated_days": report.evaluated_days,
        "digests": done.sent,
        "accounts": done.accounts,
        "possibly_sent": done.possibly_sent,
        "failed": done.failed,
    }
    return {
        "alerts": dg.MetadataValue.bool(True),
        **{name: dg.MetadataValue.int(count) for name, count in counts.items()},
        **({"problems": dg.MetadataValue.text("\n".join(done.problems))} if done.problems else {}),
    }
