"""Finds missed days in the warehouse or in Dagster's history, so that the next tick requests them in one range."""

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
    asset: str | dg.AssetKey,
    job: str,
    day: date,
    catch_up_days: int,
    done: Mapping[date, bool] | None = None,
) -> tuple[date, date]:
    """The first and the last day that a tick for ``day`` requests: ``day`` and the missed days before it.

    ``done`` maps each started day to whether it is done; without it, Dagster's materialisations of the asset are used.
    A day is missed if it is at most ``catch_up_days`` before ``day``, not before the first started day, and neither
    done nor in a queued or running run of the job. So failed, killed and held days are requested again.
    """
    if not done:
        done = {
            date.fromisoformat(key): True
            for key in instance.get_materialized_partitions(dg.AssetKey.from_coercible(asset))
        }
    if not done:
        return day, day
    taken = {one for one, is_done in done.items() if is_done} | _days_in_progress(instance, job)
    earliest = max(min(done), day - timedelta(days=catch_up_days))
    missed = (
        before
        for number in range((day - earliest).days, 0, -1)
        if (before := day - timedelta(days=number)) not in taken
    )
    return next(missed, day), day


def days_done(warehouse: Warehouse) -> dict[date, bool] | None:
    """All started days, and whether each is complete or accepted; None while the warehouse is in use."""
    by_day = day_statuses(warehouse)
    return None if by_day is None else {day: one.counts for day, one in by_day.items()}


def day_statuses(warehouse: Warehouse) -> dict[date, DayStatus] | None:
    """The status of every scored day; None if the warehouse is in use or does not exist."""
    with warehouse.open_read_only() as connection:
        return None if connection is None else statuses(connection)


def newest_done(instance: dg.DagsterInstance, asset: dg.AssetKey, done: Mapping[date, bool] | None) -> date | None:
    """The latest day that is done, from ``done`` if it is set, else from Dagster's materialisations of an asset."""
    if done:
        return max((day for day, is_done in done.items() if is_done), default=None)
    newest = max(instance.get_materialized_partitions(asset), default=None)
    return date.fromisoformat(newest) if newest else None


def days_text(tags: Mapping[str, str]) -> str:
    """The day or days in the tags of a run, as text."""
    first, last = tags.get(RANGE_START), tags.get(RANGE_END)
    if first and last:
        return first if first == last else f"{first} to {last}"
    return tags.get(PARTITION) or "no partition"


def _days_in_progress(instance: dg.DagsterInstance, job: str) -> set[date]:
    days: set[date] = set()
    for run in instance.get_runs(dg.RunsFilter(job_name=job, statuses=_UNFINISHED)):
        first = run.tags.get(RANGE_START) or run.tags.get(PARTITION)
        last = run.tags.get(RANGE_END) or first
        if first and last:
            start = date.fromisoformat(first)
            days |= {start + timedelta(days=one) for one in range((date.fromisoformat(last) - start).days + 1)}
    return days
