"""The SELECTs of the gate of usage events on Spark, in DuckDB's dialect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from csm_core.contract import ENTITIES, IGNORED, UPDATED, USAGE_EVENTS, VERSION
from csm_core.sources.spark import SourceTable
from csm_core.sources.spark_settings import SYSTEM
from csm_core.staging.casts import ValidatedSelect, validate

EVENTS = ENTITIES[USAGE_EVENTS]
KEY = EVENTS.key
NAMES = ", ".join(EVENTS.column_names)
FILE, LINE, RAW = "_source_file", "_source_line", "_raw"
DUPLICATES = "gate.duplicates"
_DAY = "cast(occurred_at as date)"
_CARRIED = ("_problem", "_value", IGNORED, VERSION, FILE, LINE, RAW)
# Nulls do not change the hash of a row, so it includes which columns are null.
_NULLS = ", ".join(f"case when {name} is null then 1 else 0 end" for name in EVENTS.column_names)


def repeated_keys(source: SourceTable) -> str:
    """Return the SELECT of the hashes of keys that several events have.

    A collision only adds events that are compared, so the hash is enough.
    """
    model = f"select {source.expressions[KEY]} as {KEY} from {source.name}"
    return (
        f"select key_hash from (select xxhash64({KEY}) as key_hash from ({_clean_keys(source, model)}) as keys "
        f"where {KEY} is not null) as hashes group by key_hash having count(*) > 1"
    )


def decided_events(
    source: SourceTable, *, has_duplicates: bool, erased: Sequence[str] = ()
) -> tuple[str, ValidatedSelect]:
    """Return the SELECT of all events with their outcomes, and that of the validated events with their problems.

    ``erased`` are the hashes of erased accounts, whose events are rejected.

    An outcome is loaded, ignored, rejected or superseded. Only events with a key of several events are compared. The
    later version is loaded, then that of the later file and line; a table has neither, so of equal versions the event
    with the later time is loaded.
    """
    columns = ", ".join((*EVENTS.column_names, *_CARRIED))
    single = (
        f"select {columns}, case when {IGNORED} is not null then 'ignored' when _problem is null then 'loaded' "
        "else 'rejected' end as _outcome from ({}) as validated"
    )
    values = ", ".join(f"{value} as {_staged(name)}" for name, value in source.expressions.items())
    whole = _validated(source, f"select {values}, {FILE}, {LINE}, {_raw(source)} from {source.name}", erased)
    if not has_duplicates:
        return single.format(whole.sql), whole
    # The events are divided by their keys before they are validated, so that each is validated once.
    unique, repeated = (
        _validated(source, _divided(source, condition), erased).sql for condition in ("null", "not null")
    )
    recency = (
        f"row_number() over (partition by {KEY} order by {VERSION} desc nulls last, {FILE} desc nulls last, "
        f"{LINE} desc nulls last, occurred_at desc nulls last, xxhash64({NAMES}, {_NULLS}) desc) as _recency"
    )
    winner = f"min(case when _problem is null then _recency end) over (partition by {KEY}) as _winner"
    decided = (
        f"{single.format(unique)} union all "
        f"select {columns}, case when _problem is null and _recency = _winner and {IGNORED} is null then 'loaded' "
        f"when {IGNORED} is not null and _recency = _winner then 'ignored' "
        "when _problem is null or _recency > _winner then 'superseded' else 'rejected' end as _outcome "
        f"from (select {columns}, _recency, {winner} from (select {columns}, {recency} from "
        f"({repeated}) as validated) as recent) as ranked"
    )
    return decided, whole


def contents_by_outcome(decided: str) -> str:
    """Return the SELECT that counts events by outcome, and loaded ones by day."""
    columns = f"{NAMES}, _value, _outcome, _problem, {IGNORED}"
    day = f"case when _outcome = 'loaded' then {_DAY} end"
    # A loaded event has no `_value`, so that its hash is that of the written event.
    return (
        f"select usage_date, _outcome, _problem, {IGNORED}, count(*) as events, {_content(', _value')} as content "
        f"from (select {columns}, {day} as usage_date from ({decided}) as decided) as dated "
        f"group by usage_date, _outcome, _problem, {IGNORED}"
    )


def contents_by_day(table: str) -> str:
    """Return the SELECT that counts the events of a table by day."""
    return (
        f"select usage_date, count(*) as events, {_content()} as content "
        f"from (select {NAMES}, {_DAY} as usage_date from {table}) as dated group by usage_date"
    )


def loaded_events(decided: str, days: Sequence[date] | None) -> str:
    """Return the SELECT of the loaded events, of the given days or all."""
    within = "" if days is None else f" and {_among(days)}"
    return f"select {NAMES} from ({decided}) as decided where _outcome = 'loaded'{within}"


def rejected_events(decided: str, limit: int) -> str:
    """Return the SELECT of the first rejected events, with the place and the text of each."""
    return (
        f"select _problem, _value, {KEY}, {FILE}, {LINE}, {RAW} from ({decided}) as decided "
        f"where _outcome = 'rejected' order by {FILE}, {LINE}, {KEY}, {RAW} limit {limit}"
    )


def differing_events(before: str, after: str, days: Sequence[date]) -> str:
    """Return the SELECT that counts events that differ between two tables, by the first day that they touch."""
    differs = " or ".join(f"earlier.{name} is distinct from later.{name}" for name in EVENTS.column_names)
    earlier, later = (f"(select {NAMES} from {table} where {_among(days)})" for table in (before, after))
    return (
        "select touched_day, count(*) as records from (select cast(least("
        "coalesce(earlier.occurred_at, later.occurred_at), coalesce(later.occurred_at, earlier.occurred_at)) "
        f"as date) as touched_day from {earlier} as earlier full join {later} as later "
        f"on earlier.{KEY} = later.{KEY} where {differs}) as differences group by touched_day"
    )


def _validated(source: SourceTable, model: str, erased: Sequence[str]) -> ValidatedSelect:
    types = {_staged(name): kind for name, kind in source.types.items()}
    return validate(EVENTS, model, types, SYSTEM, (FILE, LINE, RAW), erased=erased)


def _divided(source: SourceTable, condition: str) -> str:
    """Return the SELECT of the events whose key is repeated (``not null``) or not (``null``), before validation."""
    given = ", ".join(f"{value} as given_{name}" for name, value in source.expressions.items())
    model = f"select {source.expressions[KEY]} as {KEY}, {given}, {FILE}, {LINE}, {_raw(source)} from {source.name}"
    kept = (*(f"given_{name}" for name in source.expressions), FILE, LINE, RAW)
    values = ", ".join(f"given_{name} as {_staged(name)}" for name in source.expressions)
    return (
        f"select {values}, {FILE}, {LINE}, {RAW} from ({_clean_keys(source, model, kept)}) as keyed "
        f"left join {DUPLICATES} as duplicates on duplicates.key_hash = xxhash64(keyed.{KEY}) "
        f"where duplicates.key_hash is {condition}"
    )


def _clean_keys(source: SourceTable, model: str, kept: Sequence[str] = ()) -> str:
    """Return the SELECT of events with their keys as the gate stages them."""
    key_only = replace(EVENTS, columns=EVENTS.columns[:1])
    return validate(key_only, model, {KEY: source.types[KEY]}, SYSTEM, kept).sql


def _raw(source: SourceTable) -> str:
    texts = ", ".join(f"'{name}': cast({value} as varchar)" for name, value in source.expressions.items())
    return f"to_json({{{texts}}}) as {RAW}"


def _staged(column: str) -> str:
    return VERSION if column == UPDATED else column


def _content(of: str = "") -> str:
    return f"sum(cast(xxhash64({NAMES}, {_NULLS}{of}) as decimal(38, 0)))"


def _among(days: Sequence[date]) -> str:
    listed = ", ".join(f"date '{day}'" for day in days)
    return f"{_DAY} in ({listed})"
