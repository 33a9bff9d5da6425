"""Twenty-five observations worked out by hand: every figure of a backtest, with ties, unknown values and a return."""

import math
from datetime import date

import numpy as np
import pytest

from csm_core.analysts.backtest.figures import backtest_figures
from csm_core.analysts.backtest.intervals import resampled_weights
from csm_core.analysts.backtest.observations import GreenChurn, LeadTime
from tests.analysts.backtest.made import Row, given_of

JAN, FEB, MAR = date(2026, 1, 31), date(2026, 2, 28), date(2026, 3, 31)

# R churns after January, returns, and stays. The renewal of most is unknown.
ROWS = [
    Row(JAN, "A1", True, 20, renewal=90, behavioural=True, mrr=100),
    Row(JAN, "A2", True, 30, mrr=200),
    Row(JAN, "A3", True, 30),
    Row(JAN, "R", True, 50, mrr=300),
    Row(JAN, "S1", False, 30, renewal=200),
    Row(JAN, "S2", False, 40, renewal=30),
    Row(JAN, "S3", False, 50),
    Row(JAN, "S4", False, 70),
    Row(JAN, "S5", False, 80),
    Row(FEB, "B1", True, 10, mrr=400),
    Row(FEB, "B2", True, 60, renewal=60, mrr=100),
    Row(FEB, "B3", True, 60, mrr=500),
    Row(FEB, "S1", False, 35),
    Row(FEB, "S2", False, 45),
    Row(FEB, "S3", False, 60, renewal=60.5, mrr=7),
    Row(FEB, "S4", False, 75),
    Row(FEB, "S5", False, 85),
    Row(MAR, "C1", True, 25, renewal=10, mrr=50),
    Row(MAR, "C2", True, 45, renewal=-5, behavioural=True, mrr=150),
    Row(MAR, "C3", True, 72, renewal=20, mrr=1000),
    Row(MAR, "R", False, 55),
    Row(MAR, "S1", False, 45),
    Row(MAR, "S2", False, 50),
    Row(MAR, "S4", False, 75, renewal=15),
    Row(MAR, "S5", False, 90, behavioural=True),
]
ENDS = {"A1": 10, "A2": 20, "A3": 30, "R": None, "B1": 40, "B2": 50, "B3": None, "C1": 60, "C2": 70, "C3": None}
GREEN = GreenChurn(
    "default", "C3", "Company C3", MAR, date(2026, 5, 1), 72.0, 1000.0, "EUR", ("usage_trend", "nps_score")
)


@pytest.fixture(scope="module")
def given():
    return given_of(
        ROWS,
        lead_times=[LeadTime("default", account, date(2026, 5, 1), days) for account, days in ENDS.items()],
        green_churn=[GREEN],
        dead_zone=2,
        censored=3,
    )


@pytest.fixture(scope="module")
def report(given):
    return backtest_figures(given, with_advice=True).as_dict()


def test_what_was_observed(report):
    names = (
        "basis, first_date, last_date, every, lead_days, horizon_days, dates, observations, accounts, "
        "churned_accounts, churned_observations, dead_zone, censored"
    )
    assert {name: report[name] for name in names.split(", ")} == {
        "basis": "as_known",
        "first_date": "2026-01-31",
        "last_date": "2026-03-31",
        "every": "month",
        "lead_days": 0,
        "horizon_days": 90,
        "dates": 3,
        "observations": 25,
        "accounts": 15,
        "churned_accounts": 10,
        "churned_observations": 10,
        "dead_zone": 2,
        "censored": 3,
    }


def test_auc_within_date(report):
    # January: 5 + 4.5 + 4.5 + 2.5 of 20; February: 5 + 2.5 + 2.5 of 15; March: 5 + 4.5 + 2 of 15.
    assert (report["auc"]["value"], report["auc"]["pairs"]) == (38 / 50, 50)


def test_the_interval_is_that_of_resampled_accounts(given, report):
    names = sorted({row.account for row in ROWS})
    pairs = [
        (
            names.index(one.account),
            names.index(other.account),
            1.0 if one.score < other.score else 0.5 if one.score == other.score else 0.0,
        )
        for one in ROWS
        for other in ROWS
        if one.day == other.day and one.churned and not other.churned
    ]
    resampled = []
    for weights in np.concatenate(list(resampled_weights(len(names), 2000, 7))).tolist():
        total = sum(weights[one] * weights[other] for one, other, _ in pairs)
        if total:
            resampled.append(sum(weights[one] * weights[other] * win for one, other, win in pairs) / total)
    low, high = np.percentile(resampled, (2.5, 97.5))
    assert (report["auc"]["low"], report["auc"]["high"]) == pytest.approx((low, high), abs=1e-12)
    assert report["auc"]["low"] < 0.5 < 0.76 < report["auc"]["high"]


def test_signals_and_baselines(report):
    assert [(one["name"], one["auc"]) for one in report["signals"]] == [
        ("feature_adoption_rate", 38 / 50),
        # All have the same points, so each pair is half a win.
        ("usage_trend", 0.5),
    ]
    # Known renewals: A1 90 against 200 and 30; B2 60 against 60.5; C1 10, C2 -5 and C3 20 against 15.
    assert [(one["name"], one["auc"]) for one in report["baselines"]] == [("days_to_renewal", (1 + 1 + 2) / 6)]


def test_lift(report):
    # At 10 %, 0.9 + 0.8 + 0.8 churned of 1. At 20 %, the cut of January takes 0.8 of three equal scores, two churned;
    # that of March 0.6 of two, one churned: 1 + 1.6 / 3, 1 and 1 + 0.3 churned of 2.
    assert report["lift"] == pytest.approx({"10": 2.5, "20": 23 / 12}, abs=1e-15)


def test_bands_and_risk_levels(report):
    columns = ("observations", "accounts", "churned", "rate")
    assert {one["rag"]: tuple(one[name] for name in columns) for one in report["bands"]} == {
        "GREEN": (7, 3, 1, 1 / 7),
        "AMBER": (11, 7, 4, 4 / 11),
        "RED": (7, 6, 5, 5 / 7),
    }
    assert {one["churn_risk_level"]: tuple(one[name] for name in columns) for one in report["risk_levels"]} == {
        "low": (6, 3, 1, 1 / 6),
        "medium": (14, 9, 5, 5 / 14),
        "high": (3, 3, 2, 2 / 3),
        "critical": (2, 2, 2, 1.0),
    }
    assert (report["bands_ordered"], report["risk_levels_ordered"]) == (True, True)


def test_ten_churned_accounts_say_little(report):
    assert report["notes"] == ["The score is no better than chance: the interval of its AUC contains 0.5."]


def test_limits_of_rates_are_those_of_wilson(report):
    z = 1.959963984540054
    for one in (*report["bands"], *report["risk_levels"], *report["calibration"]):
        # The limits are the rates from which the observed rate deviates by z standard errors.
        for limit in (one["low"], one["high"]):
            expected = z * math.sqrt(limit * (1 - limit) / one["observations"])
            assert abs(one["rate"] - limit) == pytest.approx(expected, abs=1e-12)
        assert one["low"] <= one["rate"] <= one["high"]
        assert one["low"] < one["high"]


def test_alerts(report):
    # All seven RED; S2 and B2 with a renewal near, C2 with both triggers. MRR of A3 is unknown.
    assert report["alerts"] == {
        "observations": 10,
        "churned": 7,
        "precision": 0.7,
        "recall": 0.7,
        "recall_by_mrr": 1000 / 2800,
        "per_100_accounts_and_month": 40.0,
    }


def test_lead_time(report):
    assert report["lead_time"] == {
        "spells": 10,
        "lower_quartile": 25.0,
        "median": 40.0,
        "upper_quartile": 55.0,
        "never_alerted": 0.3,
    }


def test_green_churn(report):
    assert report["green_churn"] == [
        {
            "tenant_id": "default",
            "account_id": "C3",
            "account_name": "Company C3",
            "observed_on": "2026-03-31",
            "ended_on": "2026-05-01",
            "score": 72.0,
            "mrr": 1000.0,
            "currency": "EUR",
            "misleading": ["usage_trend", "nps_score"],
        }
    ]


def test_calibration(report):
    columns = ("decile", "lowest_score", "highest_score", "observations", "churned")
    assert [tuple(one[name] for name in columns) for one in report["calibration"]] == [
        (1, 10, 25, 3, 3),
        (2, 30, 30, 3, 2),
        (3, 35, 40, 2, 0),
        (4, 45, 45, 3, 1),
        (5, 50, 50, 3, 1),
        (6, 55, 55, 1, 0),
        (7, 60, 60, 3, 2),
        (8, 70, 72, 2, 1),
        (9, 75, 80, 3, 0),
        (10, 85, 90, 2, 0),
    ]


def test_three_dates_are_too_few_for_advice(report):
    assert report["advice"]["reason"] == (
        "no evidence for a change: on the first two thirds of the dates, 7 accounts churned, and at least 10 are needed"
    )
    assert report["advice"]["policies"] == []
