"""Searches for thresholds that alert more churned accounts without more alerts, and tests them on later dates.

The search uses the first two thirds of the dates, the test the last third. Among all thresholds of the search with at
most as many alerts as now, it takes those that alert on the most churned observations. They are proposed only if on
the last third, too, they alert on more churned observations (the 95 % interval of the gain is above 0), with no more
than 5 % more alerts. Weights are not searched: with few churned accounts they would follow chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import yaml

from csm_core.analysts.backtest.intervals import Interval, ratio_interval
from csm_core.analysts.backtest.observations import BacktestInput, Observations
from csm_core.analysts.backtest.ranks import Outcomes, sums_by_account
from csm_core.thresholds import Thresholds

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOWS = (0, 30, 45, 60, 75, 90, 120, 180)
"""The churn windows of the search, in days; the current one is added."""

MIN_CHURNED = 10
"""Churned accounts that the search and the test need."""

MAX_ALERT_GROWTH = 1.05
"""On the last third, the proposal may have this multiple of today's alerts: a day's alerts vary by chance."""

NO_EVIDENCE = "no evidence for a change"

_LEVELS = 101  # scores are compared with the integer thresholds 0 to 100


@dataclass(frozen=True)
class Alerts:
    """Alerts on some dates: observations that alert, and the churned ones among them."""

    observations: int
    churned: int


@dataclass(frozen=True)
class Advice:
    """What the search found.

    :ivar reason: why there is no proposal, None if there is one.
    :ivar proposed: the thresholds of the search; also given if the test does not confirm them.
    :ivar before: the alerts on the last third with the thresholds in effect, ``after`` with the proposed ones.
    :ivar churned: churned observations of the last third.
    :ivar gain: the difference of the recall: churned observations that alert by all churned ones.
    :ivar tenant: the tenant of the proposed policy, None for all.
    :ivar segment: the segment, None for all.
    """

    reason: str | None
    proposed: Thresholds | None = None
    before: Alerts | None = None
    after: Alerts | None = None
    churned: int = 0
    gain: float | None = None
    interval: Interval | None = None
    tenant: str | None = None
    segment: str | None = None

    @property
    def changes(self) -> bool:
        """Whether a change is proposed."""
        return self.reason is None

    @property
    def policies(self) -> list[dict[str, str | float | int]]:
        """The proposed entry of ``policies``; empty without a proposal."""
        if self.proposed is None or not self.changes:
            return []
        entry: dict[str, str | float | int] = {}
        if self.tenant is not None:
            entry["tenant"] = self.tenant
        if self.segment is not None:
            entry["segment"] = self.segment
        entry["green_threshold"] = self.proposed.green_threshold
        entry["amber_threshold"] = self.proposed.amber_threshold
        entry["churn_window_days"] = self.proposed.churn_window_days
        return [entry]

    @property
    def policies_yaml(self) -> str:
        """The proposed entry as a block of ``csm.yaml``; empty without a proposal."""
        if not self.policies:
            return ""
        return yaml.safe_dump({"policies": self.policies}, sort_keys=False, default_flow_style=None, width=1000)

    def as_dict(self) -> dict[str, object]:
        """Return the values of the report."""
        return {
            "change": self.changes,
            "reason": self.reason,
            "gain": self.gain,
            "low": self.interval.low if self.interval else None,
            "high": self.interval.high if self.interval else None,
            "churned_observations": self.churned,
            "alerts_now": _alerts_dict(self.before),
            "alerts_proposed": _alerts_dict(self.after),
            "policies": self.policies,
        }


def advise(given: BacktestInput, outcomes: Outcomes, *, resamples: int, seed: int) -> Advice:
    """Search for thresholds and test them.

    :param outcomes: the outcomes of the observations, with the accounts numbered for the bootstrap.
    """
    observations = given.observations
    dates = len(observations.dates)
    search = observations.day < dates - dates // 3
    for name, part in (("first two thirds", search), ("last third", ~search)):
        churned_accounts = len(np.unique(outcomes.account[part & outcomes.churned]))
        if churned_accounts < MIN_CHURNED:
            return Advice(
                f"{NO_EVIDENCE}: on the {name} of the dates, {churned_accounts} accounts churned, and at least "
                f"{MIN_CHURNED} are needed"
            )
    proposed = best_thresholds(observations, search, given.thresholds)
    if proposed is None:
        return Advice(
            f"{NO_EVIDENCE}: on the first two thirds of the dates, no thresholds alert on more churned accounts "
            "without more alerts"
        )
    return _tested(given, outcomes, ~search, proposed, resamples=resamples, seed=seed)


def alerts_with(observations: Observations, thresholds: Thresholds) -> NDArray[np.bool_]:
    """Return which observations would alert with other thresholds.

    An alert is RED, or a churn risk of high or critical (docs/scoring.md). AMBER has such a risk if a trigger applies,
    and GREEN never has one.
    """
    red = observations.score < thresholds.amber_threshold
    not_green = observations.score < thresholds.green_threshold
    return red | (not_green & _triggered(observations, thresholds.churn_window_days))


def best_thresholds(observations: Observations, part: NDArray[np.bool_], current: Thresholds) -> Thresholds | None:
    """Return the thresholds that alert on the most churned observations with no more alerts than now.

    Among equals: the fewest alerts, then the closest to the current thresholds, then the lowest. None if none alerts
    on more churned observations than now.
    """
    level = np.clip(np.floor(observations.score), 0, _LEVELS - 1).astype(np.int64)
    churned = observations.churned & part
    now = Alerts(int((observations.should_alert & part).sum()), int((observations.should_alert & churned).sum()))
    amber, green = np.triu_indices(_LEVELS, 1)
    best: tuple[tuple[float, ...], Thresholds] | None = None
    for window in sorted({*WINDOWS, current.churn_window_days}):
        triggered = _triggered(observations, window)
        alerts, found = (
            _below(level, rows)[amber] + _below(level, rows & triggered)[green] - _below(level, rows & triggered)[amber]
            for rows in (part, churned)
        )
        allowed = np.flatnonzero((alerts <= now.observations) & (found > now.churned))
        if not len(allowed):
            continue
        distance = np.abs(green - current.green_threshold) + np.abs(amber - current.amber_threshold)
        order = np.lexsort((green[allowed], amber[allowed], distance[allowed], alerts[allowed], -found[allowed]))
        chosen = allowed[order[0]]
        thresholds = Thresholds(int(green[chosen]), int(amber[chosen]), window)
        rank = (
            -float(found[chosen]),
            float(alerts[chosen]),
            float(distance[chosen]),
            abs(window - current.churn_window_days),
            window,
        )
        if best is None or rank < best[0]:
            best = rank, thresholds
    return best[1] if best else None


def _tested(
    given: BacktestInput,
    outcomes: Outcomes,
    part: NDArray[np.bool_],
    proposed: Thresholds,
    *,
    resamples: int,
    seed: int,
) -> Advice:
    before, after = given.observations.should_alert & part, alerts_with(given.observations, proposed) & part
    churned = outcomes.churned & part
    more = (after & churned).astype(np.float64) - (before & churned)
    total = int(churned.sum())
    interval = ratio_interval(
        sums_by_account(outcomes, more),
        sums_by_account(outcomes, churned.astype(np.float64)),
        resamples=resamples,
        seed=seed,
    )
    reason = None
    if interval is None or interval.low <= 0:
        reason = f"{NO_EVIDENCE}: on the last third of the dates, the gain may be chance"
    elif int(after.sum()) > MAX_ALERT_GROWTH * int(before.sum()):
        reason = f"{NO_EVIDENCE}: on the last third of the dates, the gain needs more alerts than now"
    return Advice(
        reason,
        proposed=proposed,
        before=Alerts(int(before.sum()), int((before & churned).sum())),
        after=Alerts(int(after.sum()), int((after & churned).sum())),
        churned=total,
        gain=float(more.sum()) / total,
        interval=interval,
        tenant=given.tenant,
        segment=given.segment,
    )


def _triggered(observations: Observations, window: int) -> NDArray[np.bool_]:
    # An unknown renewal is NaN, which is not at most any window.
    return observations.behavioural | (observations.baselines["days_to_renewal"] <= window)


def _below(level: NDArray[np.int64], rows: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return, for each integer threshold, the number of the rows with a lower score."""
    counts = np.bincount(level[rows], minlength=_LEVELS)
    return np.concatenate(([0], np.cumsum(counts)[:-1]))


def _alerts_dict(alerts: Alerts | None) -> dict[str, int] | None:
    return {"observations": alerts.observations, "churned": alerts.churned} if alerts else None
