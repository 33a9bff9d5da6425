"""What holds publishing for a whole day: what is missing, how far off, which rows, what to do."""

from datetime import date, timedelta

import duckdb
import pytest

from csm_core.config import CheckSettings
from csm_core.contract import ENTITIES
from csm_core.days.portfolio_checks import population_scored, require_data_for, usage_delivered
from csm_core.errors import InputError
from tests.sql.harness import fresh, run_model, staged

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
        connection.execute("alter table marts.csm_health_signals add column missing_signals varchar default ''")
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
    assert found.message.startswith("1 account of 2026-06-30 is not in all of")
    assert "rerun the day from int_account_days" in found.message
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
    assert "dated 2026-06-26, 4 days before 2026-06-30 (limit 3 days)" in found.message
    assert [row["usage_date"] for row in found.sample] == [DAY - timedelta(number) for number in range(4, 14)]
    assert found.sample[0]["accounts"] == 2
    assert usage_delivered(marts, CheckSettings(max_silent_days=4), DAY).passed


def test_usage_that_has_not_begun_holds_nothing(marts):
    marts.execute("update marts.csm_health_signals set missing_signals = 'usage_trend,login_frequency_days'")
    marts.execute("insert into intermediate.int_usage_daily_accounts values ('A1', ?)", [DAY + timedelta(1)])
    found = usage_delivered(marts, CheckSettings(), DAY)
    assert found.passed
    assert "no usage event up to 2026-06-30" in found.message


def test_usage_that_earlier_days_had_and_that_is_gone_holds_publishing(marts):
    marts.execute("insert into marts.csm_health_signals values ('A1', ?, 'nps_score')", [DAY - timedelta(2)])
    marts.execute("insert into marts.csm_health_signals values ('A2', ?, '')", [DAY - timedelta(2)])
    marts.execute("insert into marts.csm_health_signals values ('A3', ?, 'usage_trend')", [DAY - timedelta(1)])
    found = usage_delivered(marts, CheckSettings(), DAY)
    assert not found.passed
    assert "none up to 2026-06-30, but 2026-06-28 was scored with events of 2 accounts" in found.message
    assert "--accept usage_delivered" in found.message
    assert found.sample == ({"as_of_date": DAY - timedelta(2), "accounts": 2},)


RECORDS = [entity.name for entity in ENTITIES.values() if entity.refers_to_accounts]
LAST = "2026-06-30 23:59:59.999999"


@pytest.fixture
def staged_day():
    """Account A without a creation date, in the population of the day; no records."""
    with fresh() as connection:
        staged(connection, "accounts", {"account_id": "A", "account_name": "A", "tenant_id": "t"})
        run_model(connection, "intermediate/int_account_days", [DAY])
        yield connection


@pytest.mark.parametrize("entity", RECORDS)
def test_a_record_of_any_entity_makes_a_day_one_with_data(staged_day, entity):
    with pytest.raises(InputError):
        require_data_for(staged_day, (DAY, DAY))
    staged(staged_day, entity, {"account_id": "A", ENTITIES[entity].dated_by.name: LAST})
    require_data_for(staged_day, (DAY, DAY))


@pytest.mark.parametrize("entity", RECORDS)
def test_a_day_before_every_record_is_an_error_that_says_which_day_would_do(staged_day, entity):
    staged(staged_day, entity, {"account_id": "A", ENTITIES[entity].dated_by.name: "2026-07-01 00:00:00"})
    with pytest.raises(InputError) as caught:
        require_data_for(staged_day, (DAY, DAY))
    message = str(caught.value)
    assert f"the earliest record is dated 2026-07-01 ({entity})" in message
    assert "Choose 2026-07-01 or a later day, or add created_at to accounts" in message
    assert caught.value.exit_status == 2


def test_accounts_without_dates_and_without_records_are_an_error_that_says_what_would_help(staged_day):
    staged(staged_day, "features", {"feature": "f", "released_at": "2020-01-01"})
    with pytest.raises(InputError, match="Add created_at to accounts, or records dated 2026-06-30 or earlier"):
        require_data_for(staged_day, (DAY, DAY))


def test_an_account_with_a_creation_date_makes_a_day_one_with_data(staged_day):
    with pytest.raises(InputError):
        require_data_for(staged_day, (DAY, DAY))
    staged(staged_day, "accounts", {"account_id": "B", "account_name": "B", "created_at": LAST})
    run_model(staged_day, "intermediate/int_account_days", [DAY])
    require_data_for(staged_day, (DAY, DAY))


def test_a_day_on_which_no_account_is_a_customer_is_an_error(staged_day):
    staged_day.execute("update staging.stg_accounts set created_at = '2026-01-01', churned_at = '2026-06-30'")
    staged(staged_day, "accounts", {"account_id": "B", "account_name": "B", "created_at": "2026-07-01"})
    staged(staged_day, "invoices", {"account_id": "A", "issued_at": "2026-01-01"})
    run_model(staged_day, "intermediate/int_account_days", [DAY])
    with pytest.raises(InputError, match="no account is a customer at the end of 2026-06-30") as caught:
        require_data_for(staged_day, (DAY, DAY))
    assert "the earliest account was created on 2026-01-01" in str(caught.value)
    assert "the latest churn was on 2026-06-30" in str(caught.value)
