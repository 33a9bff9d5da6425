"""The blocking checks between the scores and everything that is published from them."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg

from assets.context import RESOURCE, Pipeline, check_results, pipeline_of
from csm_core import portfolio_checks
from csm_core.checks import CheckOutcome
from csm_core.portfolio_checks import PortfolioCheck

SCORES = dg.AssetKey("csm_health_scores")


def portfolio_asset_checks() -> list[dg.AssetChecksDefinition]:
    """One blocking check per rule of ``csm_core.portfolio_checks``, on the last day of the run."""
    freshness = list(portfolio_checks.FRESHNESS.values())
    others = [check for check in portfolio_checks.ALL if check not in freshness]
    return [*(_asset_checks(check.name, [check]) for check in others), _asset_checks("records_delivered", freshness)]


def _asset_checks(name: str, checks: Sequence[PortfolioCheck]) -> dg.AssetChecksDefinition:
    # One step for all of them: a step costs more than such a check.
    @dg.multi_asset_check(
        name=f"csm_health_scores_{name}",
        specs=[
            dg.AssetCheckSpec(check.name, asset=SCORES, description=check.description, blocking=True)
            for check in checks
        ],
        required_resource_keys={RESOURCE},
    )
    def _check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        pipeline = pipeline_of(context)
        day = pipeline.last_day(context)
        with pipeline.warehouse.connect() as connection:
            for check in checks:
                outcome = portfolio_checks.run(connection, check, pipeline.config.checks, day)
                yield _result(context, pipeline, connection, outcome, day)

    return _check


def _result(
    context: dg.AssetCheckExecutionContext, pipeline: Pipeline, connection: Any, outcome: CheckOutcome, day: date
) -> dg.AssetCheckResult:
    if not outcome.passed and outcome.name in pipeline.accepted:
        portfolio_checks.record_acceptance(connection, outcome, day, pipeline.accepted_by)
        context.log.warning(f"accepted by {pipeline.accepted_by}: {outcome.message}")
        return dg.AssetCheckResult(
            asset_key=SCORES,
            check_name=outcome.name,
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"Accepted by {pipeline.accepted_by}. {outcome.message}",
        )
    if not outcome.passed:
        context.log.error(outcome.text())
        pipeline.held.append(outcome.text())
    (result,) = check_results([outcome], SCORES)
    return result
