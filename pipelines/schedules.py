"""When jobs run, in the configured time zone: daily 07:00, renewal check 08:00, quarterly reviews at 04:00."""

from datetime import UTC, timedelta

import dagster as dg
from dagster import ScheduleEvaluationContext

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"


def all_schedules(timezone: str) -> list[dg.ScheduleDefinition]:
    """The schedules; each asks for the UTC day that was complete when it ticked."""

    def yesterday(context: ScheduleEvaluationContext) -> dg.RunRequest:
        day = (context.scheduled_execution_time.astimezone(UTC) - timedelta(days=1)).date().isoformat()
        return dg.RunRequest(run_key=day, partition_key=day)

    def first_of_quarter(context: ScheduleEvaluationContext) -> dg.RunRequest:
        # The review needs the quarter's last day scored, and stands in the partition of the day after it.
        first = context.scheduled_execution_time.date()
        last_of_quarter = (first - timedelta(days=1)).isoformat()
        return dg.RunRequest(
            run_key=first.isoformat(), tags={RANGE_START: last_of_quarter, RANGE_END: first.isoformat()}
        )

    return [
        dg.ScheduleDefinition(
            name="daily_health_schedule",
            job_name="daily_health",
            cron_schedule="0 7 * * *",
            execution_timezone=timezone,
            execution_fn=yesterday,
            description="Every day at 07:00: yesterday, from raw records to Notion.",
        ),
        dg.ScheduleDefinition(
            name="renewal_check_schedule",
            job_name="renewal_check",
            cron_schedule="0 8 * * *",
            execution_timezone=timezone,
            execution_fn=yesterday,
            description="Every day at 08:00: reviews of accounts that came within 90 days of their renewal.",
        ),
        dg.ScheduleDefinition(
            name="quarterly_qbr_schedule",
            job_name="quarterly_qbr",
            cron_schedule="0 4 1 1,4,7,10 *",
            execution_timezone=timezone,
            execution_fn=first_of_quarter,
            description="On the first day of a quarter at 04:00: reviews of the quarter that ended.",
        ),
    ]
