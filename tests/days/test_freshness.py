"""When records that stopped coming hold publishing: the days allowed, and what regular means."""

from datetime import date, timedelta

import duckdb
import pytest

from csm_core.config import CheckSettings, FreshnessSettings
from csm_core.contract import ENTITIES
from csm_core.days.portfolio_checks import FRESHNESS, records_delivered

LATEST = date(2026, 6, 30)


def outcome(number_of_days: int, day: date, **allowed):
    with duckdb.connect() as connection:
        connection.execute("create schema staging; create table staging.stg_tickets (opened_at timestamp)")
        for number in range(number_of_days):
            connection.execute(
                "insert into staging.stg_tickets values (?::date + interval 23 hours)", [LATEST - timedelta(number)]
            )
        settings = CheckSettings(freshness=FreshnessSettings(**allowed))
        return records_delivered(connection, settings, "tickets", day)


def test_every_dated_entity_but_usage_is_looked_at():
    assert set(FRESHNESS) == set(ENTITIES) - {"accounts", "features", "usage_events", "lifecycle_events"}


@pytest.mark.parametrize(
    ("number_of_days", "days_later", "passed"),
    [(10, 30, True), (10, 31, False), (9, 31, True), (0, 31, True), (200, 31, False)],
)
def test_silence_counts_after_the_days_allowed_where_records_came_regularly(number_of_days, days_later, passed):
    assert outcome(number_of_days, LATEST + timedelta(days_later)).passed == passed


def test_a_failure_says_how_far_off_it_is_and_shows_the_last_ten_days_with_records():
    found = outcome(12, LATEST + timedelta(40))
    assert found.failed_rows == 40
    assert "40 days before 2026-08-09 (limit 30 days)" in found.message
    assert [row["day"] for row in found.sample] == [LATEST - timedelta(number) for number in range(10)]
    assert found.sample[0]["records"] == 1


def test_only_what_was_there_by_the_day_counts_and_none_is_not_looked_at():
    assert not outcome(60, LATEST + timedelta(31)).passed
    assert outcome(60, LATEST - timedelta(5)).message.startswith("latest record of tickets: 2026-06-25, 0 days")
    assert outcome(60, LATEST + timedelta(300), tickets=None).passed
