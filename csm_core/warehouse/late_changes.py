"""Late records: what arrived after the days that it touches had been materialised, and which days still lack it.

The gate notes every record that comes out new, changed or gone and touches a day that has been materialised, in
``run.late_records``. Every model that is built notes in ``run.model_marks`` up to which of those changes its days are
complete. Both are written in the transaction that does the work, so whatever a killed run did not get to is still
known as lacking, and the next run takes it up.

A day of a model lacks a change if the change touches that day or one before it (windows reach back), belongs to an
entity that the model reads, directly or through other models, and came after the day was built.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import duckdb

from csm_core.contract import Entity
from csm_core.system.text_table import counted_records

SCORES_TABLE = "marts.csm_health_scores"

_STAGED = "staging.stg_"
_READS = """
    with recursive reads(model, input) as (
        select model, input from run.model_inputs
        union
        select reads.model, further.input
        from reads inner join run.model_inputs as further on further.model = reads.input
    )
"""
_IS_READ = f"reads.model = marks.model and starts_with(reads.input, '{_STAGED}')"
_IS_LACKING = (
    f"late.entity = replace(reads.input, '{_STAGED}', '') and late.change_id > marks.change_id "
    "and (marks.as_of_date is null or late.touched_day <= marks.as_of_date)"
)
_WITH_INPUTS = "(marks.model = $model or marks.model in (select input from run.model_inputs where model = $model))"
_IN_REACH = "(marks.as_of_date is null or marks.as_of_date >= $reach and marks.as_of_date < $day)"
# Lacking: a model's day (null: the whole table), how far it is complete, and each change that it does not hold.
_LACKING = f"""
    {_READS},
    lacking as (
        select marks.model, marks.as_of_date, marks.change_id as complete_to,
            late.change_id, late.entity, late.touched_day, late.records
        from run.model_marks as marks
        inner join reads on {_IS_READ}
        inner join run.late_records as late on {_IS_LACKING}
        where {{scope}}
    )
"""


@dataclass(frozen=True, order=True)
class LateRecords:
    """So many records of an entity that touch a day and arrived after it had been materialised."""

    entity: str
    day: date
    records: int


@dataclass(frozen=True)
class TouchedDays:
    """The materialised days before a day that lack late records, apart by what a daily run of that day does to them.

    ``within``: days that its run materialises again, at most ``late_arrival_days`` back. ``beyond``: days that it
    leaves as they are; they need a run of their own. Each with the records that are lacking there. ``newest_change``
    is the number of the last change among them, and grows with every later one.
    """

    within: tuple[date, ...] = ()
    within_records: tuple[LateRecords, ...] = ()
    beyond: tuple[date, ...] = ()
    beyond_records: tuple[LateRecords, ...] = ()
    # Which change came last says nothing of which days lack what.
    newest_change: int = field(default=0, compare=False)

    @property
    def days(self) -> tuple[date, ...]:
        """All of them, in order."""
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
    """The days before ``as_of`` whose rows in ``table`` (schema-qualified) lack records that were staged since.

    Only records that have been staged are known: load and stage first. A record dated within ``late_arrival_days``
    before ``as_of`` is one for the daily run of ``as_of``; an older one is not, nor are days for it alone. Reads only;
    a warehouse in which nothing has been materialised has no such days.
    """
    if not _is_prepared(connection):
        return TouchedDays()
    reach = as_of - timedelta(days=late_arrival_days)
    found: list[Any] = connection.execute(
        f"{_LACKING.format(scope=_WITH_INPUTS)} "
        "select distinct as_of_date, touched_day, entity, change_id, records from lacking "
        "where model = $model and as_of_date < $as_of order by all",
        {"model": table, "as_of": as_of},
    ).fetchall()
    near = [row for row in found if row[1] >= reach]
    within = {row[0] for row in near}
    far = [row for row in found if row[0] not in within]
    return TouchedDays(
        tuple(sorted(within)),
        _summed(near),
        tuple(sorted({row[0] for row in far})),
        _summed(far),
        max((row[3] for row in found), default=0),
    )


def days_to_materialise(
    connection: duckdb.DuckDBPyConnection, table: str, days: tuple[date, date], late_arrival_days: int
) -> tuple[tuple[date, date], tuple[LateRecords, ...]]:
    """The days that a run of ``days`` materialises of a table, late records taken up, and those records.

    A run of one day goes back to the first of the ``late_arrival_days`` before it that lacks a record dated in them,
    and takes up whatever else that day lacks; a range is materialised as it was asked for. Days that an input lacks as
    well are left to a run that builds the input first.
    """
    first, last = days
    if first != last or not _is_prepared(connection):
        return days, ()
    found: list[Any] = connection.execute(
        f"{_LACKING.format(scope=_IN_REACH)}, "
        "near as (select distinct as_of_date from lacking where touched_day >= $reach), "
        "inputs as (select as_of_date, touched_day from lacking "
        "where model in (select input from run.model_inputs where model = $model)) "
        "select distinct as_of_date, touched_day, entity, change_id, records from lacking "
        "where model = $model and as_of_date in (select as_of_date from near) and not exists (select 1 from inputs "
        "where inputs.as_of_date is null and inputs.touched_day <= lacking.as_of_date "
        "or inputs.as_of_date = lacking.as_of_date) order by all",
        {"model": table, "day": last, "reach": last - timedelta(days=late_arrival_days)},
    ).fetchall()
    if not found:
        return days, ()
    return (found[0][0], last), _summed(found)


def note_changes(
    connection: duckdb.DuckDBPyConnection,
    entity: Entity,
    before: str,
    after: str,
    staged_at: datetime,
    days: Sequence[date] | None = None,
) -> None:
    """Note which materialised days differ between two tables of the entity's staged columns.

    A record that is new or gone touches the day that dates it. One that has changed touches the first day from which
    the two differ: a ticket solved since, the day on which it was solved. In a list of what there is now (``accounts``
    and ``features``: their dates may be missing) only dates count; another plan or owner holds from the next run on.

    ``days`` are the only ones on which records can differ, where that is known; for a table too large to compare whole.
    """
    row = connection.execute("select max(as_of_date), max(change_id) from run.model_marks").fetchone()
    if row is None or row[0] is None:
        return
    last_materialised, marked = row
    if days is not None:
        days = [day for day in days if day <= last_materialised]
        if not days:
            return
        within = f"where cast({entity.dated_by.name} as date) in (select unnest(cast($days as date[])))"
        before, after = f"(from {before} {within})", f"(from {after} {within})"
    noted = connection.execute("select coalesce(max(change_id), 0) from run.late_records").fetchone()
    key = entity.key
    columns = ", ".join(f"{{0}}.{name}" for name in entity.column_names)
    values: dict[str, Any] = {
        "change_id": max(marked, noted[0] if noted else 0) + 1,
        "entity": entity.name,
        "staged_at": staged_at.replace(tzinfo=None),
        "last": last_materialised,
    }
    if days is not None:
        values["days"] = list(days)
    inserted = connection.execute(
        f"""
        insert into run.late_records
        select $change_id, $entity, touched_day, count(*), $staged_at
        from (
            select cast(least({", ".join(_moments(entity))}) as date) as touched_day
            from {before} as earlier full join {after} as later on earlier.{key} = later.{key}
            where ({columns.format("earlier")}) is distinct from ({columns.format("later")})
        )
        where touched_day <= $last
        group by touched_day
        order by touched_day
        """,
        values,
    ).fetchone()
    if inserted and inserted[0]:
        _forget_what_all_hold(connection)


def days_built(connection: duckdb.DuckDBPyConnection, table: str, days: tuple[date, date]) -> frozenset[date]:
    """Which of ``days`` (the first and the last of them) a partitioned table has been built for."""
    found: list[Any] = connection.execute(
        "select as_of_date from run.model_marks where model = ? and as_of_date between ? and ?", [table, *days]
    ).fetchall()
    return frozenset(day for (day,) in found)


def mark_built(
    connection: duckdb.DuckDBPyConnection, table: str, inputs: Iterable[str], days: tuple[date, date] | None
) -> None:
    """Note that the days of a table (None: the whole of it) have been built from its inputs as they are now.

    A day that was built from an input which lacks a change lacks it as well. Changes of what the table does not read
    have no part in it: whether they were noted before it was built or after, the mark is the same.
    """
    connection.execute("delete from run.model_inputs where model = ?", [table])
    connection.execute(
        "insert into run.model_inputs select ?, input from (select unnest(cast(? as varchar[])) as input)",
        [table, sorted(set(inputs) - {table})],
    )
    span = "as_of_date between $first and $last" if days else "as_of_date is null"
    bounds: dict[str, Any] = {"first": days[0], "last": days[1]} if days else {}
    connection.execute(f"delete from run.model_marks where model = $model and {span}", {"model": table, **bounds})
    built = (
        "select cast(range as date) as as_of_date "
        "from range($first::date, $last::date + interval 1 day, interval 1 day)"
        if days
        else "select cast(null as date) as as_of_date"
    )
    connection.execute(
        f"""
        insert into run.model_marks
        {_LACKING.format(scope=_WITH_INPUTS)},
        now_at as (
            select coalesce(max(late.change_id), 0) as change_id
            from run.late_records as late
            inner join reads on reads.model = $model and reads.input = '{_STAGED}' || late.entity
        )
        select $model, built.as_of_date, least(
            any_value(now_at.change_id), coalesce(min(inputs.complete_to), any_value(now_at.change_id)))
        from ({built}) as built cross join now_at
        left join lacking as inputs
            on inputs.model <> $model
            and (built.as_of_date is null or inputs.touched_day <= built.as_of_date)
            and (inputs.as_of_date is null or built.as_of_date is null or inputs.as_of_date = built.as_of_date)
        group by built.as_of_date
        order by built.as_of_date
        """,
        {"model": table, **bounds},
    )


def late_text(days: tuple[date, date], records: Sequence[LateRecords]) -> str:
    """What a person is told of days that were materialised again, given as first and last, and for which records."""
    return f"{_counted(records)} arrived after the day had been run; {span_text(days)} materialised again"


def lacking_text(lacking: TouchedDays, as_of: date, late_arrival_days: int) -> str:
    """What a person is told of days that were left as they are, with the command that brings them up to date."""
    older = f", more than late_arrival_days ({late_arrival_days}) before {as_of}" if lacking.beyond else ""
    first, last = lacking.days[0], lacking.days[-1]
    return (
        f"{_counted((*lacking.within_records, *lacking.beyond_records))} arrived after the day had been run{older}; "
        f"they are kept, and {span_text((first, last))} still lacking them. To take them up: "
        f"csm run --from {first} --to {last} --no-publish"
    )


def span_text(days: tuple[date, date]) -> str:
    """First and last day for a person."""
    return str(days[0]) if days[0] == days[1] else f"{days[0]} to {days[1]}"


def _counted(records: Sequence[LateRecords]) -> str:
    totals: dict[str, int] = {}
    for one in records:
        totals[one.entity] = totals.get(one.entity, 0) + one.records
    days = [one.day for one in records]
    counts = ", ".join(counted_records(count, entity) for entity, count in sorted(totals.items()))
    return f"{counts} dated {span_text((min(days), max(days)))}"


def _moments(entity: Entity) -> list[str]:
    """SQL of the instants from which two versions of a record differ, the earliest of which counts; nulls are none."""
    dated = entity.dated_by
    moments = [
        f"case when earlier.{name} is distinct from later.{name} then least(earlier.{name}, later.{name}) end"
        for name in (dated.name, *entity.state_columns)
    ]
    others = [name for name in entity.column_names if name not in (dated.name, *entity.state_columns)]
    if dated.required:
        texts = [", ".join(f"{version}.{name}" for name in others) for version in ("earlier", "later")]
        moments.append(
            f"case when ({texts[0]}) is distinct from ({texts[1]}) "
            f"then least(earlier.{dated.name}, later.{dated.name}) end"
        )
    return moments


def _forget_what_all_hold(connection: duckdb.DuckDBPyConnection) -> None:
    """Drop the notes that no day built so far lacks: they would only be looked through for nothing."""
    connection.execute(
        f"delete from run.late_records where (change_id, touched_day) not in ({_READS} "
        "select (late.change_id, late.touched_day) from run.model_marks as marks "
        f"inner join reads on {_IS_READ} inner join run.late_records as late on {_IS_LACKING})"
    )


def _summed(found: Iterable[Any]) -> tuple[LateRecords, ...]:
    changes = {(entity, touched, change): records for _, touched, entity, change, records in found}
    totals: dict[tuple[str, date], int] = {}
    for (entity, touched, _), records in changes.items():
        totals[entity, touched] = totals.get((entity, touched), 0) + records
    return tuple(sorted(LateRecords(entity, day, records) for (entity, day), records in totals.items()))


def _is_prepared(connection: duckdb.DuckDBPyConnection) -> bool:
    found = connection.execute(
        "select count(*) from duckdb_tables() where database_name = current_database() and schema_name = 'run' "
        "and table_name in ('late_records', 'model_marks', 'model_inputs')"
    ).fetchone()
    return bool(found and found[0] == 3)
