"""Lift: how much more often the accounts with the lowest scores churn than all accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PERCENTS = (10, 20)


def lift(day: NDArray[np.int64], score: NDArray[np.float64], churned: NDArray[np.bool_], percent: int) -> float | None:
    """Return the lift of the lowest-scoring ``percent`` % of each date; None if no account churned.

    On each date the cut is at ``percent`` % of its observations. Observations below the cut count whole. Those with the
    score at the cut count in proportion: if the cut needs 2 of 5 equal scores, each counts 2/5. An observation also
    counts in part if the cut is not an integer. The lift is the number of churned observations counted on all dates,
    divided by ``percent`` % of all churned observations: 1 is what scores without information reach.
    """
    total = int(churned.sum())
    if not total:
        return None
    order = np.lexsort((score, day))
    sorted_day, sorted_score = day[order], score[order]
    new_day = np.concatenate(([True], sorted_day[1:] != sorted_day[:-1]))
    new_tie = new_day | np.concatenate(([True], sorted_score[1:] != sorted_score[:-1]))
    tie_starts = np.flatnonzero(new_tie)
    tie_sizes = np.diff(np.append(tie_starts, len(order)))
    tie_churned = np.add.reduceat(churned[order].astype(np.int64), tie_starts)
    day_starts = np.flatnonzero(new_day)
    day_sizes = np.diff(np.append(day_starts, len(order)))
    day_of_tie = (np.cumsum(new_day) - 1)[tie_starts]
    # In hundredths of an observation, so that 10 % of 25 observations has no rounding.
    left = day_sizes[day_of_tie] * percent - (tie_starts - day_starts[day_of_tie]) * 100
    counted = np.clip(left, 0, tie_sizes * 100)
    return float((tie_churned * counted / tie_sizes).sum() / (percent * total))
