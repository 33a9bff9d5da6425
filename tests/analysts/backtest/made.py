"""Makes the observations of a backtest: from rows written down, and simulated portfolios with a known AUC."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from statistics import NormalDist

import numpy as np

from csm_core.analysts.backtest.observations import BacktestInput, GreenChurn, LeadTime, Observations
from csm_core.rubric import CHURN_RISKS, CHURN_RULES, RAGS
from csm_core.thresholds import Thresholds

NAN = float("nan")


@dataclass(frozen=True)
class Row:
    """One observation; band, churn risk and alert follow from the score and the triggers."""

    day: date
    account: str
    churned: bool
    score: float
    renewal: float = NAN
    behavioural: bool = False
    mrr: float = NAN
    trend: float = 10


def rag_of(score: float, thresholds: Thresholds) -> str:
    return "GREEN" if score >= thresholds.green_threshold else "AMBER" if score >= thresholds.amber_threshold else "RED"


def risk_of(row: Row, thresholds: Thresholds) -> str:
    rag = rag_of(row.score, thresholds)
    contract = rag != "GREEN" and row.renewal <= thresholds.churn_window_days
    rule = next(one for one in CHURN_RULES if (one.contract, one.behavioural) == (contract, row.behavioural))
    return dict(rule.risks)[rag]


def given_of(
    rows: Sequence[Row],
    *,
    lead_times: Sequence[LeadTime] = (),
    green_churn: Sequence[GreenChurn] = (),
    thresholds: Thresholds | None = None,
    dead_zone: int = 0,
    censored: int = 0,
) -> BacktestInput:
    """The rows in columns, in their order."""
    thresholds = thresholds or Thresholds()
    dates = tuple(sorted({row.day for row in rows}))
    accounts = tuple(sorted({("default", row.account) for row in rows}))
    rags = [rag_of(row.score, thresholds) for row in rows]
    risks = [risk_of(row, thresholds) for row in rows]
    score = np.array([row.score for row in rows], dtype=np.float64)
    observations = Observations(
        day=np.array([dates.index(row.day) for row in rows], dtype=np.int64),
        account=np.array([accounts.index(("default", row.account)) for row in rows], dtype=np.int64),
        churned=np.array([row.churned for row in rows], dtype=np.bool_),
        score=score,
        rag=np.array([RAGS[::-1].index(rag) for rag in rags], dtype=np.int8),
        churn_risk=np.array([CHURN_RISKS.index(risk) for risk in risks], dtype=np.int8),
        should_alert=np.array(
            [rag == "RED" or risk in ("high", "critical") for rag, risk in zip(rags, risks, strict=True)],
            dtype=np.bool_,
        ),
        behavioural=np.array([row.behavioural for row in rows], dtype=np.bool_),
        mrr=np.array([row.mrr for row in rows], dtype=np.float64),
        points={
            "feature_adoption_rate": score / 5,
            "usage_trend": np.array([row.trend for row in rows], dtype=np.float64),
        },
        baselines={"days_to_renewal": np.array([row.renewal for row in rows], dtype=np.float64)},
        dates=dates,
        accounts=accounts,
    )
    return BacktestInput(
        first_date=dates[0] if dates else date(2026, 1, 31),
        last_date=dates[-1] if dates else date(2026, 1, 31),
        every="month",
        lead_days=0,
        horizon_days=90,
        basis="as_known",
        observations=observations,
        dead_zone=dead_zone,
        censored=censored,
        lead_times=tuple(lead_times),
        green_churn=tuple(green_churn),
        thresholds=thresholds,
    )


def portfolio(
    source: np.random.Generator, auc: float, *, accounts: int = 250, dates: int = 12, churn: float = 0.02
) -> BacktestInput:
    """A portfolio whose score has a known AUC within each date.

    Scores are normal within a date, and those of churned accounts lower by the distance that gives the AUC. The scores
    of an account are correlated over time. Level and churn differ between dates. An account leaves after it churned.
    """
    distance = NormalDist().inv_cdf(auc) * 2**0.5
    trait = source.normal(size=accounts) * 0.8
    rows = trait[:, None] + source.normal(size=(accounts, dates)) * 0.6
    churned = source.random((accounts, dates)) < churn * np.linspace(0.5, 1.5, dates)
    rows = rows - distance * churned + np.linspace(0, 1, dates)
    present = np.cumsum(churned, axis=1) - churned == 0
    account, day = np.nonzero(present)
    return columns(day, account, churned[present], 50 + 8 * rows[present])


def columns(day: np.ndarray, account: np.ndarray, churned: np.ndarray, score: np.ndarray) -> BacktestInput:
    """Observations on the last days of months, with no other measure than the score."""
    order = np.lexsort((account, day))
    day, account, churned, score = day[order], account[order], churned[order], np.clip(score[order], 0, 100)
    rag = (score >= 40).astype(np.int8) + (score >= 70).astype(np.int8)
    count = len(day)
    base = given_of([])
    return replace(
        base,
        observations=Observations(
            day=day.astype(np.int64),
            account=account.astype(np.int64),
            churned=churned,
            score=score,
            rag=rag,
            churn_risk=np.where(rag == 2, 0, 1).astype(np.int8),
            should_alert=rag == 0,
            behavioural=np.zeros(count, dtype=np.bool_),
            mrr=np.full(count, NAN),
            points={},
            baselines={"days_to_renewal": np.full(count, NAN)},
            dates=tuple(_month_end(number) for number in range(int(day.max()) + 1 if count else 0)),
            accounts=tuple(("default", f"A{number:07}") for number in range(int(account.max()) + 1 if count else 0)),
        ),
    )


def _month_end(number: int) -> date:
    return date(2024 + (number + 1) // 12, (number + 1) % 12 + 1, 1) - timedelta(days=1)
