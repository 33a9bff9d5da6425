"""Tracks late records, which arrive after the days that they touch were materialised, and the days that lack them.

The gate writes every new, changed or removed record that touches a materialised day to ``run.late_records``. Each model
build writes a watermark per day to ``run.model_marks``: the number of the latest change that the day includes. Both are
written in the transaction of the change or build, so after a killed run the missing changes are still recorded, and the
next run includes them.

A day of a model is stale if a change with a number above its watermark touches that day or an earlier one (windows look
back), and belongs to an entity that the model reads, directly or through other models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import duckdb

from csm_core.contract import Entity
from csm_core.system.text_table import counted_records
from csm_core.warehouse.catalog import has_rows, table_exists
from csm_core.warehouse.late_record_keys import LATE_RECORD_KEYS, changed_records_sql

SCORES_TABLE = "marts.csm_health_scores"

_STAGED = "staging.stg_"
# Users set pulses (``sync.pulses``) after the run of a day: they are late records as well.
_SYNCED = "sync."
_READS = """
    with recursive reads(model, input) as (
        select model, input from run.model_inputs
        union
        select reads.model, further.input
        from reads inner join run.model_inputs as further on further.model = reads.input
    )
"""
_IS_READ = (
    f"reads.model = marks.model and (starts_with(reads.input, '{_STAGED}') or starts_with(reads.input, '{_SYNCED}'))"
)
_IS_MISSING = (
    f"late.entity = replace(replace(reads.input, '{_STAGED}', ''), '{_SYNCED}', '') "
    "and late.change_id > marks.change_id "
    "and (marks.as_of_date is null or late.touched_day <= marks.as_of_date)"
)
_WITH_INPUTS = "(marks.model = $model or marks.model in (select input from run.model_inputs where model = $model))"
_IN_REACH = "(marks.as_of_date is null or marks.as_of_date >= $reach and marks.as_of_date < $day)"
# Missing: a day of a model (null: the whole table), its watermark, and each change that it does not include.
_MISSING = f"""
    {_READS},
    missing as (
        select marks.model, marks.as_of_date, marks.change_id as watermark,
            late.change_id, late.entity, late.touched_day, late.records
        from run.model_marks as marks
        inner join reads on {_IS_READ}
        inner join run.late_records as late on {_IS_MISSING}
        where {{scope}}
    )
"""


@dataclass(frozen=True, order=True)
class LateRecords:
    """The number of records of an entity that touch a day and arrived after it was materialised."""

    entity: str
    day: date
    records: int


@dataclass(frozen=True)
class TouchedDays:
    """The materialised days before a day that lack late records, split by whether the daily run rebuilds them.

    ``within``: days that the run of the day rebuilds, at most ``late_arrival_days`` back. ``beyond``: days that it does
    not change; they need a separate run. Each has its missing records. ``newest_change`` is the number of the latest of
    these changes, and increases with every later one.
    """

    within: tuple[date, ...] = ()
    within_records: tuple[LateRecords, ...] = ()
    beyond: tuple[date, ...] = ()
    beyond_records: tuple[LateRecords, ...] = ()
    # Two results with the same days and records are equal.
    newest_change: int = field(default=0, compare=False)

    @property
    def days(self) -> tuple[date, ...]:
        """Return all days, in order."""
        return tuple(sorted((*self.within, *self.beyond)))

    def __bool__(self) -> bool:
        return bool(self.within or self.beyond)


def days_touched_by_late_records(
    connection: duckdb.DuckDBPyConnection,
    as_of: date,
    late_arrival_days: int,
    *,
    table: str = SCORES_TABLE,
) -> TouchedDays:
    """Return the days before ``as_of`` that lack staged records in ``table`` (schema-qualified).

    Only staged records count: load and stage first. The daily run of ``as_of`` includes records dated within
    ``late_arrival_days`` before ``as_of``, and not older ones. Read-only; empty if nothing has been materialised.
    """
    if not _is_prepared(connection):
        return TouchedDays()
    reach = as_of - timedelta(days=late_arrival_days)
    missing: list[Any] = connection.execute(
        f"{_MISSING.format(scope=_WITH_INPUTS)} "
        "select distinct as_of_date, touched_day, entity, change_id, records from missing "
        "where model = $model and as_of_date < $as_of order by all",
        {"model": table, "as_of": as_of},
    ).fetchall()
    recent = [row for row in missing if row[1] >= reach]
    within = {row[0] for row in recent}
    older = [row for row in missing if row[0] not in within]
    return TouchedDays(
        tuple(sorted(within)),
        _summed(recent),
        tuple(sorted({row[0] for row in older})),
        _summed(older),
        max((row[3] for row in missing), default=0),
    )


def days_to_materialise(
    connection: duckdb.DuckDBPyConnection, table: str, days: tuple[date, date], late_arrival_days: int
) -> tuple[tuple[date, date], tuple[LateRecords, ...]]:
    """Return the days of a table that a run of ``days`` materialises, and the late records that this includes.

    A run of one day starts with the earliest of the ``late_arrival_days`` before it that lacks a record dated in this
    window, and includes all other missing records of these days. A run of a range materialises exactly that range. Days
    whose input is also stale are left to a run that builds the input first.
    """
    first, last = days
    if first != last or not _is_prepared(connection) or not has_rows(connection, "run.late_records"):
        return days, ()
    missing: list[Any] = connection.execute(
        f"{_MISSING.format(scope=_IN_REACH)}, "
        "recent as (select distinct as_of_date from missing where touched_day >= $reach), "
        "inputs as (select as_of_date, touched_day from missing "
        "where model in (select input from run.model_inputs where model = $model)) "
        "select distinct as_of_date, touched_day, entity, change_id, records from missing "
        "where model = $model and as_of_date in (select as_of_date from recent) and not exists (select 1 from inputs "
        "where inputs.as_of_date is null and inputs.touched_day <= missing.as_of_date "
        "or inputs.as_of_date = missing.as_of_date) order by all",
        {"model": table, "day": last, "reach": last - timedelta(days=late_arrival_days)},
    ).fetchall()
    if not missing:
        return days, ()
    return (missing[0][0], last), _summed(missing)


def record_changes(
    connection: duckdb.DuckDBPyConnection,
    entity: Entity,
    before: str,
    after: str,
    staged_at: datetime,
    days: Sequence[date] | None = None,
) -> None:
    """Record which materialised days differ between two tables of the entity's staged columns.

    A new or removed record touches its own date. A changed record touches the first day on which the two versions
    differ: for a ticket that has been solved, the day on which it was solved. In lists of the current state
    (``accounts`` and ``features``, whose dates may be missing) only dates count; their other columns are compared over
    time (``csm_core.staging.attribute_versions``).

    ``days``, if given, are the only days on which records can differ; this avoids comparing a large table.
    """
    last = last_materialised(connection)
    if last is None:
        return
    if days is not None:
        days = [day for day in days if day <= last]
        if not days:
            return
        within = f"where cast({entity.dated_by.name} as date) in (select unnest(cast($days as date[])))"
        before, after = f"(from {before} {within})", f"(from {after} {within})"
    key = entity.key
    columns = ", ".join(f"{{0}}.{name}" for name in entity.column_names)
    change: dict[str, Any] = {
        "change_id": _next_change(connection),
        "entity": entity.name,
        "staged_at": staged_at.replace(tzinfo=None),
    }
    values: dict[str, Any] = {"last": last}
    if days is not None:
        values["days"] = list(days)
    differing = (
        f"from {before} as earlier full join {after} as later on earlier.{key} = later.{key} "
        f"where ({columns.format('earlier')}) is distinct from ({columns.format('later')})"
    )
    changed = changed_records_sql(entity, differing, before, after)
    connection.execute(f"create or replace temp table records_changed as {changed}", values)
    inserted = connection.execute(
        "insert into run.late_records select $change_id, $entity, touched_day, cast(sum(records) as bigint), "
        "$staged_at from records_changed group by touched_day order by touched_day",
        change,
    ).fetchone()
    if inserted and inserted[0]:
        connection.execute(
            f"insert into {LATE_RECORD_KEYS} by name select $change_id as change_id, $entity as entity, "
            "$staged_at as staged_at, * from records_changed order by touched_day, account_id, record_key",
            change,
        )
        _delete_included_changes(connection)
    connection.execute("drop table records_changed")


def record_counted_changes(
    connection: duckdb.DuckDBPyConnection, name: str, records: Mapping[date, int], staged_at: datetime
) -> None:
    """Record changes of ``staging.stg_<name>`` or ``sync.<name>`` that were compared elsewhere, by the day they touch.

    ``records`` has the number of changed records of each day, as ``record_changes`` counts them.
    """
    last = last_materialised(connection)
    late = sorted((day, count) for day, count in records.items() if last and day <= last and count)
    if late:
        change = _next_change(connection)
        at = staged_at.replace(tzinfo=None)
        connection.executemany(
            "insert into run.late_records values (?, ?, ?, ?, ?)",
            [[change, name, day, count, at] for day, count in late],
        )
        _delete_included_changes(connection)


def last_materialised(connection: duckdb.DuckDBPyConnection) -> date | None:
    """Return the last day of any model that has been built."""
    row = connection.execute("select max(as_of_date) from run.model_marks").fetchone()
    return row[0] if row else None


def _next_change(connection: duckdb.DuckDBPyConnection) -> int:
    row = connection.execute(
        "select max(change_id) from (select change_id from run.model_marks union all select change_id "
        "from run.late_records)"
    ).fetchone()
    return int(row[0] or 0) + 1 if row else 1


def days_built(connection: duckdb.DuckDBPyConnection, table: str, days: tuple[date, date]) -> frozenset[date]:
    """Return the days of a span (first and last day) for which a partitioned table has been built."""
    rows: list[Any] = connection.execute(
        "select as_of_date from run.model_marks where model = ? and as_of_date between ? and ?", [table, *days]
    ).fetchall()
    return frozenset(day for (day,) in rows)


def _record_inputs(connection: duckdb.DuckDBPyConnection, table: str, inputs: list[str]) -> None:
    recorded = connection.execute("select input from run.model_inputs where model = ? order by all", [table]).fetchall()
    # The usual case: an upgrade changes the inputs of a model, a run does not.
    if [name for (name,) in recorded] == inputs:
        return
    connection.execute("delete from run.model_inputs where model = ?", [table])
    connection.execute(
        "insert into run.model_inputs select ?, input from (select unnest(cast(? as varchar[])) as input)",
        [table, inputs],
    )


def record_watermarks(
    connection: duckdb.DuckDBPyConnection, table: str, inputs: Iterable[str], days: tuple[date, date] | None
) -> None:
    """Record that the days of a table (None: the whole table) were built from the current state of its inputs.

    A day built from a stale input is also stale. Changes of entities that the table does not read do not affect its
    watermark.
    """
    _record_inputs(connection, table, sorted(set(inputs) - {table}))
    span = "as_of_date between $first and $last" if days else "as_of_date is null"
    bounds: dict[str, Any] = {"first": days[0], "last": days[1]} if days else {}
    connection.execute(f"delete from run.model_marks where model = $model and {span}", {"model": table, **bounds})
    built = (
        "select cast(range as date) as as_of_date "
        "from range($first::date, $last::date + interval 1 day, interval 1 day)"
        if days
        else "select cast(null as date) as as_of_date"
    )
    if not has_rows(connection, "run.late_records"):
        # The usual case, and much quicker than the join.
        connection.execute(
            f"insert into run.model_marks select $model, as_of_date, 0 from ({built}) order by as_of_date",
            {"model": table, **bounds},
        )
        return
    connection.execute(
        f"""
        insert into run.model_marks
        {_MISSING.format(scope=_WITH_INPUTS)},
        now_at as (
            select coalesce(max(late.change_id), 0) as change_id
            from run.late_records as late
            inner join reads on reads.model = $model
                and reads.input in ('{_STAGED}' || late.entity, '{_SYNCED}' || late.entity)
        )
        select $model, built.as_of_date, least(
            any_value(now_at.change_id), coalesce(min(inputs.watermark), any_value(now_at.change_id)))
        from ({built}) as built cross join now_at
        left join missing as inputs
            on inputs.model <> $model
            and (built.as_of_date is null or inputs.touched_day <= built.as_of_date)
            and (inputs.as_of_date is null or built.as_of_date is null or inputs.as_of_date = built.as_of_date)
        group by built.as_of_date
        order by built.as_of_date
        """,
        {"model": table, **bounds},
    )


def late_text(days: tuple[date, date], records: Sequence[LateRecords]) -> str:
    """Return the message about rebuilt days (first and last) and the late records that they now include."""
    return f"{_counted(records)} arrived after the day was processed; {span_text(days)} rebuilt"


def stale_days_text(stale: TouchedDays, as_of: date, late_arrival_days: int) -> str:
    """Return the message about days that lack late records, with the command that rebuilds them."""
    older = f", more than late_arrival_days ({late_arrival_days}) before {as_of}" if stale.beyond else ""
    first, last = stale.days[0], stale.days[-1]
    return (
        f"{_counted((*stale.within_records, *stale.beyond_records))} arrived after the day was processed{older}. "
        f"They are stored, but not yet included in {span_text((first, last))}. To include them: "
        f"csm run --from {first} --to {last} --no-publish"
    )


def span_text(days: tuple[date, date]) -> str:
    """Return a span of days as text."""
    return str(days[0]) if days[0] == days[1] else f"{days[0]} to {days[1]}"


def _counted(records: Sequence[LateRecords]) -> str:
    totals: dict[str, int] = {}
    for one in records:
        totals[one.entity] = totals.get(one.entity, 0) + one.records
    days = [one.day for one in records]
    counts = ", ".join(counted_records(count, entity) for entity, count in sorted(totals.items()))
    return f"{counts} dated {span_text((min(days), max(days)))}"


def _delete_included_changes(connection: duckdb.DuckDBPyConnection) -> None:
    """Delete the changes that every built day already includes."""
    connection.execute(
        f"delete from run.late_records where (change_id, touched_day) not in ({_READS} "
        "select (late.change_id, late.touched_day) from run.model_marks as marks "
        f"inner join reads on {_IS_READ} inner join run.late_records as late on {_IS_MISSING})"
    )


def _summed(missing: Iterable[Any]) -> tuple[LateRecords, ...]:
    changes = {(entity, touched, change): records for _, touched, entity, change, records in missing}
    totals: dict[tuple[str, date], int] = {}
    for (entity, touched, _), records in changes.items():
        totals[entity, touched] = totals.get((entity, touched), 0) + records
    return tuple(sorted(LateRecords(entity, day, records) for (entity, day), records in totals.items()))


def _is_prepared(connection: duckdb.DuckDBPyConnection) -> bool:
    return all(table_exists(connection, f"run.{name}") for name in ("late_records", "model_marks", "model_inputs"))
