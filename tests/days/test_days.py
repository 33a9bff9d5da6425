"""Which days count, whatever order they are built, held, accepted and killed in: transitions never read another day."""

import itertools
from datetime import date, timedelta

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csm_core.config import Config
from csm_core.days.finished_days import (
    DAYS_MODEL,
    built_from_statuses,
    finish,
    model_parameters,
    show_counted_days,
    withdraw_day,
)
from csm_core.errors import InputError
from csm_core.warehouse import day_status
from csm_core.warehouse.duckdb_engine import DuckDbEngine
from csm_core.warehouse.materialize import build_model
from csm_core.warehouse.models import load_models
from tests.examples import examples
from tests.sql.harness import fresh, staged
from tests.sql.test_model_cases import prepare

FIRST = date(2026, 6, 1)
# Every change settles at once, so the transitions are the changes between the days that count.
CONFIG = Config(transition_settle_days=1)
MARTS = load_models("marts")
SETTLED, TRANSITIONS = MARTS["csm_settled_bands"], MARTS["csm_rag_transitions"]
# The tables of the newest day that counts.
NEWEST = [model for model in built_from_statuses() if model.name != DAYS_MODEL]
OF_THE_DAY = ("marts.csm_health_signals", "intermediate.int_account_days")

# A run of some days from a first one on: how it ends, and what the accounts of its days are.
ENDS = ("complete", "held", "accepted", "killed before the checks", "killed after them")
RUNS = st.tuples(
    st.integers(0, 7),
    st.integers(1, 3),
    st.sampled_from(ENDS),
    st.lists(st.sampled_from("RAG"), min_size=3, max_size=3),
)
NAMES = {"R": "RED", "A": "AMBER", "G": "GREEN"}


def carry_out(connection: duckdb.DuckDBPyConnection, number: int, run: tuple[int, int, str, list[str]]) -> None:
    """What a run does to scores, statuses and transitions, up to its end or its kill."""
    offset, length, end, rags = run
    span = [FIRST + timedelta(days=offset + one) for one in range(length)]
    run_id = f"run {number}"
    day_status.begin_days(connection, (span[0], span[-1]), run_id)
    for day, rag in zip(span, rags, strict=False):
        connection.execute("delete from marts.csm_health_scores where as_of_date = ?", [day])
        connection.execute(
            "insert into marts.csm_health_scores (tenant_id, account_id, as_of_date, score, rag) "
            "values ('t', 'a', ?, 1, ?)",
            [day, NAMES[rag]],
        )
        for table in OF_THE_DAY:
            connection.execute(f"delete from {table} where as_of_date = ?", [day])
            connection.execute(f"insert into {table} (tenant_id, account_id, as_of_date) values ('t', 'a', ?)", [day])
    if end == "killed before the checks":
        return
    day_status.pass_days(connection, span[:-1])
    if end == "held":
        day_status.hold_day(connection, span[-1], {"portfolio_swing": "too far"})
        withdraw_day(DuckDbEngine(connection), CONFIG, span[-1])
        return
    day_status.pass_days(connection, span[-1:], {"portfolio_swing": "too far"} if end == "accepted" else None, "anna")
    for model in (SETTLED, TRANSITIONS):
        build_model(connection, model, model_parameters(CONFIG), (span[0], span[-1]))
    if end in ("complete", "accepted"):
        finish(DuckDbEngine(connection), CONFIG, day_status.passed_days(connection, run_id))
    for model in NEWEST:
        build_model(connection, model, model_parameters(CONFIG))


def latest_days(connection: duckdb.DuckDBPyConnection) -> list[date | None]:
    """The latest day that each table of the newest day shows."""
    return [
        day
        for model in NEWEST
        for column in ["as_of_date" if "as_of_date" in model.columns else "month_end"]
        for (day,) in connection.execute(f"select max({column}) from {model.table}").fetchall()
    ]


def expected(scored: dict[date, str], counted: set[date]) -> list[tuple[date, str, str]]:
    """The transitions of the days that count, each compared with the one before it."""
    ordered = sorted(counted)
    return [
        (day, scored[before], scored[day])
        for before, day in itertools.pairwise(ordered)
        if scored[before] != scored[day]
    ]


@pytest.fixture(scope="module")
def warehouse():
    with fresh() as connection:
        models = [SETTLED, TRANSITIONS, *built_from_statuses()]
        for model in models:
            for table in sorted(model.dependencies):
                prepare(connection, table)
            build_model(connection, model, model_parameters(CONFIG), (FIRST, FIRST) if model.partitioned else None)
        staged(connection, "accounts", {"account_id": "a", "account_name": "a", "tenant_id": "t"})
        paid = {"subscription_id": "s", "account_id": "a", "mrr": 1, "started_at": "2025-01-01"}
        staged(connection, "subscriptions", {**paid, "renews_at": "2027-01-01"})
        connection.execute(
            "insert into intermediate.int_account_spells (tenant_id, account_id, spell, started_at) "
            "values ('t', 'a', 1, '2025-01-01')"
        )
        yield connection


@settings(max_examples=examples(15))
@given(st.lists(RUNS, min_size=1, max_size=5))
def test_transitions_are_those_of_the_days_that_count(warehouse, runs):
    run_tables = (day_status.STATUS_TABLE, day_status.UNCOUNTED_TABLE)
    for table in (
        *run_tables,
        day_status.SCORES_TABLE,
        SETTLED.table,
        TRANSITIONS.table,
        *OF_THE_DAY,
        *(model.table for model in built_from_statuses()),
    ):
        warehouse.execute(f"delete from {table}")
    wanted: dict[date, str] = {}
    for number, run in enumerate(runs):
        carry_out(warehouse, number, run)
        shown = latest_days(warehouse)
        show_counted_days(DuckDbEngine(warehouse), model_parameters(CONFIG))
        assert day_status.listed(warehouse) == day_status.statuses(warehouse)
        newest = day_status.newest_counted_day(warehouse)
        assert latest_days(warehouse) == [newest] * len(NEWEST)
        offset, length, end, _ = run
        if end != "killed before the checks":
            # The models themselves read no day that does not count.
            assert shown == [newest] * len(NEWEST)
        span = [FIRST + timedelta(days=offset + one) for one in range(length)]
        wanted |= dict.fromkeys(span, {"complete": "complete", "accepted": "complete"}.get(end, "building"))
        if end in ("held", "accepted"):
            wanted[span[-1]] = end
    found = day_status.statuses(warehouse)
    assert {day: status.status for day, status in found.items()} == dict(sorted(wanted.items()))
    assert day_status.newest_counted_day(warehouse) == max(
        (day for day, one in found.items() if one.counts), default=None
    )
    for day, status in found.items():
        if status.counts:
            day_status.require_counted(warehouse, day)
        else:
            with pytest.raises(InputError, match=f"{day} is (held|unfinished)"):
                day_status.require_counted(warehouse, day)

    # What was killed is run again, in any order; what is held stays held.
    for number, day in enumerate(day for day, status in wanted.items() if status == "building"):
        carry_out(warehouse, 100 + number, ((day - FIRST).days, 1, "complete", ["R"]))
    counted = {day for day, status in day_status.statuses(warehouse).items() if status.counts}
    scored = dict(warehouse.execute("select as_of_date, rag from marts.csm_health_scores").fetchall())
    rows = warehouse.execute("select as_of_date, from_rag, to_rag from marts.csm_rag_transitions order by 1").fetchall()
    assert [row for row in rows if row[0] in counted] == expected(scored, counted)


def test_after_an_upgrade_a_table_that_reads_one_not_yet_built_is_left_to_the_next_run():
    with fresh() as connection:
        connection.execute(
            "create table marts.csm_health_current as select 'a' as account_id, ? as as_of_date", [FIRST]
        )
        connection.execute(
            "create table marts.csm_health_scores as select 'a' as account_id, ? as as_of_date, 1 as score, "
            "timestamp '2026-06-02' as scored_at",
            [FIRST],
        )
        day_status.begin_days(connection, (FIRST, FIRST), "killed")
        show_counted_days(DuckDbEngine(connection), model_parameters(CONFIG))
        assert connection.execute("select account_id from marts.csm_health_current").fetchall() == [("a",)]
