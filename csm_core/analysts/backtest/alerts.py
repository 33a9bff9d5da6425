"""Figures of alerts: how many churned accounts they find, how many are false, and how early they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from csm_core.analysts.backtest.observations import LeadTime, Observations

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class AlertFigures:
    """Alerts on the dates of the grid, against the outcomes. A share of nothing is None.

    :ivar observations: observations that alert.
    :ivar churned: those of them that churned.
    :ivar precision: churned observations by all observations that alert.
    :ivar recall: churned observations that alert by all churned observations.
    :ivar recall_by_mrr: the same, each observation with its MRR; observations without MRR are left out.
        Amounts in several currencies are added as they are, unless rates are configured.
    :ivar per_100_accounts_and_month: of 100 accounts observed in a calendar month, those that alert at least once.
    """

    observations: int
    churned: int
    precision: float | None
    recall: float | None
    recall_by_mrr: float | None
    per_100_accounts_and_month: float | None

    def as_dict(self) -> dict[str, object]:
        """Return the columns of the report."""
        return asdict(self)


@dataclass(frozen=True)
class LeadTimeFigures:
    """Days from the start of the last uninterrupted run of alerting days to the end of the spell.

    Median and quartiles are of the churned spells that alerted, with linear interpolation; None without any.

    :ivar spells: churned spells.
    :ivar never_alerted: the share of spells without an alert, None without spells.
    """

    spells: int
    lower_quartile: float | None
    median: float | None
    upper_quartile: float | None
    never_alerted: float | None

    def as_dict(self) -> dict[str, object]:
        """Return the columns of the report."""
        return asdict(self)


def alert_figures(observations: Observations) -> AlertFigures:
    """Return the figures of the alerts."""
    alerting, churned = observations.should_alert, observations.churned
    found = alerting & churned
    known = churned & ~np.isnan(observations.mrr)
    return AlertFigures(
        observations=int(alerting.sum()),
        churned=int(found.sum()),
        precision=_share(int(found.sum()), int(alerting.sum())),
        recall=_share(int(found.sum()), int(churned.sum())),
        # fsum is exact, so the order of rows does not change the last bits.
        recall_by_mrr=_share(math.fsum(observations.mrr[found & known]), math.fsum(observations.mrr[known])),
        per_100_accounts_and_month=_per_100_accounts_and_month(observations),
    )


def lead_time_figures(lead_times: Sequence[LeadTime]) -> LeadTimeFigures:
    """Return the figures of the lead times."""
    days = [one.days for one in lead_times if one.days is not None]
    quartiles = [float(one) for one in np.percentile(days, (25, 50, 75))] if days else [None, None, None]
    return LeadTimeFigures(
        len(lead_times), *quartiles, never_alerted=_share(len(lead_times) - len(days), len(lead_times))
    )


def _per_100_accounts_and_month(observations: Observations) -> float | None:
    months = np.array([date.year * 12 + date.month for date in observations.dates], dtype=np.int64)
    month = months[observations.day] if len(months) else observations.day
    accounts = len(observations.accounts)
    keys: NDArray[np.int64] = month * accounts + observations.account
    return _share(100 * len(np.unique(keys[observations.should_alert])), len(np.unique(keys)))


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
