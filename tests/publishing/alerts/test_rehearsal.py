"""A rehearsal is what live runs of the same days would have sent, and leaves nothing behind."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import duckdb
import pytest

from csm_core.errors import InputError
from csm_core.publishing.alerts import ledger
from csm_core.publishing.alerts.publish import alert_day
from csm_core.publishing.alerts.rehearsal import rehearse
from csm_core.warehouse.alert_settings import AlertRoute, AlertSettings
from tests.publishing.alerts.made_up import day, fill

SETTINGS = AlertSettings(
    routes=(AlertRoute(name="all", to="outbox"), AlertRoute(name="severe", to="outbox", severity="critical")),
    max_lines=3,
)
DAYS = 24


def content(digests):
    return [(one.digest_id, one.route, one.owner, one.day, one.lines) for one in digests]


@pytest.mark.parametrize("seed", range(3))
def test_a_rehearsal_equals_live_runs_of_the_same_days(seed):
    dice = random.Random(seed)
    numbers = [number for number in range(DAYS) if dice.random() < 0.9]
    rows = []
    for account in ("A1", "A2", "B1", "C1"):
        score = dice.uniform(10, 90)
        for number in numbers:
            score = min(95.0, max(5.0, score + dice.uniform(-25, 25)))
            if dice.random() < 0.95:
                rows.append((account, day(number), score))
    with duckdb.connect() as connection:
        for number in numbers:
            # A live run knows no later day.
            fill(connection, [row for row in rows if row[1] <= day(number)])
            if any(row[1] == day(number) for row in rows):
                alert_day(
                    connection, SETTINGS, day(number), day(number), clock=lambda: datetime(2026, 7, 1, tzinfo=UTC)
                )
        live = ledger.load(connection)
        before = connection.execute("from sync.alert_states").fetchall()
        rehearsal = rehearse(connection, SETTINGS, day(0), day(DAYS))
        assert content(rehearsal.digests) == content(live)
        assert len(live) > 3
        assert sum(one.digests for one in rehearsal.weeks) == len(live)
        assert connection.execute("from sync.alert_states").fetchall() == before
        assert ledger.load(connection) == live
        assert {one.churned for one in rehearsal.weeks} == {None}


def test_a_rehearsal_counts_the_accounts_that_churned_later():
    with duckdb.connect() as connection:
        fill(connection, [(account, day(number), 40.0) for account in ("A1", "A2") for number in range(3)])
        connection.execute(
            "create table marts.csm_outcomes as select 'A1' as account_id, 'churned' as outcome, "
            "date '2026-08-01' as ended_on"
        )
        report = rehearse(connection, SETTINGS, day(0), day(2))
        (week,) = report.as_dict()["weeks"]
        assert (week["owner"], week["accounts"], week["churned"], week["churned_share"]) == ("A@example.com", 2, 1, 0.5)
        assert report.lines()[-1] == "1 digest on 3 scored days; nothing was sent"
        with pytest.raises(InputError, match="is complete; choose days that"):
            rehearse(connection, SETTINGS, day(10), day(12))
