"""Replaced raw records: every earlier state of the raw tables can be produced, and old states are deleted."""

from __future__ import annotations

import random
import shutil
from datetime import timedelta
from typing import Any

import duckdb
import pytest

from csm_core.contract import ENTITIES
from csm_core.ingest.replaced_rows import UNCHANGED, create_known_rows, forget_replaced, kept_table
from tests.source_loads import SourceLoads

RAW = "raw.files__{}"
EVENT_HEADER = "event_id,account_id,user_id,event_name,feature,quantity,occurred_at"
RELOADED = ("accounts", "features", "usage_events")


def rows_of(connection: duckdb.DuckDBPyConnection, table: str) -> list[tuple[Any, ...]]:
    return connection.execute(f"select columns(*) from {table} order by all").fetchall()


def known_rows(loads: SourceLoads, entity: str, at: Any) -> list[tuple[Any, ...]]:
    """The rows of a raw table at a time, produced in another database from a copy of the warehouse."""
    loads.connection.execute("checkpoint")
    copied = shutil.copy(loads.folder.parent / "csm.duckdb", loads.folder.parent / "copy.duckdb")
    with duckdb.connect() as scratch:
        scratch.execute("create schema raw")
        scratch.execute(f"attach '{copied}' as origin (read_only)")
        create_known_rows(scratch, RAW.format(entity), "origin", at)
        return rows_of(scratch, RAW.format(entity))


def event(number: int, quantity: int) -> str:
    return f"e{number},a{1 + number % 2},u{number % 3},used,reports,{quantity},2026-06-{1 + number % 28:02d}T10:00:00Z"


@pytest.mark.parametrize("seed", range(6))
def test_the_raw_tables_of_every_load_can_be_produced_later(source_loads, seed):
    dice = random.Random(seed)
    events = dict.fromkeys(range(dice.randint(1, 30)), 1)
    plans = {"a1": 0, "a2": 0}
    states: list[tuple[Any, dict[str, list[tuple[Any, ...]]]]] = []
    for _ in range(7):
        for _ in range(dice.randint(0, 4)):
            events[dice.choice(sorted(events))] = dice.randint(1, 9)
        events |= {len(events) + 100 * dice.randint(0, 3): 1 for _ in range(dice.randint(0, 5))}
        if dice.random() < 0.3:
            events.pop(dice.choice(sorted(events)))
            events = events or {0: 1}
        plans[dice.choice(sorted(plans))] = dice.randint(0, 2)
        order = sorted(events) if dice.random() < 0.7 else dice.sample(sorted(events), len(events))
        source_loads.write_company(
            accounts="account_id,account_name,plan\n" + "".join(f"{one},N,p{plan}\n" for one, plan in plans.items()),
            usage_events="\n".join([EVENT_HEADER, *(event(number, events[number]) for number in order), ""]),
        )
        source_loads.run()
        states.append(
            (
                source_loads.now.replace(tzinfo=None),
                {one: rows_of(source_loads.connection, RAW.format(one)) for one in RELOADED},
            )
        )
    kept = sum(
        source_loads.connection.execute(f"select count(*) from {kept_table(RAW.format(one))}").fetchall()[0][0]
        for one in ("accounts", "usage_events")
    )
    assert kept > 0
    for number, (at, wanted) in enumerate(states):
        for entity in RELOADED:
            found = known_rows(source_loads, entity, at + timedelta(minutes=30))
            assert found == wanted[entity], f"{entity} after load {number}"


def test_a_file_that_grows_is_stored_once(source_loads):
    lines = [event(number, 1) for number in range(200)]
    for count in range(100, 201, 20):
        source_loads.write_company(usage_events="\n".join([EVENT_HEADER, *lines[:count], ""]))
        source_loads.run()
    ranges = source_loads.connection.execute(
        f"select first_line, last_line, line_shift from {UNCHANGED} where raw_table = ?", [RAW.format("usage_events")]
    )
    assert [(last - first + 1, shift) for first, last, shift in ranges.fetchall()] == [
        (count, 0) for count in range(100, 200, 20)
    ]
    assert rows_of(source_loads.connection, kept_table(RAW.format("usage_events"))) == []


def test_columns_may_have_any_name(source_loads):
    # Some are columns of Fivetran's files and of exports from SQLite; the others are names that the mechanism may use.
    odd = ("_row", "rowid", "_rank", "_leaves", "_content", "_occurrence", "_replaced_at", "ranges", "known")
    states = []
    for quantity in (1, 2, 3):
        lines = [f"{event(number, quantity if number < 2 else 1)},{','.join('7' * len(odd))}" for number in range(5)]
        source_loads.write_company(usage_events="\n".join([",".join([EVENT_HEADER, *odd]), *lines, ""]))
        source_loads.run()
        states.append(
            (source_loads.now.replace(tzinfo=None), rows_of(source_loads.connection, RAW.format("usage_events")))
        )
    assert [len(rows) for _, rows in states] == [5, 5, 5]
    for at, wanted in states:
        assert known_rows(source_loads, "usage_events", at + timedelta(minutes=30)) == wanted


def test_a_column_may_change_its_type(source_loads):
    values = ("1", "2.5", "'three'", "timestamp '2026-07-01'")
    states = []
    for value in values:
        path = source_loads.folder / "usage_events.parquet"
        source_loads.write_company()
        (source_loads.folder / "usage_events.csv").unlink()
        source_loads.connection.execute(
            f"copy (select 'e' || range as event_id, 'a1' as account_id, 'u1' as user_id, 'login' as event_name, "
            f"null as feature, 1 as quantity, '2026-06-01' as occurred_at, {value} as extra from range(3)) to '{path}'"
        )
        source_loads.run()
        states.append(
            (source_loads.now.replace(tzinfo=None), rows_of(source_loads.connection, RAW.format("usage_events")))
        )
    for (at, wanted), text in zip(states, ("1", "2.5", "three", "2026-07-01"), strict=True):
        found = known_rows(source_loads, "usage_events", at + timedelta(minutes=30))
        assert len(found) == len(wanted) == 3
        assert all(any(str(cell).startswith(text) for cell in row) for row in found)


def test_rows_that_were_replaced_long_ago_are_deleted_and_counted(source_loads):
    for quantity in (1, 2, 3):
        lines = [event(0, quantity), *(event(number, 1) for number in range(1, 5))]
        source_loads.write_company(usage_events="\n".join([EVENT_HEADER, *lines, ""]))
        source_loads.run()
    # The second load replaced what the first one had.
    limit = (source_loads.now - timedelta(minutes=30)).replace(tzinfo=None)
    counted = {one.table: one.rows for one in forget_replaced(source_loads.connection, limit)}
    assert counted[RAW.format("usage_events")] == 5
    assert {one.table: one.rows for one in forget_replaced(source_loads.connection, limit)} == {}
    left = source_loads.connection.execute(f"select quantity from {kept_table(RAW.format('usage_events'))}").fetchall()
    assert left == [("2",)]


def test_the_staged_contract_is_not_changed_by_kept_rows(source_loads):
    source_loads.write_company()
    source_loads.run()
    before = {name: rows_of(source_loads.connection, f"staging.stg_{name}") for name in RELOADED}
    source_loads.write_company(accounts="account_id,account_name\na1,Ahlers\na2,Bolt\na3,Cole\n")
    source_loads.run()
    assert [row[0] for row in rows_of(source_loads.connection, ENTITIES["accounts"].table)] == ["a1", "a2", "a3"]
    assert rows_of(source_loads.connection, "staging.stg_features") == before["features"]
