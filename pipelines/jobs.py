"""The jobs: the daily health run, the business reviews, backfills, late days and loading."""

from typing import Any

import dagster as dg

from assets.alerts import NAME as ALERTS
from assets.analytics import NAME as ANALYTICS
from assets.backtest import NAME as BACKTEST
from assets.context import DAY_AFTER, QUARTER
from assets.publish import EXPANSION_RECORDS, HEALTH_UPDATES, PORTFOLIO_PAGE, PUBLISH_ASSETS, QBR_PAGES
from assets.reports import NAME as REPORT
from csm_core.days.quarter_reviews import INTERMEDIATE_STEPS, MART_STEPS

BACKFILL_SCORES = "backfill_scores"
LATE_DAYS = "late_days"
LOAD_RECORDS = "load_records"
DAYS = "csm_days"

_REVIEWS = dg.AssetSelection.assets(*INTERMEDIATE_STEPS, *MART_STEPS, "csm_qbr", QBR_PAGES)
_PUBLISH = dg.AssetSelection.assets(*PUBLISH_ASSETS, ALERTS, REPORT)


def all_jobs() -> list[Any]:
    """All jobs. They use the in-process executor, because DuckDB has one writer."""
    everything = dg.AssetSelection.all() - dg.AssetSelection.assets(BACKTEST)
    return [
        dg.define_asset_job(
            "daily_health",
            selection=everything - _REVIEWS,
            description="Loads records, scores one day, publishes health updates, expansion records and the "
            "portfolio page, sends alerts, and writes the portfolio report.",
            executor_def=dg.in_process_executor,
        ),
        dg.define_asset_job(
            "renewal_check",
            selection=_REVIEWS | dg.AssetSelection.assets(ANALYTICS, DAYS),
            description="Publishes business reviews of accounts that are within 90 days of their renewal.",
            executor_def=dg.in_process_executor,
        ),
        dg.define_asset_job(
            "quarterly_qbr",
            selection=everything
            - dg.AssetSelection.assets(HEALTH_UPDATES, EXPANSION_RECORDS, PORTFOLIO_PAGE, ALERTS, REPORT),
            description="Loads records, scores the last day of a quarter, and publishes its reviews to Notion.",
            tags={QUARTER: DAY_AFTER},
            executor_def=dg.in_process_executor,
        ),
        dg.define_asset_job(
            BACKFILL_SCORES,
            selection=everything - _PUBLISH,
            description="Loads records and scores past days, one run per range. Does not publish.",
            executor_def=dg.in_process_executor,
        ),
        dg.define_asset_job(
            LATE_DAYS,
            # The renewal check handles the reviews of these days: it publishes reviews that late records changed.
            selection=everything - _PUBLISH - _REVIEWS,
            description="Loads records and scores the last days again, for late records. Does not publish.",
            executor_def=dg.in_process_executor,
        ),
        dg.define_asset_job(
            LOAD_RECORDS,
            selection=dg.AssetSelection.groups("raw", "staging"),
            description="Loads new and changed files into raw and staging, and records the days that they affect.",
            executor_def=dg.in_process_executor,
        ),
    ]
