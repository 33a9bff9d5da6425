"""The blocking checks between the scores and the models and pages that depend on them."""

from collections.abc import Iterator, Sequence
from datetime import date

import dagster as dg

from assets.alerts import notify_data_team
from assets.context import LATE, RESOURCE, Pipeline, accepted_checks, check_results, days_run_id, pipeline_of
from csm_core.analysts.published_copy import publish_copy
from csm_core.days import portfolio_checks
from csm_core.days.finished_days import model_parameters, withdraw_day
from csm_core.days.portfolio_checks import CheckedDay, PortfolioCheck
from csm_core.errors import CSMError
from csm_core.scoring.macros import create_macros
from csm_core.warehouse.day_status import ACCEPTED, HELD

SCORES = dg.AssetKey("csm_health_scores")


def portfolio_asset_checks() -> list[dg.AssetChecksDefinition]:
    """Return a blocking check per portfolio check, in one step that sets the statuses of the days."""

    @dg.multi_asset_check(
        name="csm_health_scores_checks",
        specs=[
            dg.AssetCheckSpec(check.name, asset=SCORES, description=check.description, blocking=True)
            for check in portfolio_checks.ALL
        ],
        required_resource_keys={RESOURCE},
    )
    def _checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        pipeline = pipeline_of(context)
        accepted, accepted_by = accepted_checks(context, pipeline)
        with pipeline.warehouse.connect() as connection:
            results = portfolio_checks.check_days(
                connection,
                pipeline.config.checks,
                days_run_id(context),
                pipeline.last_day(context),
                accepted,
                accepted_by,
                # A day that is rebuilt for late records keeps the checks that a user accepted.
                keep_accepted=LATE in context.op_execution_context.run.tags,
            )
        for result in results:
            _observe(context, result)
        *earlier, last = results
        _report_earlier(context, pipeline, earlier)
        if last.holding:
            _show_held(context, pipeline, last.day)
            notify_data_team(context, pipeline, last.day)
        for check in portfolio_checks.ALL:
            yield _result(context, pipeline, check, last, earlier)

    return [_checks]


def _observe(context: dg.AssetCheckExecutionContext, result: CheckedDay) -> None:
    """Add an observation to a held or accepted day: its metadata was stored before the checks ran."""
    if not result.failed:
        return
    status = HELD if result.holding else ACCEPTED
    metadata = {
        "status": status,
        "failed_checks": ", ".join(outcome.name for outcome in result.failed),
        **({"accepted_by": result.accepted_by} if status == ACCEPTED else {}),
        "found": "\n".join(f"{outcome.name}: {outcome.message}" for outcome in result.failed),
    }
    observation = dg.AssetObservation(SCORES, partition=str(result.day), metadata=metadata)
    context.op_execution_context.log_event(observation)


def _report_earlier(context: dg.AssetCheckExecutionContext, pipeline: Pipeline, earlier: Sequence[CheckedDay]) -> None:
    for result in earlier:
        if result.holding:
            message = f"{result.day} is still held: {' '.join(outcome.message for outcome in result.holding)}"
            context.log.warning(message)
            pipeline.notes.append(message)


def _show_held(context: dg.AssetCheckExecutionContext, pipeline: Pipeline, day: date) -> None:
    """Show the day as held in the published copy, and remove its previous rows."""
    try:
        with pipeline.warehouse.connect() as connection:
            withdraw_day(pipeline.warehouse.engine(connection), pipeline.config, day)
        publish_copy(pipeline.warehouse, create_macros, model_parameters(pipeline.config))
    except CSMError as error:
        # This run reports the failed checks; the next run updates the copy.
        context.log.warning(f"the published copy was not updated: {error}")


def _result(
    context: dg.AssetCheckExecutionContext,
    pipeline: Pipeline,
    check: PortfolioCheck,
    last: CheckedDay,
    earlier: Sequence[CheckedDay],
) -> dg.AssetCheckResult:
    """Return the result of a check for the last day of the run. It is a warning if an earlier day is still held."""
    outcome = last.outcome(check)
    if not outcome.passed and check.name not in last.accepted:
        context.log.error(outcome.text())
        pipeline.held.append(outcome.text())
        (result,) = check_results([outcome], SCORES)
        return result
    remarks: list[str] = []
    if not outcome.passed:
        remarks.append(f"Accepted by {last.accepted_by}. {outcome.message}")
        context.log.warning(f"accepted by {last.accepted_by}: {outcome.message}")
    remarks += [
        f"{one.day} is still held. {one.outcome(check).message}" for one in earlier if one.outcome(check) in one.holding
    ]
    if remarks:
        return dg.AssetCheckResult(
            asset_key=SCORES,
            check_name=check.name,
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            description=" ".join(remarks),
        )
    (result,) = check_results([outcome], SCORES)
    return result
