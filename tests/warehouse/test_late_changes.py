"""How far a built day is said to be complete: by the changes of what its table reads, and by nothing else."""

from datetime import UTC, date, datetime

import duckdb
import pytest

from csm_core.contract import ENTITIES
from csm_core.warehouse.late_changes import days_touched_by_late_records, record_changes, record_watermarks
from csm_core.warehouse.migrations import upgrade

ANSWERS = ENTITIES["nps_responses"]
EARLIER, LATER = date(2026, 6, 29), date(2026, 6, 30)
INPUTS = {
    "intermediate.int_account_days": ["staging.stg_accounts"],
    "intermediate.int_account_nps": ["intermediate.int_account_days", "staging.stg_nps_responses"],
}


@pytest.fixture
def connection():
    with duckdb.connect() as opened:
        upgrade(opened)
        for model in INPUTS:
            build(opened, model, EARLIER)
        yield opened


def build(connection: duckdb.DuckDBPyConnection, model: str, day: date) -> None:
    record_watermarks(connection, model, INPUTS[model], (day, day))


def note_an_answer(connection: duckdb.DuckDBPyConnection) -> None:
    for table in ("before", "after"):
        connection.execute(f"create temp table {table} ({ANSWERS.definition})")
    connection.execute(
        "insert into after by name select 'r1' as response_id, 'a1' as account_id, 'p1' as respondent_id, 9 as score, "
        "timestamp '2026-06-28 12:00:00' as responded_at"
    )
    record_changes(connection, ANSWERS, "temp.before", "temp.after", datetime(2026, 7, 1, tzinfo=UTC))


def marks(connection: duckdb.DuckDBPyConnection) -> list[tuple]:
    return connection.execute("select model, as_of_date, change_id from run.model_marks order by all").fetchall()


def test_a_mark_is_the_same_whether_others_changed_before_or_after(connection):
    population, answers = INPUTS
    build(connection, population, LATER)
    note_an_answer(connection)
    build(connection, answers, LATER)
    undisturbed = marks(connection)
    # As after a kill: everything is there already when the day is built once more.
    build(connection, population, LATER)
    build(connection, answers, LATER)
    assert marks(connection) == undisturbed
    assert (answers, LATER, 1) in undisturbed
    assert (population, LATER, 0) in undisturbed


@pytest.mark.parametrize(
    ("before", "after", "touched"),
    [
        # created_at (10 June) started the first spell, and no longer does; and the other way round.
        ([], [("started", 20)], 10),
        ([("started", 20)], [], 10),
        ([("started", 20)], [("started", 20), ("churned", 15)], 10),
        ([("churned", 15)], [("started", 12), ("churned", 15)], 10),
        ([("started", 20)], [("started", 22)], 20),
        ([("churned", 15)], [("churned", 15), ("started", 20)], 20),
        ([], [("churned", 15)], 15),
    ],
)
def test_events_that_change_the_first_start_touch_the_days_from_it(connection, before, after, touched):
    events = ENTITIES["lifecycle_events"]
    connection.execute(f"create table if not exists staging.stg_accounts ({ENTITIES['accounts'].definition})")
    connection.execute(
        "insert into staging.stg_accounts by name select 'a1' as account_id, 'Ahlers' as account_name, "
        "timestamp '2026-06-10 08:00:00' as created_at"
    )
    for table, rows in (("before", before), ("after", after)):
        connection.execute(f"create temp table {table} ({events.definition})")
        for kind, day in rows:
            connection.execute(
                f"insert into {table} by name select '{kind}' as event_id, 'a1' as account_id, '{kind}' as kind, "
                f"timestamp '2026-06-{day} 12:00:00' as occurred_at"
            )
    spells, first = "intermediate.int_account_spells", date(2026, 6, 1)
    record_watermarks(connection, spells, ["staging.stg_lifecycle_events"], (first, LATER))
    record_changes(connection, events, "temp.before", "temp.after", datetime(2026, 7, 1, tzinfo=UTC))
    assert connection.execute("select min(touched_day) from run.late_records").fetchall() == [(date(2026, 6, touched),)]


def test_an_account_without_created_at_is_touched_from_the_first_day(connection):
    events = ENTITIES["lifecycle_events"]
    connection.execute(f"create table if not exists staging.stg_accounts ({ENTITIES['accounts'].definition})")
    for table in ("before", "after"):
        connection.execute(f"create temp table {table} ({events.definition})")
    connection.execute(
        "insert into after by name select 'e1' as event_id, 'a1' as account_id, 'started' as kind, "
        "timestamp '2026-06-30 12:00:00' as occurred_at"
    )
    record_watermarks(connection, "intermediate.int_account_spells", ["staging.stg_lifecycle_events"], (EARLIER, LATER))
    record_changes(connection, events, "temp.before", "temp.after", datetime(2026, 7, 1, tzinfo=UTC))
    assert connection.execute("select touched_day from run.late_records").fetchall() == [(EARLIER,)]


def test_what_reads_the_change_lacks_it_until_it_is_built_again(connection):
    _, answers = INPUTS
    note_an_answer(connection)

    def lacking() -> tuple[date, ...]:
        return days_touched_by_late_records(connection, LATER, 3, table=answers).days

    assert lacking() == (EARLIER,)
    build(connection, answers, EARLIER)
    assert lacking() == ()
