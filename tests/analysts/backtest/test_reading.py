"""Observations read from a published copy: which there are, their outcomes, and what is known of each."""

import math
from datetime import date

import pytest

from csm_core.analysts.backtest.observation_rows import OBSERVATIONS, create_observations
from csm_core.analysts.backtest.options import BacktestOptions, grid_dates
from csm_core.analysts.backtest.reading import read_backtest
from csm_core.analysts.queries import open_published
from csm_core.errors import InputError
from csm_core.warehouse.database import Warehouse
from tests.analysts.backtest.scored_history import ScoredHistory, twenty_five_observations

APRIL, MAY, JUNE, AUGUST = date(2026, 4, 30), date(2026, 5, 31), date(2026, 6, 30), date(2026, 8, 31)
LEAD_OF_A_WEEK = BacktestOptions(lead_days=7)


@pytest.fixture(scope="module")
def hand_worked(tmp_path_factory):
    return twenty_five_observations().company(tmp_path_factory.mktemp("hand_worked"))


@pytest.fixture
def copy(hand_worked):
    with open_published(Warehouse.from_config(hand_worked.config)) as connection:
        yield connection


def published(history: ScoredHistory, folder):
    return open_published(Warehouse.from_config(history.company(folder).config))


def outcomes(connection, options=LEAD_OF_A_WEEK):
    create_observations(connection, options)
    rows = connection.execute(f"select as_of_date, account_id, spell, outcome from {OBSERVATIONS}").fetchall()
    return {(day, account): (spell, outcome) for day, account, spell, outcome in rows}


def test_the_hand_worked_observations_have_their_outcomes(copy):
    found = outcomes(copy)
    churned = {APRIL: "c1 c2 c3 c4 r", MAY: "c6 c7 c8 c9 c10", AUGUST: "x4"}
    stayed = {APRIL: "s1 s2 s3 s4 s5", MAY: "s1 s2 s6 s4 r"}
    expected = {(day, account): "churned" for day, accounts in churned.items() for account in accounts.split()}
    expected |= {(day, account): "stayed" for day, accounts in stayed.items() for account in accounts.split()}
    expected |= {(APRIL, "x1"): "dead_zone", (MAY, "x2"): "dead_zone"}
    expected |= {(AUGUST, "s1"): "censored", (AUGUST, "s5"): "censored"}
    assert {key: outcome for key, (_, outcome) in found.items()} == expected
    assert len(found) == 25
    assert (found[APRIL, "r"], found[MAY, "r"]) == ((1, "churned"), (2, "stayed"))


def test_the_columns_are_those_of_the_observations_in_order(copy):
    given = read_backtest(copy, LEAD_OF_A_WEEK)
    observations = given.observations
    assert (given.first_date, given.last_date, given.basis) == (date(2026, 4, 28), date(2026, 9, 30), "as_known")
    assert (given.dead_zone, given.censored) == (2, 2)
    assert observations.dates == (APRIL, MAY, AUGUST)
    assert observations.accounts[:3] == (("t", "c1"), ("t", "c10"), ("t", "c2"))
    rows = zip(observations.day, observations.account, observations.score, observations.churned, strict=True)
    by_name = [(day, observations.accounts[account][1], score, churned) for day, account, score, churned in rows]
    assert by_name[:3] == [(0, "c1", 20, True), (0, "c2", 30, True), (0, "c3", 50, True)]
    assert by_name[-1] == (2, "x4", 50, True)
    assert len(by_name) == 21
    assert observations.rag[:5].tolist() == [0, 0, 1, 1, 2]


def test_a_lead_time_counts_from_the_last_run_of_alerts(copy):
    days = {one.account_id: one.days for one in read_backtest(copy, LEAD_OF_A_WEEK).lead_times}
    # c1 alerts on 28 April, not on the 29th, and again from the 30th to its end on 8 May. c3 alerts on 1 May only.
    assert days["c1"] == 8
    assert days["c3"] == 45
    assert days["c4"] is None
    assert set(days) == {"c1", "c2", "c3", "c4", "r", "c6", "c7", "c8", "c9", "c10", "x4"}


def test_green_churn_has_the_signals_with_most_of_their_weight(tmp_path):
    history = ScoredHistory()
    history.spell("a", "2026-06-10")
    history.day("a", "2026-04-30", 30)
    points = {"usage_trend_points": 15, "feature_adoption_rate_points": 15, "nps_score_points": 3}
    history.day("a", "2026-05-31", 75, account_name="Ahlers", days_to_renewal_points=8, **points)
    with published(history, tmp_path) as connection:
        (found,) = read_backtest(connection, BacktestOptions()).green_churn
    assert (found.account_name, found.observed_on, found.ended_on) == ("Ahlers", MAY, date(2026, 6, 10))
    assert (found.score, found.mrr, found.currency) == (75, 100, "USD")
    assert found.misleading == ("usage_trend", "nps_score", "days_to_renewal")


def test_baselines_order_levels_and_leave_out_what_is_unknown(tmp_path):
    history = ScoredHistory()
    for account in ("a", "b", "c"):
        history.spell(account)
    history.day("a", "2026-04-01", 50, mrr=200)
    history.day("b", "2026-04-01", 50, mrr=200, currency="EUR")
    levels = {"usage_trend": "inactive", "invoice_payment_status": "overdue_90_plus", "days_to_renewal": -3}
    points = {"feature_adoption_rate_points": 12.5, "days_to_renewal_points": 10, "invoice_payment_status_points": 10}
    history.day("a", "2026-06-30", 50, mrr=150, **levels, **points, usage_trend_points=10)
    history.day("b", "2026-06-30", 50, usage_trend="growing", days_to_renewal=None)
    history.day("c", "2026-06-30", 50, mrr=None)
    with published(history, tmp_path) as connection:
        found = read_backtest(connection, BacktestOptions()).observations
    baselines = {name: values.tolist() for name, values in found.baselines.items()}
    assert baselines["usage_trend"] == [0, 3, 2]
    assert baselines["invoice_payment_status"] == [0, 3, 3]
    assert (baselines["days_to_renewal"][0], baselines["days_to_renewal"][2]) == (-3, 100)
    assert math.isnan(baselines["days_to_renewal"][1])
    assert baselines["mrr_change_90d"][0] == -0.25
    # b had another currency, c no MRR.
    assert [math.isnan(value) for value in baselines["mrr_change_90d"]] == [False, True, True]
    assert baselines["score_without_renewal_and_payment"] == [22.5, 0, 0]
    assert math.isnan(found.mrr[2])


def test_mrr_is_converted_with_rates(tmp_path):
    history = ScoredHistory()
    history.spell("a")
    history.day("a", "2026-06-30", 50, mrr=100, currency="EUR", mrr_reporting=108, reporting_currency="USD")
    with published(history, tmp_path) as connection:
        found = read_backtest(connection, BacktestOptions())
    assert found.observations.mrr.tolist() == [108]


def test_scores_as_they_were_known_are_the_default(tmp_path):
    history = ScoredHistory()
    history.spell("a")
    history.day("a", "2026-05-31", 50, basis="reconstructed")
    history.day("a", "2026-06-30", 60)
    with published(history, tmp_path) as connection:
        found = {basis: read_backtest(connection, BacktestOptions(basis=basis)) for basis in (None, "all")}
        before = read_backtest(connection, BacktestOptions(last=MAY))
    assert (found[None].basis, found[None].observations.score.tolist()) == ("as_known", [60])
    assert (found["all"].basis, found["all"].observations.score.tolist()) == ("all", [50, 60])
    # There is no score as it was known in the range.
    assert (before.basis, before.observations.score.tolist()) == ("all", [50])


def test_only_accounts_of_a_tenant_or_of_a_segment_on_the_date(tmp_path):
    history = ScoredHistory()
    for account, tenant in (("a", "t"), ("b", "o'hara")):
        history.spell(account, tenant_id=tenant)
        history.day(account, "2026-05-31", 50, tenant_id=tenant, segment="smb")
        history.day(account, "2026-06-30", 60, tenant_id=tenant)
    with published(history, tmp_path) as connection:
        by_tenant = read_backtest(connection, BacktestOptions(tenant="o'hara")).observations
        by_segment = read_backtest(connection, BacktestOptions(segment="smb")).observations
        without = read_backtest(connection, BacktestOptions(segment="unsegmented")).observations
        with pytest.raises(InputError, match=r"segment 'x'\. There are 'smb', 'unsegmented'"):
            read_backtest(connection, BacktestOptions(segment="x"))
        with pytest.raises(InputError, match=r"tenant 'x'\. There are \"o'hara\", 't'"):
            read_backtest(connection, BacktestOptions(tenant="x"))
    assert by_tenant.accounts == (("o'hara", "b"),)
    assert (by_segment.dates, without.dates) == ((MAY,), (JUNE,))


def test_a_grid_has_the_last_days_of_months_or_sundays():
    assert grid_dates(date(2026, 1, 31), date(2026, 4, 29), "month") == [
        date(2026, 1, 31),
        date(2026, 2, 28),
        date(2026, 3, 31),
    ]
    assert grid_dates(date(2026, 6, 1), date(2026, 6, 14), "week") == [date(2026, 6, 7), date(2026, 6, 14)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": "day"}, "--every must be one of month, week, not 'day'"),
        ({"basis": "known"}, "--basis must be one of as_known, reconstructed, all, not 'known'"),
        ({"lead_days": -1}, "--lead must be from 0 to 3650 days, not -1"),
        ({"horizon_days": 0}, "--horizon must be from 1 to 3650 days, not 0"),
        ({"first": JUNE, "last": MAY}, "--from 2026-06-30 is after --to 2026-05-31"),
    ],
)
def test_options_that_cannot_be_used(options, message):
    with pytest.raises(InputError) as raised:
        BacktestOptions(**options)
    assert str(raised.value) == message


def test_a_range_without_observations_says_what_to_do(copy):
    with pytest.raises(InputError, match="no account has a score on a last day of a month from 2026-04-29 to"):
        read_backtest(copy, BacktestOptions(first=date(2026, 4, 29), last=date(2026, 4, 29), basis="all"))
    with pytest.raises(InputError, match="there is no scored day from 2025-01-01 to 2025-12-31: the scored days are"):
        read_backtest(copy, BacktestOptions(first=date(2025, 1, 1), last=date(2025, 12, 31)))
