"""Advice: alerts of other thresholds as scoring gives them, a search checked one by one, a test on later dates."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
import yaml

from csm_core.analysts.backtest.advice import WINDOWS, alerts_with, best_thresholds
from csm_core.analysts.backtest.figures import backtest_figures
from csm_core.analysts.backtest.report_text import report_text
from csm_core.config import Policy
from csm_core.thresholds import Thresholds
from tests.analysts.backtest.made import NAN, Row, given_of

DATES = [date(2025, month, 28) for month in range(1, 13)]


def made(seed: int, *, informative: bool, accounts: int = 150) -> list[Row]:
    """Churn follows an upcoming renewal with a middling score, of which the default thresholds alert only a part."""
    source = np.random.default_rng(seed)
    rows: list[Row] = []
    for day in DATES:
        for number in range(accounts):
            score, renewal = float(source.uniform(20, 100)), float(source.integers(0, 365))
            likely = informative and 70 <= score < 85 and renewal <= 60
            churned = bool(source.random() < (0.8 if likely else 0.03))
            rows.append(
                Row(
                    day,
                    f"A{number:03}",
                    churned,
                    score,
                    renewal=NAN if source.random() < 0.1 else renewal,
                    behavioural=bool(source.random() < 0.1),
                )
            )
    return rows


@pytest.mark.parametrize(
    "thresholds", [Thresholds(), Thresholds(80, 20, 0), Thresholds(100, 0, 180), Thresholds(55.5, 54.5, 45)]
)
def test_alerts_equal_those_of_scoring_with_the_thresholds(thresholds):
    rows = made(1, informative=True, accounts=40)
    rows += [Row(date(2026, 1, 1), f"B{edge}", False, edge, renewal=60) for edge in (0.0, 40.0, 70.0, 100.0)]
    scored = given_of(rows, thresholds=thresholds).observations
    assert scored.should_alert.any()
    assert (alerts_with(given_of(rows).observations, thresholds) == scored.should_alert).all()


def test_the_search_finds_the_best_of_all_thresholds():
    observations = given_of(made(2, informative=True, accounts=30)).observations
    part = observations.day < 8
    found = best_thresholds(observations, part, Thresholds())
    budget = (observations.should_alert & part).sum()

    def churned_alerts(thresholds: Thresholds) -> int:
        alerts = alerts_with(observations, thresholds) & part
        return int((alerts & observations.churned).sum()) if alerts.sum() <= budget else -1

    best = max(
        churned_alerts(Thresholds(green, amber, window))
        for window in WINDOWS
        for amber in range(0, 100, 1)
        for green in range(amber + 1, 101, 1)
    )
    assert churned_alerts(found) == best > (observations.should_alert & part & observations.churned).sum()


def test_thresholds_that_alert_more_churned_accounts_are_proposed():
    given = replace(given_of(made(3, informative=True)), tenant="north", segment="o'hara: {x}")
    report = backtest_figures(given, with_advice=True)
    advice = report.advice
    assert advice.changes
    assert 0 < advice.interval.low <= advice.gain <= advice.interval.high
    assert advice.gain == pytest.approx((advice.after.churned - advice.before.churned) / advice.churned)
    (entry,) = yaml.safe_load(advice.policies_yaml)["policies"]
    assert (entry["tenant"], entry["segment"]) == ("north", "o'hara: {x}")
    assert Policy.model_validate(entry).green_threshold == entry["green_threshold"] > 70
    assert report.as_dict()["advice"]["policies"] == [entry]
    text = report_text(report)
    assert text.endswith(advice.policies_yaml.rstrip())
    assert f"alert, {100 * advice.gain:+.1f} percentage points (" in text


def test_outcomes_without_a_pattern_give_no_evidence():
    reasons = [
        backtest_figures(given_of(made(seed, informative=False)), with_advice=True, resamples=500).advice.reason
        for seed in range(5)
    ]
    assert all(reason and reason.startswith("no evidence for a change: ") for reason in reasons)


def test_later_dates_decide():
    rows = made(3, informative=True)
    chance = np.random.default_rng(9)
    # On the last third of the dates, the pattern is gone.
    changed = [replace(row, churned=bool(chance.random() < 0.05)) if row.day >= DATES[8] else row for row in rows]
    advice = backtest_figures(given_of(changed), with_advice=True).advice
    assert advice.proposed is not None
    assert advice.reason.startswith("no evidence for a change: on the last third of the dates")
    assert advice.policies == []


def test_without_the_option_there_is_no_advice():
    assert backtest_figures(given_of(made(3, informative=True, accounts=20))).as_dict()["advice"] is None
