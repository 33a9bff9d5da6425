"""The figures of a backtest: how well scores, signals and simple measures predict churn, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from csm_core.analysts.backtest.advice import Advice, advise
from csm_core.analysts.backtest.alerts import AlertFigures, LeadTimeFigures, alert_figures, lead_time_figures
from csm_core.analysts.backtest.churn_rates import ChurnRate, Decile, are_ordered, calibration, churn_rates
from csm_core.analysts.backtest.intervals import EXACT_CELLS, Interval, auc_intervals
from csm_core.analysts.backtest.lift import PERCENTS, lift
from csm_core.analysts.backtest.observations import BacktestInput, GreenChurn, Observations
from csm_core.analysts.backtest.pulse_coverage import PulseCoverage, pulse_coverage
from csm_core.analysts.backtest.ranks import Outcomes, pair_counts
from csm_core.rubric import CHURN_RISKS, RAGS
from csm_core.system.text_table import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_CHURNED_ACCOUNTS = 10
"""With fewer churned accounts there is no AUC and no lift: their intervals would say nothing."""

CHANCE = 0.5
"""The AUC of a measure without information."""


@dataclass(frozen=True)
class MeasureAuc:
    """The AUC within date of one measure, and the number of its pairs; no AUC without pairs."""

    name: str
    auc: float | None
    interval: Interval | None
    pairs: int

    @property
    def no_better_than_chance(self) -> bool:
        """Whether the interval contains 0.5."""
        return self.interval is not None and self.interval.contains(CHANCE)

    def as_dict(self) -> dict[str, object]:
        """Return the columns of the report."""
        return {
            "name": self.name,
            "auc": self.auc,
            "low": self.interval.low if self.interval else None,
            "high": self.interval.high if self.interval else None,
        }


@dataclass(frozen=True)
class BacktestFigures:
    """All figures of a backtest.

    :ivar given: what the figures were computed from.
    :ivar accounts: accounts with an observation.
    :ivar churned_accounts: accounts with a churned observation.
    :ivar auc: of the score; None with too few churned accounts, or without pairs.
    :ivar lifts: the lift by percent of each date; empty with too few churned accounts.
    :ivar bands: the churn rate of each band, best first.
    :ivar risk_levels: the churn rate of each level of churn risk, mildest first.
    :ivar advice: None if not asked for.
    """

    given: BacktestInput
    accounts: int
    churned_accounts: int
    churned_observations: int
    auc: MeasureAuc | None
    lifts: Mapping[int, float]
    bands: tuple[ChurnRate, ...]
    risk_levels: tuple[ChurnRate, ...]
    alerts: AlertFigures
    lead_time: LeadTimeFigures
    baselines: tuple[MeasureAuc, ...]
    signals: tuple[MeasureAuc, ...]
    green_churn: tuple[GreenChurn, ...]
    calibration: tuple[Decile, ...]
    advice: Advice | None

    @property
    def enough_churned_accounts(self) -> bool:
        """Whether enough accounts churned for an AUC and a lift."""
        return self.churned_accounts >= MIN_CHURNED_ACCOUNTS

    @property
    def bands_ordered(self) -> bool:
        """Whether no band has a lower churn rate than a better one."""
        return are_ordered(self.bands)

    @property
    def risk_levels_ordered(self) -> bool:
        """Whether no level of churn risk has a lower churn rate than a milder one."""
        return are_ordered(self.risk_levels)

    @property
    def pulse_coverage(self) -> PulseCoverage:
        """How many observations have a pulse."""
        return pulse_coverage(self.given.observations)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know before the figures, as sentences."""
        return tuple(_notes(self))

    def as_dict(self) -> dict[str, object]:
        """Return the report as values of JSON."""
        auc = self.auc
        return {
            "basis": self.given.basis,
            "first_date": self.given.first_date.isoformat(),
            "last_date": self.given.last_date.isoformat(),
            "every": self.given.every,
            "lead_days": self.given.lead_days,
            "horizon_days": self.given.horizon_days,
            "dates": len(self.given.observations.dates),
            "observations": len(self.given.observations.day),
            "accounts": self.accounts,
            "churned_accounts": self.churned_accounts,
            "churned_observations": self.churned_observations,
            "dead_zone": self.given.dead_zone,
            "censored": self.given.censored,
            "auc": auc
            and {
                "value": auc.auc,
                "low": auc.interval.low if auc.interval else None,
                "high": auc.interval.high if auc.interval else None,
                "pairs": auc.pairs,
            },
            "lift": {str(percent): value for percent, value in self.lifts.items()} or None,
            "bands": [one.as_dict("rag") for one in self.bands],
            "bands_ordered": self.bands_ordered,
            "risk_levels": [one.as_dict("churn_risk_level") for one in self.risk_levels],
            "risk_levels_ordered": self.risk_levels_ordered,
            "alerts": self.alerts.as_dict(),
            "lead_time": self.lead_time.as_dict(),
            "baselines": [one.as_dict() for one in self.baselines],
            "pulse": self.pulse_coverage.as_dict(),
            "signals": [one.as_dict() for one in self.signals],
            "green_churn": [_green_churn_dict(one) for one in self.green_churn],
            "calibration": [one.as_dict() for one in self.calibration],
            "advice": self.advice.as_dict() if self.advice else None,
            "notes": list(self.notes),
        }


def backtest_figures(
    given: BacktestInput,
    *,
    resamples: int = 2000,
    seed: int = 7,
    with_advice: bool = False,
    exact_cells: int = EXACT_CELLS,
) -> BacktestFigures:
    """Return the figures of a backtest. Equal observations give equal figures, in any order of rows.

    :param resamples: resamples of the bootstrap over accounts.
    :param with_advice: whether to search for better thresholds.
    :param exact_cells: see ``csm_core.analysts.backtest.intervals.auc_intervals``.
    """
    observations = given.observations
    outcomes = outcomes_of(observations)
    churned_accounts = len(np.unique(outcomes.account[outcomes.churned]))
    enough = churned_accounts >= MIN_CHURNED_ACCOUNTS
    measures = {"score": observations.score, **_prefixed("baseline", observations.baselines)}
    measures |= _prefixed("signal", observations.points)
    aucs = (
        _aucs(outcomes, measures, resamples=resamples, seed=seed, exact_cells=exact_cells)
        if enough
        else {name: MeasureAuc(name, None, None, 0) for name in measures}
    )
    lifts = {percent: lift(observations.day, observations.score, observations.churned, percent) for percent in PERCENTS}
    # Codes of bands are worst first, the report is best first.
    bands = churn_rates(RAGS[::-1], observations.rag, outcomes.account, outcomes.churned)[::-1]
    return BacktestFigures(
        given=given,
        accounts=outcomes.accounts,
        churned_accounts=churned_accounts,
        churned_observations=int(outcomes.churned.sum()),
        auc=aucs["score"] if aucs["score"].auc is not None else None,
        lifts={percent: value for percent, value in lifts.items() if enough and value is not None},
        bands=bands,
        risk_levels=churn_rates(CHURN_RISKS, observations.churn_risk, outcomes.account, outcomes.churned),
        alerts=alert_figures(observations),
        lead_time=lead_time_figures(given.lead_times),
        baselines=tuple(_named(aucs[f"baseline {name}"], name) for name in observations.baselines),
        signals=tuple(_named(aucs[f"signal {name}"], name) for name in observations.points),
        green_churn=given.green_churn,
        calibration=calibration(observations.score, observations.churned),
        advice=advise(given, outcomes, resamples=resamples, seed=seed) if with_advice else None,
    )


def outcomes_of(observations: Observations) -> Outcomes:
    """Return the outcomes, with the accounts that have observations numbered by tenant and account id."""
    present = np.unique(observations.account)
    ordered = sorted(present.tolist(), key=observations.accounts.__getitem__)
    number = np.zeros(len(observations.accounts), dtype=np.int64)
    number[np.array(ordered, dtype=np.int64)] = np.arange(len(ordered))
    return Outcomes(observations.day, number[observations.account], observations.churned, len(ordered))


def _aucs(
    outcomes: Outcomes, measures: Mapping[str, NDArray[np.float64]], *, resamples: int, seed: int, exact_cells: int
) -> dict[str, MeasureAuc]:
    counts = [pair_counts(outcomes, values) for values in measures.values()]
    intervals = auc_intervals(
        outcomes, list(measures.values()), counts, resamples=resamples, seed=seed, exact_cells=exact_cells
    )
    return {
        name: MeasureAuc(name, count.auc, interval if count.pairs else None, count.pairs)
        for name, count, interval in zip(measures, counts, intervals, strict=True)
    }


def _prefixed(kind: str, measures: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    # A signal and a baseline may have the same name.
    return {f"{kind} {name}": values for name, values in measures.items()}


def _named(auc: MeasureAuc, name: str) -> MeasureAuc:
    return MeasureAuc(name, auc.auc, auc.interval, auc.pairs)


def _green_churn_dict(one: GreenChurn) -> dict[str, object]:
    return {
        "tenant_id": one.tenant_id,
        "account_id": one.account_id,
        "account_name": one.account_name,
        "observed_on": one.observed_on.isoformat(),
        "ended_on": one.ended_on.isoformat(),
        "score": one.score,
        "mrr": one.mrr,
        "currency": one.currency,
        "misleading": list(one.misleading),
    }


def _notes(figures: BacktestFigures) -> Iterator[str]:
    auc = figures.auc
    if not figures.enough_churned_accounts:
        yield (
            f"{counted(figures.churned_accounts, 'account')} churned. With fewer than {MIN_CHURNED_ACCOUNTS} churned "
            "accounts there is no AUC and no lift."
        )
    elif auc is None:
        yield "On no date is there a churned and a stayed account, so there is no AUC."
    elif auc.no_better_than_chance:
        yield "The score is no better than chance: the interval of its AUC contains 0.5."
    elif auc.interval and auc.interval.high < CHANCE:
        yield "The score is worse than chance: churned accounts had higher scores than accounts that stayed."
    if not figures.bands_ordered:
        yield "The churn rates of the bands are not ordered: a better band has a higher rate than a worse one."
    if not figures.risk_levels_ordered:
        yield "The churn rates of the churn risks are not ordered: a milder level has a higher rate than a worse one."
