"""All figures of a backtest: 19 measures of ``rows`` observations on 24 dates, and 2,000 resamples.

Each variant runs in a process of its own, so that its peak memory is its own. The floor is sorting the 19 measures
within their dates, which the ranks need in any case.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from datetime import date, timedelta

import numpy as np

from benchmarks.measure import Measure, peak_megabytes, timed
from csm_core.analysts.backtest.figures import backtest_figures
from csm_core.analysts.backtest.observations import BacktestInput, LeadTime, Observations
from csm_core.config import PROJECT_ROOT
from csm_core.rubric import RUBRIC
from csm_core.thresholds import Thresholds

BASELINES = (
    "days_to_renewal",
    "usage_trend",
    "invoice_payment_status",
    "mrr_change_90d",
    "score_without_renewal_and_payment",
    "pulse",
    "score_with_pulse",
)
DATES = 24
CHURN = 0.02


def run(rows: int) -> list[Measure]:
    """Measure the figures on two years of months."""
    return [_in_a_process(rows, way) for way in ("figures", "figures and advice")]


def observations(rows: int, dates: int = DATES) -> BacktestInput:
    """Made-up observations: a score, signals and baselines that say a little about churn."""
    source = np.random.default_rng(7)
    accounts = rows // dates
    count = accounts * dates
    day = np.repeat(np.arange(dates), accounts)
    churned = source.random(count) < CHURN
    signals = {one.name: np.floor(source.random(count) * (one.weight + 1)) for one in RUBRIC}
    score = np.clip(np.sum(list(signals.values()), axis=0) + source.normal(10, 8, count) - 6 * churned, 0, 100)
    baselines = {name: np.round(source.normal(100 - 20 * churned, 80)) for name in BASELINES}
    baselines["days_to_renewal"][source.random(count) < 0.1] = np.nan
    limits = Thresholds()
    rag = (score >= limits.amber_threshold).astype(np.int8) + (score >= limits.green_threshold).astype(np.int8)
    first = date(2024, 1, 31)
    given = Observations(
        day=day,
        account=np.tile(np.arange(accounts), dates),
        churned=churned,
        score=score,
        rag=rag,
        churn_risk=np.where(rag == 2, 0, np.where(rag == 1, 1, 2)).astype(np.int8),
        should_alert=rag == 0,
        behavioural=source.random(count) < 0.05,
        mrr=np.round(source.lognormal(6, 1, count), 2),
        points=signals,
        baselines=baselines,
        dates=tuple(first + timedelta(days=30 * number) for number in range(dates)),
        accounts=tuple(("default", f"account-{number:07}") for number in range(accounts)),
    )
    ends = tuple(LeadTime("default", f"account-{number:07}", first, number % 200) for number in range(accounts // 10))
    return BacktestInput(
        first_date=given.dates[0],
        last_date=given.dates[-1],
        every="month",
        lead_days=0,
        horizon_days=90,
        basis="as_known",
        observations=given,
        dead_zone=0,
        censored=0,
        lead_times=ends,
        green_churn=(),
    )


def measure(rows: int, way: str) -> Measure:
    """Measure one variant in this process."""
    given = observations(rows)
    values = [given.observations.score, *given.observations.points.values(), *given.observations.baselines.values()]
    floor = timed(lambda: [np.lexsort((one, given.observations.day)) for one in values])
    held = peak_megabytes()
    seconds = timed(lambda: backtest_figures(given, with_advice="advice" in way))
    return Measure("backtest", way, len(given.observations.day), seconds, seconds / floor, held, peak_megabytes())


def _in_a_process(rows: int, way: str) -> Measure:
    command = [sys.executable, "-m", "benchmarks.backtest", "--rows", str(rows), way]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, cwd=PROJECT_ROOT)
    return Measure(**json.loads(answer.stdout))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("way")
    parser.add_argument("--rows", type=int, required=True)
    options = parser.parse_args()
    print(json.dumps(asdict(measure(options.rows, options.way))))
