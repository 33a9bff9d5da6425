"""What is run together: the daily health run, the two kinds of business reviews, and what publishes nothing."""

from typing import Any

import dagster as dg

from assets.analytics import NAME as ANALYTICS
from assets.context import DAY_AFTER, QUARTER
from assets.publish import EXPANSION_RECORDS, HEALTH_UPDATES, QBR_PAGES
from csm_core.days.quarter_reviews import INTERMEDIATE_STEPS, MART_STEPS

BACKFILL_SCORES = "backfill_scores"
LATE_DAYS = "late_days"
LOAD_RECORDS = "load_records"
DAYS = "csm_days"

_REVIEWS = dg.AssetSelection.assets(*INTERMEDIATE_STEPS, *MART_STEPS, "csm_qbr", QBR_PAGES)
_PUBLISH = dg.AssetSelection.assets(HEALTH_UPDATES, QBR_PAGES, EXPANSION_RECORDS)


def all_jobs() -> list[Any]:
    """The jobs, all of them in one process: DuckDB has one writer."""
    everything = dg.AssetSelection.all()
    return [
        dg.define_asset_job(
            "daily_health",
            selection=everything - _REVIEWS,
            description="Raw records to scores of one day, then health updates and expansion records to Notion.",
            executor_def=dg.in_process_executor,
        ),
        dg.define_asset_job(
            "renewal_check",
            selection=_REVIEWS | dg.AssetSelection.assets(ANALYTICS, DAYS),
            description="Business reviews of accounts that came within reach of their renewal, to Notion.",
            executor_def=dg.in_process_executor,
        ),
        dg.define_asset_job(
            "quarterly_qbr",
            selection=everything - dg.AssetSelection.assets(HEALTH_UPDATES, EXPANSION_RECORDS),
            description="Raw records to scores of a quarter's last day, then reviews of the quarter to Notion.",
            tags={QUARTER: DAY_AFTER},
            executor_def=dg.in_process_executor,
        ),
        dg.define_asset_job(
            BACKFILL_SCORES,
            selection=everything - _PUBLISH,
            description="Raw records to scores of past days, as one run per range; publishes nothing.",
            executor_def=dg.in_process_executor,
        ),
        dg.define_asset_job(
            LATE_DAYS,
            # The reviews of these days are left to the renewal check: it publishes those that late records changed.
            selection=everything - _PUBLISH - _REVIEWS,
            description="Raw records to scores of the last days once more, for records that came late; publishes "
            "nothing.",
            executor_def=dg.in_process_executor,
        ),
        dg.define_asset_job(
            LOAD_RECORDS,
            selection=dg.AssetSelection.groups("raw", "staging"),
            description="New and changed files into raw and staging, which tells the days that they touch.",
            executor_def=dg.in_process_executor,
        ),
    ]
