"""The AUC within date: against every pair counted one by one, and independent of order."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from csm_core.analysts.backtest.figures import backtest_figures
from csm_core.analysts.backtest.ranks import Outcomes, pair_counts
from tests.analysts.backtest.made import Row, given_of, portfolio

DAYS = [date(2026, 1, 31) + timedelta(days=30 * number) for number in range(3)]
ROWS = st.lists(
    st.builds(
        Row,
        st.sampled_from(DAYS),
        st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVW"),
        st.booleans(),
        st.integers(0, 6).map(lambda number: number * 15.0),
        renewal=st.one_of(st.just(float("nan")), st.integers(-5, 5).map(float)),
    ),
    unique_by=lambda row: (row.day, row.account),
    max_size=60,
)


def brute_force(rows: list[Row], value) -> tuple[float, int]:
    pairs = [
        (value(one), value(other))
        for one in rows
        for other in rows
        if one.day == other.day and one.churned and not other.churned
    ]
    known = [(low, high) for low, high in pairs if low == low and high == high]
    return sum(1.0 if low < high else 0.5 if low == high else 0.0 for low, high in known), len(known)


@given(ROWS)
def test_wins_and_pairs_equal_a_count_of_all_pairs(rows):
    observations = given_of(rows).observations
    outcomes = Outcomes(observations.day, observations.account, observations.churned, len(observations.accounts))
    for values, value in (
        (observations.score, lambda row: row.score),
        (observations.baselines["days_to_renewal"], lambda row: row.renewal),
    ):
        counts = pair_counts(outcomes, values)
        assert (counts.double_wins / 2, counts.pairs) == brute_force(rows, value)
        # Each pair belongs to two accounts.
        assert counts.account_pairs.sum() == 2 * counts.pairs
        assert counts.account_double_wins.sum() == 2 * counts.double_wins


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_no_figure(rows, chance):
    shuffled = rows.copy()
    chance.shuffle(shuffled)
    assert (
        backtest_figures(given_of(rows), resamples=20).as_dict()
        == backtest_figures(given_of(shuffled), resamples=20).as_dict()
    )


@pytest.mark.parametrize("exact_cells", [10**9, 0], ids=["exact", "linear"])
def test_neither_the_order_of_rows_nor_of_accounts_changes_an_interval(exact_cells):
    given = portfolio(np.random.default_rng(5), 0.7)
    observations = given.observations
    order = np.random.default_rng(1).permutation(len(observations.day))
    number = np.random.default_rng(2).permutation(len(observations.accounts))
    shuffled = replace(
        observations,
        **{
            name: getattr(observations, name)[order]
            for name in ("day", "churned", "score", "rag", "churn_risk", "should_alert", "behavioural", "mrr")
        },
        account=number[observations.account][order],
        accounts=tuple(observations.accounts[position] for position in np.argsort(number)),
        baselines={name: values[order] for name, values in observations.baselines.items()},
    )
    first = backtest_figures(given, exact_cells=exact_cells).as_dict()
    assert first["auc"]["low"] < first["auc"]["value"] < first["auc"]["high"]
    assert first == backtest_figures(replace(given, observations=shuffled), exact_cells=exact_cells).as_dict()
