"""Queues the days with changed usage for the daily rollup."""

from __future__ import annotations

from datetime import date

from csm_core.contract import USAGE_EVENTS
from csm_core.staging.plan import Scope
from csm_core.warehouse.catalog import has_rows
from csm_core.warehouse.late_changes import record_changes

PENDING_DAYS = "run.pending_usage_days"


def record_changed_days(scope: Scope, before: str, after: str) -> tuple[date, ...]:
    """Record the differences between two tables of an entity; queues and returns the changed days of usage.

    Tables are given as in SQL. Changes of materialised days are recorded as late.
    """
    connection, entity = scope.connection, scope.entity
    if entity.name != USAGE_EVENTS:
        record_changes(connection, entity, before, after, scope.staged_at)
        return ()
    names = ", ".join(entity.column_names)
    summed = (
        "select cast(occurred_at as date) as usage_date, count(*) as events, "
        f"sum(hash({names})) as content from {{}} group by usage_date"
    )
    if has_rows(connection, before):
        changed = (
            f"select coalesce(earlier.usage_date, later.usage_date) as usage_date from ({summed.format(before)}) "
            f"as earlier full join ({summed.format(after)}) as later on earlier.usage_date = later.usage_date "
            "where (earlier.events, earlier.content) is distinct from (later.events, later.content)"
        )
    else:
        changed = f"select distinct cast(occurred_at as date) as usage_date from {after}"
    days = tuple(day for (day,) in connection.execute(f"select usage_date from ({changed}) order by 1").fetchall())
    if days:
        connection.execute(
            f"insert into {PENDING_DAYS} select usage_date from (select unnest(cast(? as date[])) as usage_date) "
            f"where usage_date not in (select usage_date from {PENDING_DAYS}) order by usage_date",
            [list(days)],
        )
        record_changes(connection, entity, before, after, scope.staged_at, days)
    return days
