"""The jobs: the daily health run, the business reviews, backfills, late days and loading."""

from collections.abc import Iterable, Sequence
from typing import Any

import dagster as dg

from assets.alerts import NAME as ALERTS
from assets.analytics import NAME as ANALYTICS
from assets.backtest import NAME as BACKTEST
from assets.context import DAY_AFTER, QUARTER
from assets.names import DEFAULT, Names
from assets.publish import EXPANSION_RECORDS, HEALTH_UPDATES, PORTFOLIO_PAGE, PUBLISH_ASSETS, QBR_PAGES
from assets.reports import NAME as REPORT
from csm_core.days.quarter_reviews import INTERMEDIATE_STEPS, MART_STEPS

DAILY_HEALTH = "daily_health"
RENEWAL_CHECK = "renewal_check"
QUARTERLY_QBR = "quarterly_qbr"
BACKFILL_SCORES = "backfill_scores"
LATE_DAYS = "late_days"
LOAD_RECORDS = "load_records"
DAYS = "csm_days"

_REVIEWS = (*INTERMEDIATE_STEPS, *MART_STEPS, "csm_qbr", QBR_PAGES)
_PUBLISH = (*PUBLISH_ASSETS, ALERTS, REPORT)
_LOADED = ("raw", "staging")


def all_jobs(assets: Iterable[dg.AssetsDefinition], names: Names = DEFAULT, crm: Sequence[str] = ()) -> list[Any]:
    """All jobs, over these assets only: other assets of the same code location are not part of them.

    ``crm`` are the names of the assets of HubSpot and Salesforce.

    They use the in-process executor, because DuckDB has one writer.
    """
    specs = [spec for asset in assets for spec in asset.specs]
    everything = dg.AssetSelection.assets(*(spec.key for spec in specs)) - names.selection([BACKTEST])
    layers = {names.group(layer) for layer in _LOADED}
    loaded = dg.AssetSelection.assets(*(spec.key for spec in specs if spec.group_name in layers))
    reviews, publish = names.selection(_REVIEWS), names.selection([*_PUBLISH, *crm])

    def job(name: str, selection: dg.AssetSelection, description: str, **tags: str) -> Any:
        return dg.define_asset_job(
            names.unique(name),
            selection=selection,
            description=description,
            tags={**names.run_tags, **tags},
            executor_def=dg.in_process_executor,
        )

    return [
        job(
            DAILY_HEALTH,
            everything - reviews,
            "Loads records, scores one day, publishes health updates, expansion records, the portfolio page, and the "
            "records of HubSpot and Salesforce, sends alerts, and writes the portfolio report.",
        ),
        job(
            RENEWAL_CHECK,
            reviews | names.selection([ANALYTICS, DAYS]),
            "Publishes business reviews of accounts that are within 90 days of their renewal.",
        ),
        job(
            QUARTERLY_QBR,
            everything - names.selection([HEALTH_UPDATES, EXPANSION_RECORDS, PORTFOLIO_PAGE, *crm, ALERTS, REPORT]),
            "Loads records, scores the last day of a quarter, and publishes its reviews to Notion.",
            **{QUARTER: DAY_AFTER},
        ),
        job(
            BACKFILL_SCORES,
            everything - publish,
            "Loads records and scores past days, one run per range. Does not publish.",
        ),
        job(
            LATE_DAYS,
            # The renewal check handles the reviews of these days: it publishes reviews that late records changed.
            everything - publish - reviews,
            "Loads records and scores the last days again, for late records. Does not publish.",
        ),
        job(
            LOAD_RECORDS,
            loaded,
            "Loads new and changed files into raw and staging, and records the days that they affect.",
        ),
    ]
