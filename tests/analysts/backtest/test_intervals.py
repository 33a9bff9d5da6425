"""Intervals: the share of simulated portfolios whose interval has the true AUC, and what a bootstrap must not do."""

from dataclasses import replace

import numpy as np
import pytest

from csm_core.analysts.backtest.figures import backtest_figures, outcomes_of
from csm_core.analysts.backtest.intervals import auc_intervals, ratio_interval, wilson
from csm_core.analysts.backtest.ranks import pair_counts
from tests.analysts.backtest.made import columns, portfolio

PORTFOLIOS = 200


@pytest.mark.slow
@pytest.mark.parametrize("exact_cells", [10**9, 0], ids=["exact", "linear"])
@pytest.mark.parametrize("auc", [0.5, 0.75])
def test_the_interval_has_the_true_auc_in_92_to_98_percent(auc, exact_cells):
    source = np.random.default_rng(20)
    covered = 0
    for _ in range(PORTFOLIOS):
        observations = portfolio(source, auc).observations
        outcomes = outcomes_of(observations)
        (interval,) = auc_intervals(
            outcomes,
            [observations.score],
            [pair_counts(outcomes, observations.score)],
            resamples=2000,
            seed=7,
            exact_cells=exact_cells,
        )
        covered += interval.contains(auc)
    assert 0.92 * PORTFOLIOS <= covered <= 0.98 * PORTFOLIOS


@pytest.mark.parametrize("accounts", [100, 1000])
def test_the_linear_form_is_close_to_the_exact_one(accounts):
    given = portfolio(np.random.default_rng(4), 0.75, accounts=accounts, churn=0.02)
    exact, linear = (backtest_figures(given, exact_cells=cells).auc for cells in (10**9, 0))
    assert exact.auc == linear.auc
    assert (exact.interval.low, exact.interval.high) == pytest.approx(
        (linear.interval.low, linear.interval.high), abs=0.005
    )


def test_shuffled_outcomes_are_no_better_than_chance():
    given = portfolio(np.random.default_rng(6), 0.8)
    observations = given.observations
    assert backtest_figures(given).notes == ()
    shuffled = observations.churned.copy()
    source = np.random.default_rng(7)
    for day in range(len(observations.dates)):
        inside = np.flatnonzero(observations.day == day)
        shuffled[inside] = source.permutation(shuffled[inside])
    figures = backtest_figures(replace(given, observations=replace(observations, churned=shuffled)))
    assert figures.auc.no_better_than_chance
    assert "The score is no better than chance: the interval of its AUC contains 0.5." in figures.notes


def test_a_score_that_is_higher_before_churn_is_worse_than_chance():
    given = portfolio(np.random.default_rng(8), 0.2)
    assert "The score is worse than chance: churned accounts had higher scores than accounts that stayed." in (
        backtest_figures(given).notes
    )


def test_nine_churned_accounts_are_too_few_and_ten_are_enough():
    churned = np.arange(40) < 9
    few = backtest_figures(columns(np.zeros(40, dtype=int), np.arange(40), churned, np.arange(40.0)))
    report = few.as_dict()
    assert (report["auc"], report["lift"], report["churned_accounts"]) == (None, None, 9)
    assert report["notes"][0] == (
        "9 accounts churned. With fewer than 10 churned accounts there is no AUC and no lift."
    )
    assert [one["churned"] for one in report["bands"]] == [0, 0, 9]
    churned[9] = True
    enough = backtest_figures(columns(np.zeros(40, dtype=int), np.arange(40), churned, np.arange(40.0))).as_dict()
    assert enough["auc"] == {"value": 1.0, "low": 1.0, "high": 1.0, "pairs": 300}
    assert enough["lift"] == {"10": 4.0, "20": 4.0}


def test_without_a_stayed_account_on_a_date_of_churn_there_is_no_auc():
    day = np.repeat([0, 1], 20)
    figures = backtest_figures(columns(day, np.arange(40), day == 0, np.arange(40.0)))
    assert figures.auc is None
    assert figures.notes[0] == "On no date is there a churned and a stayed account, so there is no AUC."


def test_no_observations_give_a_report():
    report = backtest_figures(columns(*(np.zeros(0, dtype=kind) for kind in (int, int, bool, float)))).as_dict()
    assert (report["observations"], report["auc"], report["calibration"]) == (0, None, [])
    assert report["alerts"]["precision"] is None


def test_an_account_drawn_twice_counts_twice_on_all_its_dates():
    # All observations of an account have the same outcome, so only whole accounts move the rate.
    numerators, denominators = np.array([12.0, 0.0]), np.array([12.0, 12.0])
    interval = ratio_interval(numerators, denominators, resamples=2000, seed=7)
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_wilson_of_no_and_of_all():
    assert wilson(0, 0) is None
    assert wilson(0, 10).low == 0
    assert wilson(10, 10).high == 1
    # Published example: 0 of 10 has the upper limit z² / (n + z²).
    assert wilson(0, 10).high == pytest.approx(3.8414588206941245 / 13.8414588206941245, abs=1e-12)
