"""The observations of a backtest in columns: what was known about an account on a date, and whether it churned."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from csm_core.thresholds import Thresholds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Observations:
    """Observations with a known outcome: churned or stayed. Every array has one element per observation.

    They are ordered by date, tenant, account and spell, so that equal records give equal figures. An account has at
    most one observation on a date.

    :ivar day: position of the observation's date in ``dates``.
    :ivar account: position of its account in ``accounts``.
    :ivar churned: whether the spell ends within the horizon.
    :ivar score: the health score, 0 to 100.
    :ivar rag: its band: RED, AMBER, GREEN as 0, 1, 2.
    :ivar churn_risk: low, medium, high, critical as 0, 1, 2, 3.
    :ivar should_alert: whether the day alerts.
    :ivar behavioural: whether the behavioural churn trigger applies on the day (``churn_triggered_by`` is ``both`` or
        ``behavioral``); the advice needs it to find the alerts of other thresholds.
    :ivar mrr: MRR on the day in the account's currency, or in the reporting
        currency if rates are configured; NaN if unknown.
    :ivar points: points of each signal, by signal, in the order of the rubric.
    :ivar baselines: other measures, by name; a lower value means a higher expected risk; NaN if unknown. The advice
        needs ``days_to_renewal``, the input itself: the number of days, negative if the renewal is overdue.
    :ivar dates: the dates of the grid that have observations, ascending.
    :ivar accounts: tenant and account id of each account.
    """

    day: NDArray[np.int64]
    account: NDArray[np.int64]
    churned: NDArray[np.bool_]
    score: NDArray[np.float64]
    rag: NDArray[np.int8]
    churn_risk: NDArray[np.int8]
    should_alert: NDArray[np.bool_]
    behavioural: NDArray[np.bool_]
    mrr: NDArray[np.float64]
    points: dict[str, NDArray[np.float64]]
    baselines: dict[str, NDArray[np.float64]]
    dates: tuple[date, ...]
    accounts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class LeadTime:
    """Alerts before the end of one churned spell.

    :ivar days: days from the start of the last uninterrupted run of alerting days to the end; None if never alerted.
    """

    tenant_id: str
    account_id: str
    ended_on: date
    days: int | None


@dataclass(frozen=True)
class GreenChurn:
    """A churned account whose last observation was GREEN.

    :ivar misleading: the signals with the largest share of their weight on that day, most misleading first.
    """

    tenant_id: str
    account_id: str
    account_name: str
    observed_on: date
    ended_on: date
    score: float
    mrr: float | None
    currency: str | None
    misleading: tuple[str, ...]


@dataclass(frozen=True)
class BacktestInput:
    """All that the figures of a backtest are computed from, and the counts of what was excluded.

    :ivar thresholds: the thresholds with which most accounts of the last date were scored; among proposals that are
        equally good, the advice takes the closest to them.
    :ivar tenant: the only tenant of the observations, None for all; the advice proposes a policy for it.
    :ivar segment: the only segment, None for all.
    """

    first_date: date
    last_date: date
    every: str
    lead_days: int
    horizon_days: int
    basis: str
    observations: Observations
    dead_zone: int
    censored: int
    lead_times: tuple[LeadTime, ...]
    green_churn: tuple[GreenChurn, ...]
    thresholds: Thresholds = field(default_factory=Thresholds)
    tenant: str | None = None
    segment: str | None = None
