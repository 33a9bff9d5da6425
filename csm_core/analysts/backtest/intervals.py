"""Intervals of figures: a percentile bootstrap over accounts, and Wilson's interval of a rate.

A resample draws as many accounts as there are, with replacement; an account that is drawn twice counts twice on each of
its dates. The draws depend on the seed and the number of accounts only. All sums are of integers below 2**53, which are
exact in any order, so neither the order of rows nor the number of threads changes an interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from csm_core.analysts.backtest.ranks import Outcomes, PairCounts, pair_matrices

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The 97.5th percentile of the standard normal distribution.
_Z = 1.959963984540054
# Numbers in a batch of resamples: 128 MB. Multiplying a few rows at a time would take longer than drawing them.
_BATCH = 16_000_000
EXACT_CELLS = 250_000
"""Up to this number of cells, the pairs of all churned accounts with all accounts are a matrix: 2 MB per measure."""


@dataclass(frozen=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float

    def contains(self, value: float) -> bool:
        """Return whether the value is in the interval, limits included."""
        return self.low <= value <= self.high


def wilson(count: int, total: int) -> Interval | None:
    """Return Wilson's 95 % interval of the rate ``count / total``; None if the total is 0."""
    if not total:
        return None
    rate, square = count / total, _Z * _Z
    centre = (rate + square / (2 * total)) / (1 + square / total)
    half = _Z * math.sqrt(rate * (1 - rate) / total + square / (4 * total * total)) / (1 + square / total)
    # At 0 and at the total the limit is the rate; rounding could leave it a little beside it.
    return Interval(0.0 if count == 0 else centre - half, 1.0 if count == total else centre + half)


def percentile_interval(resampled: NDArray[np.float64]) -> Interval | None:
    """Return the 2.5th and 97.5th percentile of resampled values; resamples without a value (NaN) are left out."""
    values = resampled[~np.isnan(resampled)]
    if not len(values):
        return None
    low, high = np.percentile(values, (2.5, 97.5))
    return Interval(float(low), float(high))


def resampled_weights(accounts: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield batches of resamples as rows: how often each account is drawn."""
    source = np.random.default_rng(seed)
    size = max(1, _BATCH // max(accounts, 1))
    for first in range(0, resamples, size):
        rows = min(size, resamples - first)
        weights = np.empty((rows, accounts))
        for row in range(rows):
            drawn = source.integers(0, accounts, accounts, dtype=np.int32)
            weights[row] = np.bincount(drawn, minlength=accounts)
        yield weights


def auc_intervals(
    outcomes: Outcomes,
    measures: Sequence[NDArray[np.float64]],
    counts: Sequence[PairCounts],
    *,
    resamples: int,
    seed: int,
    exact_cells: int = EXACT_CELLS,
) -> list[Interval | None]:
    """Return the interval of each measure's AUC.

    The AUC of a resample is the sum, over pairs, of the product of both accounts' weights and the win, divided by the
    same sum without the win. Up to ``exact_cells`` pairs of a churned account with an account, it is computed as such.
    With more, both sums are replaced by their linear part in the weights: the sum over accounts of the weight times the
    account's pairs, minus the number of pairs. What is left out is a product of deviations of both samples, small
    beside the linear part when the cells are many; both forms have the same coverage (tests/analysts/backtest).
    """
    churned_accounts = np.unique(outcomes.account[outcomes.churned])
    if len(churned_accounts) * outcomes.accounts <= exact_cells:
        matrices = [pair_matrices(outcomes, values, churned_accounts) for values in measures]
        batches = [
            _exact(weights, matrices, churned_accounts)
            for weights in resampled_weights(outcomes.accounts, resamples, seed)
        ]
    else:
        batches = list(_linear(outcomes, counts, resamples=resamples, seed=seed))
    resampled = np.concatenate(batches) if batches else np.empty((0, len(measures)))
    return [percentile_interval(one) for one in resampled.T]


def ratio_interval(
    numerators: NDArray[np.float64], denominators: NDArray[np.float64], *, resamples: int, seed: int
) -> Interval | None:
    """Return the interval of a ratio of two sums over accounts, given the numbers of each account."""
    sums = np.stack((numerators, denominators), axis=1)
    drawn = [weights @ sums for weights in resampled_weights(len(numerators), resamples, seed)]
    if not drawn:
        return None
    total = np.concatenate(drawn)
    return percentile_interval(_ratio(total[:, 0], total[:, 1]))


def _exact(
    weights: NDArray[np.float64],
    matrices: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    churned_accounts: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the AUC of each resample (rows) and measure (columns)."""
    churned_weights = weights[:, churned_accounts]
    columns = [
        _ratio(
            (churned_weights * (weights @ double_wins.T)).sum(axis=1),
            2 * (churned_weights * (weights @ pairs.T)).sum(axis=1),
        )
        for pairs, double_wins in matrices
    ]
    return np.stack(columns, axis=1)


def _linear(
    outcomes: Outcomes, counts: Sequence[PairCounts], *, resamples: int, seed: int
) -> Iterator[NDArray[np.float64]]:
    """Yield batches of resamples: the AUC of each resample (rows) and measure (columns)."""
    double_wins = np.stack([one.account_double_wins for one in counts], axis=1)
    pairs = np.stack([one.account_pairs for one in counts], axis=1)
    all_wins = np.array([one.double_wins for one in counts], dtype=np.float64)
    all_pairs = np.array([one.pairs for one in counts], dtype=np.float64)
    for weights in resampled_weights(outcomes.accounts, resamples, seed):
        yield _ratio(weights @ double_wins - all_wins, 2 * (weights @ pairs - all_pairs))


def _ratio(numerators: NDArray[np.float64], denominators: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the quotients, NaN where the denominator is not positive."""
    positive = denominators > 0
    return np.where(positive, numerators / np.where(positive, denominators, 1), np.nan)
