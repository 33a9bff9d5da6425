"""What holds publishing for a whole day: what is missing, how far off, which rows, what to do."""

from datetime import date, timedelta

import duckdb
import pytest

from csm_core.config import CheckSettings
from csm_core.portfolio_checks import population_scored, usage_delivered

DAY = date(2026, 6, 30)
TABLES = {
    "population": "intermediate.int_account_days",
    "signals": "marts.csm_health_signals",
    "scores": "marts.csm_health_scores",
}


@pytest.fixture
def marts():
    with duckdb.connect() as connection:
        connection.execute("create schema intermediate; create schema marts")
        for table in TABLES.values():
            connection.execute(f"create table {table} (account_id varchar, as_of_date date)")
            # Another day is no part of it.
            connection.execute(f"insert into {table} values ('A1', ?), ('A2', ?)", [DAY, DAY])
        connection.execute("insert into marts.csm_health_scores values ('A9', ?)", [DAY - timedelta(1)])
        connection.execute("create table intermediate.int_usage_daily_accounts (account_id varchar, usage_date date)")
        yield connection


def test_a_population_with_signals_and_scores_passes(marts):
    assert population_scored(marts, DAY).passed


@pytest.mark.parametrize("lacking", TABLES)
def test_an_account_that_one_of_the_three_lacks_is_shown_with_where_it_is(marts, lacking):
    marts.execute(f"delete from {TABLES[lacking]} where account_id = 'A2'")
    found = population_scored(marts, DAY)
    assert not found.passed
    assert found.failed_rows == 1
    assert found.message.startswith("1 accounts of 2026-06-30 are not in all of")
    assert "again from int_account_days on" in found.message
    columns = {"population": "in_population", "signals": "has_signals", "scores": "scored"}
    assert found.sample == ({"account_id": "A2", **{column: held != lacking for held, column in columns.items()}},)


def test_only_ten_accounts_are_shown_and_all_are_counted(marts):
    for number in range(12):
        marts.execute("insert into marts.csm_health_scores values (?, ?)", [f"B{number:02}", DAY])
    found = population_scored(marts, DAY)
    assert found.failed_rows == 12
    assert [row["account_id"] for row in found.sample] == [f"B{number:02}" for number in range(10)]


def test_usage_that_stopped_is_shown_with_the_last_days_that_had_some(marts):
    for number in range(4, 20):
        marts.execute(
            "insert into intermediate.int_usage_daily_accounts values ('A1', ?), ('A2', ?)",
            [DAY - timedelta(number)] * 2,
        )
    found = usage_delivered(marts, CheckSettings(), DAY)
    assert not found.passed
    assert found.failed_rows == 4
    assert "of 2026-06-26, 4 days before 2026-06-30 (at most 3 days)" in found.message
    assert [row["usage_date"] for row in found.sample] == [DAY - timedelta(number) for number in range(4, 14)]
    assert found.sample[0]["accounts"] == 2
    assert usage_delivered(marts, CheckSettings(max_silent_days=4), DAY).passed


def test_usage_that_never_came_is_said_to_be_none(marts):
    found = usage_delivered(marts, CheckSettings(), DAY)
    assert "none up to 2026-06-30" in found.message
    assert found.sample == ()
