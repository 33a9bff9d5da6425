"""Days that are not done, by the warehouse or Dagster's history, so that the next tick asks for them in one range."""

from collections.abc import Mapping
from datetime import date, timedelta

import dagster as dg

from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.day_status import DayStatus, statuses

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
PARTITION = "dagster/partition"

_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


def days_due(
    instance: dg.DagsterInstance,
    asset: str,
    job: str,
    day: date,
    catch_up_days: int,
    done: Mapping[date, bool] | None = None,
) -> tuple[date, date]:
    """First and last of the days that a tick for ``day`` has to ask for: ``day``, and those missed before it.

    ``done`` has every day that was ever begun, and whether it is done; without it that is read from what Dagster has
    materialised of the asset. A day was missed if it is at most ``catch_up_days`` before, after the first day that was
    ever begun, and neither done nor in a run of the job that is queued or in progress. So a day that failed, was
    killed or is held is asked for again.
    """
    if not done:
        done = {date.fromisoformat(key): True for key in instance.get_materialized_partitions(dg.AssetKey(asset))}
    if not done:
        return day, day
    taken = {one for one, is_done in done.items() if is_done} | _days_under_way(instance, job)
    earliest = max(min(done), day - timedelta(days=catch_up_days))
    missed = (
        before
        for number in range((day - earliest).days, 0, -1)
        if (before := day - timedelta(days=number)) not in taken
    )
    return next(missed, day), day


def days_done(warehouse: Warehouse) -> dict[date, bool] | None:
    """Every day that was ever begun, and whether it is complete or accepted; None while the warehouse is in use."""
    found = day_statuses(warehouse)
    return None if found is None else {day: one.counts for day, one in found.items()}


def day_statuses(warehouse: Warehouse) -> dict[date, DayStatus] | None:
    """The status of every scored day; None while the warehouse is in use, or if there is none."""
    with warehouse.look() as connection:
        return None if connection is None else statuses(connection)


def newest_done(instance: dg.DagsterInstance, asset: str, done: Mapping[date, bool] | None) -> date | None:
    """The last day that is done, by the warehouse if it is given, else by what Dagster has materialised of an asset."""
    if done:
        return max((day for day, is_done in done.items() if is_done), default=None)
    newest = max(instance.get_materialized_partitions(dg.AssetKey(asset)), default=None)
    return date.fromisoformat(newest) if newest else None


def days_text(tags: Mapping[str, str]) -> str:
    """The day or days that a run's tags name, for a person."""
    first, last = tags.get(RANGE_START), tags.get(RANGE_END)
    if first and last:
        return first if first == last else f"{first} to {last}"
    return tags.get(PARTITION) or "no partition"


def _days_under_way(instance: dg.DagsterInstance, job: str) -> set[date]:
    days: set[date] = set()
    for run in instance.get_runs(dg.RunsFilter(job_name=job, statuses=_UNFINISHED)):
        first = run.tags.get(RANGE_START) or run.tags.get(PARTITION)
        last = run.tags.get(RANGE_END) or first
        if first and last:
            start = date.fromisoformat(first)
            days |= {start + timedelta(days=one) for one in range((date.fromisoformat(last) - start).days + 1)}
    return days
