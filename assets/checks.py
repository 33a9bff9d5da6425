"""The blocking checks between the scores and everything that is published from them."""

import dagster as dg

from assets.context import RESOURCE, check_results, pipeline_of
from csm_core import portfolio_checks
from csm_core.portfolio_checks import PortfolioCheck

SCORES = dg.AssetKey("csm_health_scores")


def portfolio_asset_checks() -> list[dg.AssetChecksDefinition]:
    """One blocking check per rule of ``csm_core.portfolio_checks``, on the last day of the run."""
    return [_asset_check(check) for check in portfolio_checks.ALL]


def _asset_check(check: PortfolioCheck) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=SCORES,
        name=check.name,
        description=check.description,
        blocking=True,
        required_resource_keys={RESOURCE},
    )
    def _check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        pipeline = pipeline_of(context)
        day = pipeline.last_day(context)
        with pipeline.warehouse.connect() as connection:
            outcome = portfolio_checks.run(connection, check, pipeline.config.checks, day)
            if not outcome.passed and check.name in pipeline.accepted:
                portfolio_checks.record_acceptance(connection, outcome, day, pipeline.accepted_by)
                context.log.warning(f"accepted by {pipeline.accepted_by}: {outcome.message}")
                return dg.AssetCheckResult(
                    passed=False,
                    severity=dg.AssetCheckSeverity.WARN,
                    description=f"Accepted by {pipeline.accepted_by}. {outcome.message}",
                )
        if not outcome.passed:
            context.log.error(outcome.message)
            pipeline.held.append(outcome.message)
        (result,) = check_results([outcome], SCORES)
        return result

    return _check
