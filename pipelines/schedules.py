"""The schedules, in the configured time zone: daily run 07:00, renewal check 08:00, quarterly reviews 04:00."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
from dagster import ScheduleEvaluationContext

from assets.context import DO_NOT_PUBLISH, QUARTER
from assets.names import DEFAULT, Names
from assets.publish import QBR_PAGES
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.day_status import HELD, DayStatus
from pipelines.abandoned import close_abandoned_runs
from pipelines.catch_up import RANGE_END, RANGE_START, day_statuses, days_done, days_due, newest_done
from pipelines.jobs import DAILY_HEALTH, DAYS, QUARTERLY_QBR, RENEWAL_CHECK


def all_schedules(
    timezone: str,
    catch_up_days: int,
    clock: Callable[[], datetime],
    warehouse: Warehouse,
    names: Names = DEFAULT,
    status: dg.DefaultScheduleStatus = dg.DefaultScheduleStatus.STOPPED,
) -> list[dg.ScheduleDefinition]:
    """The schedules, with the status that they have until a user changes it in the UI.

    Each tick requests the last UTC day that has ended, and the missed days before it.

    A daily run is done when its day is complete or accepted, a renewal check when its reviews were published. The
    renewal check skips a held day, which the daily run has reported, and requests it again when it counts.

    If a tick is evaluated after the next one was due, because the daemon was off, its run does not publish; only the
    newest day is published.
    """
    zone = ZoneInfo(timezone)

    def daily(
        job: str,
        asset: dg.AssetKey,
        done: Callable[[], dict[date, bool] | None],
        held_days: Callable[[], dict[date, DayStatus]] = dict,
    ) -> Callable[[ScheduleEvaluationContext], dg.RunRequest | dg.SkipReason]:
        def evaluate(context: ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
            tick = context.scheduled_execution_time
            day = (tick.astimezone(UTC) - timedelta(days=1)).date()
            held = held_days()
            if day in held:
                return dg.SkipReason(f"{held[day].text()}. A later tick requests it when it is complete or accepted.")
            instance = _instance_of(context)
            first, _ = days_due(instance, asset, job, day, catch_up_days, done()) if instance else (day, day)
            while first in held:
                first += timedelta(days=1)
            days = first, day
            # One day in local time: 23 or 25 hours when daylight saving time changes.
            next_tick = tick.astimezone(zone).replace(tzinfo=None) + timedelta(days=1)
            overtaken = clock() >= next_tick.replace(tzinfo=zone)
            return _request(days, {DO_NOT_PUBLISH: "a later tick is due"} if overtaken else {})

        return evaluate

    def first_of_quarter(context: ScheduleEvaluationContext) -> dg.RunRequest:
        # The reviews use the last day that has ended. They belong to the first day of the quarter, which has not ended.
        tick = context.scheduled_execution_time
        first = tick.astimezone(zone).date()
        ended = min(first, tick.astimezone(UTC).date()) - timedelta(days=1)
        # Pages are written for the newest complete day; a late tick may have newer days.
        instance = _instance_of(context)
        newest = newest_done(instance, names.key(DAYS), days_done(warehouse)) if instance else None
        return _request((ended, max(ended, newest or ended)), {QUARTER: str(first)}, key=first)

    def held_days() -> dict[date, DayStatus]:
        return {day: one for day, one in (day_statuses(warehouse) or {}).items() if one.status == HELD}

    def schedule(
        job: str,
        cron: str,
        evaluate: Callable[[ScheduleEvaluationContext], dg.RunRequest | dg.SkipReason],
        description: str,
    ) -> dg.ScheduleDefinition:
        return dg.ScheduleDefinition(
            name=f"{job}_schedule",
            job_name=job,
            cron_schedule=cron,
            execution_timezone=timezone,
            execution_fn=evaluate,
            description=description,
            default_status=status,
        )

    health, check, quarterly = (names.unique(job) for job in (DAILY_HEALTH, RENEWAL_CHECK, QUARTERLY_QBR))
    return [
        schedule(
            health,
            "0 7 * * *",
            daily(health, names.key(DAYS), lambda: days_done(warehouse)),
            "Every day at 07:00: loads, scores and publishes yesterday and the missed days before it.",
        ),
        schedule(
            check,
            "0 8 * * *",
            daily(check, names.key(QBR_PAGES), lambda: None, held_days),
            "Every day at 08:00: publishes reviews of accounts that are within 90 days of their renewal. "
            "Skips a held day, and requests it when it counts.",
        ),
        schedule(
            quarterly,
            "0 4 1 1,4,7,10 *",
            first_of_quarter,
            "On the first day of each quarter at 04:00: publishes reviews of the previous quarter.",
        ),
    ]


def _instance_of(context: ScheduleEvaluationContext) -> dg.DagsterInstance | None:
    # A test evaluation of a tick may have no instance; then no missed days are requested.
    if not context.instance_ref:
        return None
    # An abandoned run would block Dagster's queue, and its days would count as in progress.
    close_abandoned_runs(context.instance)
    return context.instance


def _request(days: tuple[date, date], tags: dict[str, str], key: date | None = None) -> dg.RunRequest:
    first, last = (day.isoformat() for day in days)
    run_key = (key or days[1]).isoformat()
    if first == last:
        return dg.RunRequest(run_key=run_key, partition_key=last, tags=tags)
    return dg.RunRequest(run_key=run_key, tags={RANGE_START: first, RANGE_END: last, **tags})
