"""The blocking checks between the scores and the models and pages that depend on them."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg

from assets.alerts import notify_data_team
from assets.check_days import DayResult, evaluations
from assets.context import LATE, Pipeline, accepted_checks, check_results, days_between, days_run_id, pipeline_of
from assets.names import DEFAULT, Names
from csm_core.analysts.published_copy import publish_copy
from csm_core.days import portfolio_checks
from csm_core.days.finished_days import model_parameters, withdraw_day
from csm_core.days.portfolio_checks import CheckedDay, PortfolioCheck
from csm_core.errors import CSMError
from csm_core.scoring.macros import create_macros
from csm_core.warehouse.day_status import ACCEPTED, HELD

SCORES = "csm_health_scores"
_NOT_CHECKED = (
    "Not checked: in a run of several days, the portfolio checks check the last day and the days that were held or "
    "accepted before."
)


def portfolio_asset_checks(
    partitions: dg.PartitionsDefinition, names: Names = DEFAULT
) -> list[dg.AssetChecksDefinition]:
    """Return a blocking check per portfolio check, in one step that sets the statuses of the days."""
    scores = names.key(SCORES)

    @dg.multi_asset_check(
        name=names.unique("csm_health_scores_checks"),
        specs=[
            dg.AssetCheckSpec(
                check.name, asset=scores, description=check.description, blocking=True, partitions_def=partitions
            )
            for check in portfolio_checks.ALL
        ],
        required_resource_keys={names.resource},
        pool=names.pool,
    )
    def _checks(context: dg.AssetCheckExecutionContext) -> Iterator[Any]:
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
            _observe(context, result, scores)
        *earlier, last = results
        _report_earlier(context, pipeline, earlier)
        if last.holding:
            _show_held(context, pipeline, last.day)
            notify_data_team(context, pipeline, last.day, names)
        by_day = [one for check in portfolio_checks.ALL for one in _results(context, pipeline, check, results, scores)]
        yield from evaluations(context, [one.result for one in by_day if one.day == last.day], by_day)

    return [_checks]


def _observe(context: dg.AssetCheckExecutionContext, result: CheckedDay, scores: dg.AssetKey) -> None:
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
    observation = dg.AssetObservation(scores, partition=str(result.day), metadata=metadata)
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


def _results(
    context: dg.AssetCheckExecutionContext,
    pipeline: Pipeline,
    check: PortfolioCheck,
    results: Sequence[CheckedDay],
    scores: dg.AssetKey,
) -> list[DayResult]:
    """Return the results of a check by day. Only the last day of the run can fail it: held days do not block it."""
    last = results[-1]
    outcome = last.outcome(check)
    if outcome in last.holding:
        context.log.error(outcome.text())
        pipeline.held.append(outcome.text())
    elif not outcome.passed:
        context.log.warning(f"accepted by {last.accepted_by}: {outcome.message}")
    by_day = {one.day: DayResult(one.day, _result(check, one, last, scores)) for one in results}
    span = context.op_execution_context.partition_key_range
    for day in days_between(date.fromisoformat(span.start), last.day):
        # Without an evaluation, Dagster would show the check of this day as failed if the run fails.
        passed = dg.AssetCheckResult(asset_key=scores, check_name=check.name, passed=True, description=_NOT_CHECKED)
        by_day.setdefault(day, DayResult(day, passed))
    return [by_day[day] for day in sorted(by_day)]


def _result(check: PortfolioCheck, checked: CheckedDay, last: CheckedDay, scores: dg.AssetKey) -> dg.AssetCheckResult:
    """Return the result of a check for a day: a warning if the failed check is accepted, or holds an earlier day."""
    outcome = checked.outcome(check)
    (result,) = check_results([outcome], scores)
    held = outcome in checked.holding
    if outcome.passed or (held and checked is last):
        return result
    reason = f"{checked.day} is still held." if held else f"Accepted by {checked.accepted_by}."
    return dg.AssetCheckResult(
        asset_key=scores,
        check_name=check.name,
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{reason} {outcome.message}",
        metadata=result.metadata,
    )
