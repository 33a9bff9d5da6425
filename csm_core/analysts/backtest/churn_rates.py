"""Churn rates of groups of observations: bands, levels of churn risk, and deciles of the score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from csm_core.analysts.backtest.intervals import Interval, wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

DECILES = 10


@dataclass(frozen=True)
class ChurnRate:
    """The observations of a group, and how many of them churned; the interval is Wilson's.

    It takes observations as independent. An account is observed on several dates, so the interval is rather narrow.

    :ivar name: the band or the level of churn risk.
    :ivar rate: churned by all observations, None without observations.
    """

    name: str
    observations: int
    accounts: int
    churned: int
    rate: float | None
    interval: Interval | None

    def as_dict(self, name: str) -> dict[str, object]:
        """Return the columns of the report, with the group's name under ``name``."""
        return {
            name: self.name,
            "observations": self.observations,
            "accounts": self.accounts,
            "churned": self.churned,
            "rate": self.rate,
            "low": self.interval.low if self.interval else None,
            "high": self.interval.high if self.interval else None,
        }


@dataclass(frozen=True)
class Decile:
    """The observations of one tenth of the scores, lowest first.

    :ivar decile: 1 to 10.
    :ivar lowest: the lowest score of its observations, ``highest`` the highest.
    """

    decile: int
    lowest: float
    highest: float
    observations: int
    churned: int
    rate: float
    interval: Interval

    def as_dict(self) -> dict[str, object]:
        """Return the columns of the report."""
        return {
            "decile": self.decile,
            "lowest_score": self.lowest,
            "highest_score": self.highest,
            "observations": self.observations,
            "churned": self.churned,
            "rate": self.rate,
            "low": self.interval.low,
            "high": self.interval.high,
        }


def churn_rates(
    names: Sequence[str], codes: NDArray[np.int8], account: NDArray[np.int64], churned: NDArray[np.bool_]
) -> tuple[ChurnRate, ...]:
    """Return the churn rate of each group; an observation is in the group ``names[code]``."""
    found: list[ChurnRate] = []
    for code, name in enumerate(names):
        inside = codes == code
        total, count = int(inside.sum()), int(churned[inside].sum())
        found.append(
            ChurnRate(
                name=name,
                observations=total,
                accounts=len(np.unique(account[inside])),
                churned=count,
                rate=count / total if total else None,
                interval=wilson(count, total),
            )
        )
    return tuple(found)


def are_ordered(mildest_first: Sequence[ChurnRate]) -> bool:
    """Return whether no group has a lower churn rate than a milder one; groups without observations are left out."""
    rates = [one.rate for one in mildest_first if one.rate is not None]
    return all(milder <= worse for milder, worse in pairwise(rates))


def calibration(score: NDArray[np.float64], churned: NDArray[np.bool_]) -> tuple[Decile, ...]:
    """Return the churn rate of each decile of the score over all dates; deciles without observations are left out.

    An observation is in decile ``1 + floor(10 × share)``, where the share is that of the observations with a lower
    score. Equal scores are therefore in the same decile.
    """
    ordered = np.sort(score)
    decile_of = np.searchsorted(ordered, score, side="left") * DECILES // max(len(score), 1)
    found: list[Decile] = []
    for decile in range(DECILES):
        inside = decile_of == decile
        total, count = int(inside.sum()), int(churned[inside].sum())
        interval = wilson(count, total)
        if interval:
            scores = score[inside]
            found.append(
                Decile(decile + 1, float(scores.min()), float(scores.max()), total, count, count / total, interval)
            )
    return tuple(found)
