"""When jobs run, in the configured time zone: daily 07:00, renewal check 08:00, quarterly reviews at 04:00."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
from dagster import ScheduleEvaluationContext

from assets.context import DO_NOT_PUBLISH, QUARTER
from assets.publish import QBR_PAGES
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.day_status import HELD, DayStatus
from pipelines.abandoned import close_abandoned_runs
from pipelines.catch_up import RANGE_END, RANGE_START, day_statuses, days_done, days_due, newest_done
from pipelines.jobs import DAYS


def all_schedules(
    timezone: str, catch_up_days: int, clock: Callable[[], datetime], warehouse: Warehouse
) -> list[dg.ScheduleDefinition]:
    """The schedules; each asks for the UTC day that had ended when it ticked, and for the days missed before it.

    A daily run is done when its day is complete or accepted, a renewal check when its reviews were published. The
    renewal check skips a held day, which the daily run has reported, and asks for it again when it counts.

    A tick that is evaluated after the next one was due (the daemon had been off) is run, but not published: the newest
    day is.
    """
    zone = ZoneInfo(timezone)

    def daily(
        job: str,
        asset: str,
        done: Callable[[], dict[date, bool] | None],
        held_days: Callable[[], dict[date, DayStatus]] = dict,
    ) -> Callable[[ScheduleEvaluationContext], dg.RunRequest | dg.SkipReason]:
        def evaluate(context: ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
            tick = context.scheduled_execution_time
            day = (tick.astimezone(UTC) - timedelta(days=1)).date()
            held = held_days()
            if day in held:
                return dg.SkipReason(f"{held[day].text()}. A later tick asks for it when it is complete or accepted.")
            instance = _instance_of(context)
            first, _ = days_due(instance, asset, job, day, catch_up_days, done()) if instance else (day, day)
            while first in held:
                first += timedelta(days=1)
            days = first, day
            # A day by the clock on the wall: 23 or 25 hours where the time changes.
            next_tick = tick.astimezone(zone).replace(tzinfo=None) + timedelta(days=1)
            overtaken = clock() >= next_tick.replace(tzinfo=zone)
            return _request(days, {DO_NOT_PUBLISH: "a later tick is due"} if overtaken else {})

        return evaluate

    def first_of_quarter(context: ScheduleEvaluationContext) -> dg.RunRequest:
        # The reviews read the last day that has ended, and belong to the first day of the quarter, which has not.
        tick = context.scheduled_execution_time
        first = tick.astimezone(zone).date()
        ended = min(first, tick.astimezone(UTC).date()) - timedelta(days=1)
        # Pages are written from the newest complete day on; a tick that comes late has newer ones.
        instance = _instance_of(context)
        newest = newest_done(instance, DAYS, days_done(warehouse)) if instance else None
        return _request((ended, max(ended, newest or ended)), {QUARTER: str(first)}, key=first)

    def held_days() -> dict[date, DayStatus]:
        return {day: one for day, one in (day_statuses(warehouse) or {}).items() if one.status == HELD}

    return [
        dg.ScheduleDefinition(
            name="daily_health_schedule",
            job_name="daily_health",
            cron_schedule="0 7 * * *",
            execution_timezone=timezone,
            execution_fn=daily("daily_health", DAYS, lambda: days_done(warehouse)),
            description="Every day at 07:00: yesterday and the days missed before it, from raw records to Notion.",
        ),
        dg.ScheduleDefinition(
            name="renewal_check_schedule",
            job_name="renewal_check",
            cron_schedule="0 8 * * *",
            execution_timezone=timezone,
            execution_fn=daily("renewal_check", QBR_PAGES, lambda: None, held_days),
            description="Every day at 08:00: reviews of accounts that came within 90 days of their renewal. Skips a "
            "held day, and asks for it when it counts.",
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


def _instance_of(context: ScheduleEvaluationContext) -> dg.DagsterInstance | None:
    # Somebody who only asks what a tick would request may do so without an instance; nothing was missed then.
    if not context.instance_ref:
        return None
    # Dagster's queue would not let the tick's run start after one that never ends; nor are its days under way.
    close_abandoned_runs(context.instance)
    return context.instance


def _request(days: tuple[date, date], tags: dict[str, str], key: date | None = None) -> dg.RunRequest:
    first, last = (day.isoformat() for day in days)
    run_key = (key or days[1]).isoformat()
    if first == last:
        return dg.RunRequest(run_key=run_key, partition_key=last, tags=tags)
    return dg.RunRequest(run_key=run_key, tags={RANGE_START: first, RANGE_END: last, **tags})
