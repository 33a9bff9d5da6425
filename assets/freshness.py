"""When assets that people read must have been materialised: Dagster's freshness policies.

Dagster evaluates a policy for an asset, not for its partitions: an older day that is materialised also satisfies it.
Whether each day is complete is the task of the portfolio checks and of catching up (docs/dagster.md).
"""

from datetime import timedelta

import dagster as dg

# The daily run starts at 07:00, the renewal check at 08:00 (pipelines.schedules); each has two hours.
DAILY_HOUR, REVIEWS_HOUR = 9, 10


def due_by(hour: int, timezone: str) -> dg.FreshnessPolicy:
    """Return the policy of an asset that is materialised each day between midnight and ``hour``, in a time zone."""
    return dg.FreshnessPolicy.cron(
        deadline_cron=f"0 {hour} * * *", lower_bound_delta=timedelta(hours=hour), timezone=timezone
    )
