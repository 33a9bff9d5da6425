"""The figures of scored days: what each counts, and that a range gives each day what the day alone gives."""

from collections.abc import Iterator
from datetime import date, timedelta

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from csm_core.analysts.day_figures import DayFigures, day_figures

FIRST = date(2026, 6, 1)
_TABLES = """
    create schema marts;
    create schema intermediate;
    create table marts.csm_health_scores (
        account_id varchar, as_of_date date, score double, rag varchar, churn_risk_level varchar, should_alert boolean
    );
    create table intermediate.int_account_subscriptions (
        account_id varchar, as_of_date date, mrr decimal(18, 2), currency varchar
    )
"""
Row = tuple[str, date, float, str, str, bool, float | None, str | None]


@pytest.fixture(scope="module")
def tables() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(_TABLES)
        yield connection


def fill(connection: duckdb.DuckDBPyConnection, rows: list[Row]) -> None:
    connection.execute("delete from marts.csm_health_scores; delete from intermediate.int_account_subscriptions")
    for account, day, score, rag, risk, alert, mrr, currency in rows:
        connection.execute(
            "insert into marts.csm_health_scores values (?, ?, ?, ?, ?, ?)", [account, day, score, rag, risk, alert]
        )
        connection.execute(
            "insert into intermediate.int_account_subscriptions values (?, ?, ?, ?)", [account, day, mrr, currency]
        )


def test_mrr_at_risk_is_in_the_currency_that_most_accounts_are_billed_in(tables):
    fill(
        tables,
        [
            ("a", FIRST, 90.0, "GREEN", "low", False, 100.0, "USD"),
            ("b", FIRST, 20.0, "RED", "critical", True, 250.5, "USD"),
            ("c", FIRST, 40.0, "AMBER", "high", True, 900.0, "EUR"),
            ("d", FIRST, 30.0, "RED", "high", True, None, None),
        ],
    )
    assert day_figures(tables, (FIRST, FIRST)) == {FIRST: DayFigures(4, 45.0, 2, 1, 1, 3, 250.5, "USD", 1)}


def test_a_day_without_an_account_has_no_figures_and_one_without_a_price_no_currency(tables):
    fill(tables, [("a", FIRST, 90.0, "GREEN", "high", False, None, None)])
    found = day_figures(tables, (FIRST - timedelta(days=1), FIRST))
    assert found == {FIRST: DayFigures(1, 90.0, 0, 0, 1, 0, 0.0, None, 0)}


ROWS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, 100).map(float),
        st.sampled_from(["RED", "AMBER", "GREEN"]),
        st.sampled_from(["low", "medium", "high", "critical"]),
        st.booleans(),
        st.sampled_from([(None, None), (10.0, "EUR"), (20.25, "USD"), (5.0, "CHF")]),
    ),
    max_size=12,
)


@given(ROWS)
def test_a_range_gives_each_day_what_the_day_alone_gives(tables, drawn):
    fill(
        tables,
        [
            (f"a{number}", FIRST + timedelta(days=day), score, rag, risk, alert, mrr, currency)
            for number, (day, score, rag, risk, alert, (mrr, currency)) in enumerate(drawn)
        ],
    )
    days = [FIRST + timedelta(days=number) for number in range(4)]
    alone: dict[date, DayFigures] = {}
    for day in days:
        alone |= day_figures(tables, (day, day))
    found = day_figures(tables, (days[0], days[-1]))
    assert found == alone
    assert sum(one.accounts for one in found.values()) == len(drawn)
    for one in found.values():
        assert one.red_accounts + one.amber_accounts + one.green_accounts == one.accounts
