"""A source is silent in the report exactly if the check before publishing finds it silent."""

from datetime import date, timedelta

import duckdb
from hypothesis import given
from hypothesis import strategies as st

from csm_core.days.portfolio_checks import records_delivered, usage_delivered
from csm_core.publishing.report.data_figures import sources
from csm_core.publishing.report.figures import Scope
from csm_core.publishing.report.results import run_figure
from csm_core.system.config_sections import CheckSettings, FreshnessSettings

DAY = date(2026, 6, 30)
BEFORE = st.sets(st.integers(-3, 400), max_size=40)
"""Days before the day of the report; negative ones are after it."""
LIMIT = st.one_of(st.none(), st.integers(0, 120))


def days(connection: duckdb.DuckDBPyConnection, entity: str, before: set[int]) -> list[date]:
    dates = [DAY - timedelta(days=number) for number in before]
    for one in dates:
        connection.execute("insert into csm_record_days values (?, ?)", [entity, one])
    return dates


@given(BEFORE, BEFORE, LIMIT, st.integers(0, 10))
def test_a_source_is_silent_if_its_check_fails(tickets, usage, limit, usage_limit):
    settings = CheckSettings(max_silent_days=usage_limit, freshness=FreshnessSettings(tickets=limit))
    with duckdb.connect() as connection:
        connection.execute(
            "create schema staging; create schema intermediate; create schema marts; "
            "create table csm_record_days (entity varchar, record_date date); "
            "create table staging.stg_tickets (opened_at timestamp); "
            "create table marts.csm_health_signals (as_of_date date, missing_signals varchar); "
            "create table intermediate.int_usage_daily_accounts (usage_date date, account_id varchar)"
        )
        for one in days(connection, "tickets", tickets):
            connection.execute("insert into staging.stg_tickets values (?)", [one])
        for one in days(connection, "usage_events", usage):
            connection.execute("insert into intermediate.int_usage_daily_accounts values (?, 'A')", [one])
        result = run_figure(connection, sources(Scope(DAY, silence_limits=settings.silence_limits)))
        checks = {
            "tickets": records_delivered(connection, settings, "tickets", DAY),
            "usage_events": usage_delivered(connection, settings, DAY),
        }
    shown = {row["entity"]: row["is_silent"] for row in result.rows}
    assert shown == {
        entity: not checks[entity].passed
        for entity, before in (("tickets", tickets), ("usage_events", usage))
        if max(before, default=-1) >= 0
    }
