"""Schedules through daylight-saving changes, and days that were missed."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from assets.context import DO_NOT_PUBLISH, QUARTER, Pipeline
from csm_core.config import Config
from csm_core.warehouse.database import Warehouse
from pipelines.build import build_defs

TIMES = {"daily_health_schedule": 7, "renewal_check_schedule": 8}
# The nights in which the clocks change: forward in spring, back in autumn.
CHANGES = {"Europe/Berlin": ("2026-03-29", "2026-10-25"), "America/New_York": ("2026-03-08", "2026-11-01")}


def definitions_at(now: Callable[[], datetime], **settings) -> dg.Definitions:
    config = Config(**settings)
    return build_defs(config, Pipeline(config, Warehouse.from_config(config), clock=now))


def evaluated(definitions, schedule: str, tick: datetime, instance: dg.DagsterInstance) -> dg.RunRequest:
    found = definitions.get_schedule_def(schedule)
    context = dg.build_schedule_context(
        instance=instance, scheduled_execution_time=tick, repository_def=definitions.get_repository_def()
    )
    (request,) = found.evaluate_tick(context).run_requests
    return request


def ticks(definitions, schedule: str, first: str, last: str) -> list[datetime]:
    found = definitions.get_schedule_def(schedule)
    zone = ZoneInfo(found.execution_timezone)
    begin = datetime.fromisoformat(first).replace(tzinfo=zone)
    end = datetime.fromisoformat(last).replace(tzinfo=zone) + timedelta(days=1)
    times = schedule_execution_time_iterator(begin.timestamp(), found.cron_schedule, found.execution_timezone)
    return list(takewhile(lambda time: time < end, times))


def days_of(request: dg.RunRequest) -> tuple[str, str]:
    first = request.tags.get("dagster/asset_partition_range_start") or request.partition_key
    return first, request.tags.get("dagster/asset_partition_range_end") or request.partition_key


@pytest.mark.parametrize("schedule", TIMES)
@pytest.mark.parametrize(("zone", "change"), [(zone, day) for zone, days in CHANGES.items() for day in days])
def test_every_day_is_asked_for_once_at_the_same_time_on_the_wall(schedule, zone, change):
    changed = date.fromisoformat(change)
    first, last = changed - timedelta(days=3), changed + timedelta(days=3)
    definitions = definitions_at(lambda: datetime(2026, 1, 2, tzinfo=UTC), timezone=zone)
    found = ticks(definitions, schedule, str(first), str(last))
    assert [time.astimezone(ZoneInfo(zone)).strftime("%H:%M") for time in found] == [f"{TIMES[schedule]:02}:00"] * 7
    # Else no clock has changed, and the test shows nothing.
    assert len({time.astimezone(UTC).hour for time in found}) == 2
    with dg.instance_for_test() as instance:
        asked = [days_of(evaluated(definitions, schedule, time, instance)) for time in found]
    days = [str(first - timedelta(days=1) + timedelta(days=number)) for number in range(7)]
    assert asked == [(day, day) for day in days]


@pytest.mark.parametrize(
    ("zone", "ended"),
    [("Europe/Berlin", "2026-03-31"), ("America/New_York", "2026-03-31"), ("Asia/Tokyo", "2026-03-30")],
)
def test_quarters_are_reviewed_at_four_in_the_morning_from_the_last_day_that_has_ended(zone, ended):
    definitions = definitions_at(lambda: datetime(2026, 1, 2, tzinfo=UTC), timezone=zone)
    found = ticks(definitions, "quarterly_qbr_schedule", "2026-02-01", "2027-01-31")
    local = [time.astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M") for time in found]
    assert local == ["04-01 04:00", "07-01 04:00", "10-01 04:00", "01-01 04:00"]
    with dg.instance_for_test() as instance:
        asked = [evaluated(definitions, "quarterly_qbr_schedule", time, instance) for time in found]
    # The first day of the quarter, in which the reviews fall due, has not ended: it is not scored.
    assert days_of(asked[0]) == (ended, ended)
    assert [request.tags[QUARTER] for request in asked] == ["2026-04-01", "2026-07-01", "2026-10-01", "2027-01-01"]


def materialised(instance: dg.DagsterInstance, asset: str, *days: str) -> None:
    for day in days:
        instance.report_runless_asset_event(dg.AssetMaterialization(asset_key=asset, partition=day))


def test_missed_days_are_asked_for_with_the_next_one_as_one_range():
    tick = datetime(2026, 9, 10, 7, tzinfo=UTC)
    definitions = definitions_at(lambda: tick)
    with dg.instance_for_test() as instance:

        def asked(schedule: str = "daily_health_schedule", by: dg.Definitions = definitions) -> tuple[str, str]:
            return days_of(evaluated(by, schedule, tick, instance))

        assert asked() == ("2026-09-09", "2026-09-09")
        materialised(instance, "csm_days", "2026-06-01", "2026-09-05", "2026-09-06", "2026-09-08")
        # Scores alone are half of a day.
        materialised(instance, "csm_health_scores", "2026-09-07")
        # Nothing was ever run before September within the days that are caught up, but in June something was.
        assert asked() == ("2026-08-09", "2026-09-09")
        assert asked(by=definitions_at(lambda: tick, catch_up_days=4)) == ("2026-09-07", "2026-09-09")
        assert asked(by=definitions_at(lambda: tick, catch_up_days=0)) == ("2026-09-09", "2026-09-09")
        # Each schedule looks at what it materialises.
        assert asked("renewal_check_schedule") == ("2026-09-09", "2026-09-09")
        instance.add_run(
            dg.DagsterRun(
                job_name="daily_health",
                status=dg.DagsterRunStatus.STARTED,
                tags={
                    "dagster/asset_partition_range_start": "2026-08-01",
                    "dagster/asset_partition_range_end": "2026-09-07",
                },
            )
        )
        assert asked() == ("2026-09-09", "2026-09-09")


def test_a_tick_that_comes_after_its_successor_was_due_is_not_published():
    tick = datetime(2026, 9, 10, 7, tzinfo=UTC)
    for hours, published in ((1, True), (23, True), (24, False), (72, False)):
        definitions = definitions_at(lambda late=hours: tick + timedelta(hours=late))
        with dg.instance_for_test() as instance:
            request = evaluated(definitions, "daily_health_schedule", tick, instance)
        assert request.partition_key == "2026-09-09"
        assert (DO_NOT_PUBLISH not in request.tags) == published


def test_a_quarter_whose_tick_comes_late_is_published_from_the_newest_day():
    tick = datetime(2026, 7, 1, 4, tzinfo=UTC)
    definitions = definitions_at(lambda: tick + timedelta(days=2))
    with dg.instance_for_test() as instance:
        materialised(instance, "csm_days", "2026-06-30", "2026-07-02")
        request = evaluated(definitions, "quarterly_qbr_schedule", tick, instance)
    assert days_of(request) == ("2026-06-30", "2026-07-02")
    assert request.run_key == "2026-07-01"
