"""Days that no run did: told from what Dagster has materialised, so that the next tick asks for them in one range."""

from collections.abc import Mapping
from datetime import date, timedelta

import dagster as dg

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
PARTITION = "dagster/partition"

_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


def days_due(instance: dg.DagsterInstance, asset: str, job: str, day: date, catch_up_days: int) -> tuple[date, date]:
    """First and last of the days that a tick for ``day`` has to ask for: ``day``, and those missed before it.

    A day was missed if it is at most ``catch_up_days`` before, after the first day that was ever materialised of the
    asset, and neither materialised nor in a run of the job that is waiting or going on. A failed day counts as missed.
    """
    done = {date.fromisoformat(key) for key in instance.get_materialized_partitions(dg.AssetKey(asset))}
    if not done:
        return day, day
    taken = done | _days_under_way(instance, job)
    earliest = max(min(done), day - timedelta(days=catch_up_days))
    missed = (
        before
        for number in range((day - earliest).days, 0, -1)
        if (before := day - timedelta(days=number)) not in taken
    )
    return next(missed, day), day


def newest_materialised(instance: dg.DagsterInstance, asset: str) -> date | None:
    """The last day that was materialised of an asset."""
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
