"""The scalar scorer against the rules written out by hand: boundaries, pairs, nulls, policies, refusals."""

import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csm_core.errors import InputError, SignalError
from csm_core.health_scorer import CSMHealthScorer
from csm_core.rubric import FIELDS, RAGS
from csm_core.schemas import CSMHealthSignals
from csm_core.vectorized_scorer import VectorizedCSMHealthScorer
from tests.examples import examples
from tests.scoring_cases import (
    BEST,
    POLICIES,
    ROWS,
    WORST,
    bits,
    boundary_rows,
    expected,
    null_rows,
    pair_rows,
    same,
    scalar,
)


def differing(rows: list[dict[str, Any]], **policy: Any) -> list[tuple[Any, Any, Any]]:
    """The first rows whose score is not the expected one, with both."""
    compared = ((row, scalar(row, **policy), expected(row, **policy)) for row in rows)
    return [(row, found, wanted) for row, found, wanted in compared if not same(found, wanted)][:3]


@pytest.mark.parametrize(
    ("row", "raw", "score", "rag", "risk", "trigger", "alert"),
    [
        (BEST, 98.0, 98.0, "GREEN", "low", None, False),
        ({**BEST, "tam_health_rag": "RED"}, 98.0, 83.3, "GREEN", "low", None, False),
        (WORST, 8.0, 8.0, "RED", "critical", "both", True),
    ],
)
def test_worked_examples(row, raw, score, rag, risk, trigger, alert):
    found = CSMHealthScorer().score(CSMHealthSignals(**row), "A")
    assert (found.account_id, found.raw_score, found.score, found.rag) == ("A", raw, score, rag)
    assert (found.churn_risk_level, found.churn_triggered_by, found.should_alert) == (risk, trigger, alert)
    assert found.computed_at.utcoffset().total_seconds() == 0


def test_worked_example_of_defaults():
    signals = CSMHealthSignals(
        feature_adoption_rate=0.5,
        usage_trend="stable",
        invoice_payment_status="current",
        stakeholder_engagement="medium",
        seats_utilization_rate=0.7,
        tam_health_rag="RED",
    )
    found = CSMHealthScorer().score(signals)
    assert (found.raw_score, found.score, found.rag) == (64.0, 54.4, "AMBER")
    assert (found.churn_risk_level, found.churn_triggered_by, found.should_alert) == ("medium", None, False)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_boundary_of_every_signal(policy):
    assert differing(boundary_rows(), **policy) == []


def test_every_pair_of_boundaries():
    assert differing(pair_rows()) == []


@pytest.mark.parametrize("policy", POLICIES)
def test_every_pattern_of_nulls(policy):
    assert differing(null_rows(), **policy) == []


@settings(max_examples=examples(150), deadline=None)
@given(row=ROWS, amber=st.floats(0, 60), gap=st.floats(0.5, 39), window=st.integers(0, 400))
def test_any_row_under_any_policy(row, amber, gap, window):
    assert differing([row], green_threshold=amber + gap, amber_threshold=amber, churn_window_days=window) == []


@pytest.mark.parametrize("green", [98.0, 83.3])
def test_the_edge_of_a_band_belongs_to_the_better_one(green):
    row = {**BEST, "tam_health_rag": "RED"} if green == 83.3 else BEST
    assert scalar(row, green_threshold=green)["rag"] == "GREEN"
    assert scalar(row, green_threshold=math.nextafter(green, 100))["rag"] == "AMBER"
    assert scalar(WORST, amber_threshold=8.0)["rag"] == "AMBER"
    assert scalar(WORST, amber_threshold=math.nextafter(8.0, 100))["rag"] == "RED"


@settings(max_examples=examples(200), deadline=None)
@given(row=ROWS, data=st.data())
def test_the_score_never_falls_when_adoption_rises(row, data):
    more = data.draw(st.floats(row["feature_adoption_rate"], 1.0))
    assert scalar({**row, "feature_adoption_rate": more})["score"] >= scalar(row)["score"]


def test_the_sum_rounds_once():
    row = {**BEST, "feature_adoption_rate": 1 / 3}
    assert bits(scalar(row)["raw_score"]) == bits(20.0 * (1 / 3) + 80)


@pytest.mark.parametrize(
    "policy",
    [
        {"green_threshold": 40.0},
        {"amber_threshold": 70.0},
        {"amber_threshold": 80.0},
        {"green_threshold": 100.5},
        {"amber_threshold": -1.0},
        {"green_threshold": math.nan},
        {"green_threshold": "70"},
        {"green_threshold": True},
        {"churn_window_days": -1},
        {"churn_window_days": 1.5},
        {"churn_window_days": True},
    ],
)
@pytest.mark.parametrize("scorer", [CSMHealthScorer, VectorizedCSMHealthScorer])
def test_a_policy_that_makes_no_sense_is_refused(scorer, policy):
    with pytest.raises(InputError, match=next(iter(policy)).split("_")[0]):
        scorer(**policy)
    with pytest.raises(TypeError):
        scorer(*policy.values())


@pytest.mark.parametrize("policy", [{"amber_threshold": 0}, {"green_threshold": 100}, {"churn_window_days": 0}])
def test_the_ends_of_what_a_policy_may_say_are_allowed(policy):
    assert differing([BEST, WORST], **policy) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("feature_adoption_rate", 1.5),
        ("usage_trend", "rising"),
        ("nps_score", math.nan),
        ("open_ticket_count", None),
        ("days_to_renewal", "soon"),
    ],
)
def test_signals_made_without_validation_are_refused_naming_account_and_field(field, value):
    signals = CSMHealthSignals(**BEST).model_copy(update={field: value})
    with pytest.raises(SignalError, match=rf"'acc-7'.*{field}") as caught:
        CSMHealthScorer().score(signals, "acc-7")
    assert caught.value.exit_status == 2
    assert repr(value) in str(caught.value)


def test_a_record_is_scored_and_one_that_lacks_an_input_is_refused():
    assert CSMHealthScorer().score_record(BEST, "A").score == 98.0
    lacking = {name: value for name, value in BEST.items() if name != "usage_trend"}
    with pytest.raises(SignalError, match=r"'acc-8': usage_trend: Field required$"):
        CSMHealthScorer().score_record(lacking, "acc-8")
    with pytest.raises(SignalError, match="mood"):
        CSMHealthScorer().score_record({**BEST, "mood": "sunny"}, "acc-8")
    incomplete = CSMHealthSignals.model_construct(**lacking)
    with pytest.raises(SignalError, match="usage_trend"):
        CSMHealthScorer().score(incomplete, "acc-8")


@pytest.mark.parametrize("rag", [*RAGS, None])
def test_a_record_read_from_json_scores_the_same(rag):
    row = {**BEST, "tam_health_rag": rag}
    assert same(scalar(json.loads(json.dumps(row))), expected(row))


def test_numbers_of_other_kinds_score_the_same():
    kinds = {"integer": (np.int64, np.uint8, Decimal, float), "rate": (np.float64, Decimal)}
    for field in FIELDS:
        for kind in kinds.get(field.kind, ()):
            row = {**BEST, field.name: kind(BEST[field.name])}
            assert same(scalar(row), {**expected(BEST), **expected({**BEST, field.name: float(row[field.name])})})
