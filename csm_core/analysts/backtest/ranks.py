"""Ranks observations within each date: the pairs of a churned and a stayed account, and how many a measure orders well.

A pair is a churned and a stayed account that are observed on the same date. The measure wins the pair if the churned
account has the lower value; equal values are half a win. Wins are counted twice, so that all counts are integers and
sums of them are exact in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Outcomes:
    """Who was observed when, and what became of the account; one element per observation.

    :ivar day: the position of the date.
    :ivar account: the position of the account, below ``accounts``.
    :ivar churned: whether the account churned.
    :ivar accounts: the number of accounts.
    """

    day: NDArray[np.int64]
    account: NDArray[np.int64]
    churned: NDArray[np.bool_]
    accounts: int

    def only(self, kept: NDArray[np.bool_] | NDArray[np.int64]) -> Outcomes:
        """Return the outcomes of some of the observations: a mask, or positions in the order wanted."""
        return Outcomes(self.day[kept], self.account[kept], self.churned[kept], self.accounts)


@dataclass(frozen=True)
class PairCounts:
    """The pairs of one measure.

    :ivar pairs: the number of pairs.
    :ivar double_wins: twice the number of pairs that the measure wins.
    :ivar account_pairs: the pairs of each account, as the churned or the stayed one; each pair counts for both.
    :ivar account_double_wins: twice the wins in those pairs.
    """

    pairs: int
    double_wins: int
    account_pairs: NDArray[np.float64]
    account_double_wins: NDArray[np.float64]

    @property
    def auc(self) -> float | None:
        """The share of pairs that the measure wins; None without pairs."""
        return self.double_wins / (2 * self.pairs) if self.pairs else None


def pair_counts(outcomes: Outcomes, values: NDArray[np.float64]) -> PairCounts:
    """Return the pairs of a measure; observations with an unknown value (NaN) are left out."""
    known = ~np.isnan(values)
    if not known.all():
        outcomes, values = outcomes.only(known), values[known]
    order = np.lexsort((values, outcomes.day))
    ordered = outcomes.only(order)
    day, value, churned = ordered.day, values[order], ordered.churned
    # Before each position: the churned and the stayed observations; the last element counts all.
    churned_before = np.concatenate(([0], np.cumsum(churned)))
    stayed_before = np.arange(len(day) + 1) - churned_before
    day_starts, day_of = _blocks(day)
    tie_starts, tie_of = _blocks(day, value)
    day_ends, tie_ends = np.append(day_starts[1:], len(day)), np.append(tie_starts[1:], len(day))
    churned_of_day = (churned_before[day_ends] - churned_before[day_starts])[day_of]
    stayed_of_day = (stayed_before[day_ends] - stayed_before[day_starts])[day_of]
    # Twice the wins of an observation: the opposite outcomes on its better side twice, those with its value once.
    stayed_from_tie = stayed_before[day_ends][day_of] - stayed_before[tie_starts][tie_of]
    stayed_above_tie = stayed_before[day_ends][day_of] - stayed_before[tie_ends][tie_of]
    churned_below_tie = churned_before[tie_starts][tie_of] - churned_before[day_starts][day_of]
    churned_to_tie = churned_before[tie_ends][tie_of] - churned_before[day_starts][day_of]
    double_wins = np.where(churned, stayed_from_tie + stayed_above_tie, churned_below_tie + churned_to_tie)
    pairs = np.where(churned, stayed_of_day, churned_of_day)
    return PairCounts(
        pairs=int(pairs[churned].sum()),
        double_wins=int(double_wins[churned].sum()),
        account_pairs=sums_by_account(ordered, pairs.astype(np.float64)),
        account_double_wins=sums_by_account(ordered, double_wins.astype(np.float64)),
    )


def sums_by_account(outcomes: Outcomes, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of the numbers of each account's observations."""
    return np.bincount(outcomes.account, numbers, outcomes.accounts).astype(np.float64)


def pair_matrices(
    outcomes: Outcomes, values: NDArray[np.float64], churned_accounts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the pairs, and twice the wins, of each churned account (rows) with each account (columns).

    :param churned_accounts: the accounts that churned on some date, ascending.
    """
    known = ~np.isnan(values)
    outcomes, values = outcomes.only(known), values[known]
    pairs = np.zeros((len(churned_accounts), outcomes.accounts))
    double_wins = np.zeros_like(pairs)
    row_of = np.searchsorted(churned_accounts, outcomes.account)
    order = np.argsort(outcomes.day, kind="stable")
    starts, _ = _blocks(outcomes.day[order])
    for chosen in np.split(order, starts[1:]):
        churned, stayed = chosen[outcomes.churned[chosen]], chosen[~outcomes.churned[chosen]]
        cells = np.ix_(row_of[churned], outcomes.account[stayed])
        lower, other = values[churned][:, None], values[stayed][None, :]
        pairs[cells] += 1
        double_wins[cells] += (lower < other).astype(np.float64) + (lower <= other)
    return pairs, double_wins


def _blocks(*sorted_keys: NDArray[np.int64] | NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where blocks of equal keys start, and the block of each element."""
    first = np.ones(len(sorted_keys[0]), dtype=np.bool_)
    first[1:] = False
    for key in sorted_keys:
        first[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(first), np.cumsum(first) - 1
