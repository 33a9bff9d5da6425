"""The models at the borders: what they take, what they refuse, what they default to and derive."""

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import get_args

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError

from csm_core import schemas
from csm_core.health_scorer import CSMHealthScorer
from csm_core.rubric import CHURN_RISKS, CHURN_TRIGGERS, FIELDS, MAX_INTEGER, RAGS, SIGNAL_NAMES
from csm_core.schemas import CSMHealthScore, CSMHealthSignals, ExpansionOpportunity, QBRContent
from tests.scoring_cases import BEST, BOUNDARIES, WORST

REQUIRED = {name: BEST[name] for name in (field.name for field in FIELDS if field.required)}


def score_of(row=WORST) -> CSMHealthScore:
    return CSMHealthScorer().score(CSMHealthSignals(**row), "A")


def test_the_inputs_are_the_rubrics_fields_in_order():
    assert tuple(CSMHealthSignals.model_fields) == tuple(field.name for field in FIELDS)
    for field in FIELDS:
        info = CSMHealthSignals.model_fields[field.name]
        assert info.is_required() == field.required
        if not field.required:
            assert info.default == field.default


@pytest.mark.parametrize(
    ("literal", "levels"),
    [
        (schemas.Rag, RAGS),
        (schemas.ChurnRisk, CHURN_RISKS),
        (schemas.ChurnTrigger, CHURN_TRIGGERS),
        *(
            (getattr(schemas, kind), next(field.levels for field in FIELDS if field.name == name))
            for kind, name in (
                ("UsageTrend", "usage_trend"),
                ("PaymentStatus", "invoice_payment_status"),
                ("Sentiment", "support_sentiment"),
                ("Engagement", "stakeholder_engagement"),
            )
        ),
    ],
)
def test_the_types_name_the_rubrics_levels(literal, levels):
    assert set(get_args(literal)) == set(levels)


def test_defaults():
    signals = CSMHealthSignals(**REQUIRED)
    assert signals.support_sentiment == "neutral"
    assert (signals.open_ticket_count, signals.escalation_count_90_days) == (0, 0)
    for name in ("login_frequency_days", "days_since_last_interaction", "nps_score", "days_to_renewal"):
        assert getattr(signals, name) is None
    assert signals.tam_health_rag is None


@pytest.mark.parametrize("name", REQUIRED)
def test_required_inputs_are_required(name):
    with pytest.raises(ValidationError, match=name):
        CSMHealthSignals(**{other: value for other, value in REQUIRED.items() if other != name})


def test_every_boundary_value_is_taken():
    for name, values in BOUNDARIES.items():
        for value in values:
            assert getattr(CSMHealthSignals(**{**BEST, name: value}), name) == value


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_values_outside_the_contract_are_refused(field):
    bad = [[], {}, object()]
    bad += [] if field.nullable else [None]
    if field.levels:
        bad += ["", "other", field.levels[0].swapcase(), f" {field.levels[0]}", 1, True]
    else:
        bad += [math.nan, math.inf, -math.inf, True, False, np.bool_(True), "1", b"1", 1 + 0j, Decimal("NaN")]
        bad += [field.minimum - 1, 2 * field.maximum + 1]
        bad += (
            [1.5, Decimal("0.5"), field.maximum + 1, MAX_INTEGER + 1]
            if field.kind == "integer"
            else [math.nextafter(field.maximum, 9)]
        )
    for value in bad:
        with pytest.raises(ValidationError, match=field.name):
            CSMHealthSignals(**{**BEST, field.name: value})


def test_counts_and_days_go_as_far_as_a_bigint_does():
    assert MAX_INTEGER == 2**63 - 1
    assert CSMHealthSignals(**{**BEST, "days_to_renewal": -MAX_INTEGER}).days_to_renewal == -MAX_INTEGER


@pytest.mark.parametrize("value", [3, 3.0, Decimal(3), np.int8(3), np.int64(3), np.float64(3.0)])
def test_whole_numbers_of_any_kind_are_taken(value):
    taken = CSMHealthSignals(**{**BEST, "nps_score": value}).nps_score
    assert (taken, type(taken)) == (3, int)


@pytest.mark.parametrize("value", [1, 0.5, Decimal("0.5"), np.float32(0.5)])
def test_rates_of_any_kind_are_taken(value):
    taken = CSMHealthSignals(**{**BEST, "feature_adoption_rate": value}).feature_adoption_rate
    assert (taken, type(taken)) == (float(value), float)


def test_the_alias_is_taken_and_both_names_are_not():
    by_alias = CSMHealthSignals(**REQUIRED, avg_ticket_sentiment="critical")
    assert by_alias == CSMHealthSignals(**REQUIRED, support_sentiment="critical")
    assert "avg_ticket_sentiment" not in by_alias.model_dump()
    with pytest.raises(ValidationError, match="avg_ticket_sentiment"):
        CSMHealthSignals(**REQUIRED, support_sentiment="neutral", avg_ticket_sentiment="critical")


def test_an_unknown_input_is_refused():
    with pytest.raises(ValidationError, match="mood"):
        CSMHealthSignals(**REQUIRED, mood="sunny")


@pytest.mark.parametrize("model", [CSMHealthSignals(**REQUIRED), score_of()])
def test_models_do_not_change(model: BaseModel):
    with pytest.raises(ValidationError, match="frozen"):
        setattr(model, next(iter(type(model).model_fields)), 1)


# -- scores ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [0, 100])
def test_both_ends_of_the_scale_are_scores(end):
    given = CSMHealthScorer().score(CSMHealthSignals(**BEST)).model_dump(exclude={"should_alert"})
    found = CSMHealthScore.model_validate({**given, "score": end, "raw_score": end})
    assert (found.score, found.raw_score) == (end, end)


def test_should_alert_is_derived_and_never_set():
    score = score_of()
    assert score.should_alert is True
    with pytest.raises(ValidationError, match="should_alert is derived: True"):
        CSMHealthScore(**(score.model_dump() | {"should_alert": False}))
    with pytest.raises((ValidationError, AttributeError)):
        score.should_alert = False  # type: ignore[misc]
    assert score_of(BEST).should_alert is False


@pytest.mark.parametrize(
    ("row", "stated"), [(WORST, 1), (WORST, "True"), (WORST, None), (BEST, True), (BEST, 0), (BEST, "False")]
)
def test_a_stated_alert_is_the_derived_truth_value_or_refused(row, stated):
    given = score_of(row).model_dump()
    with pytest.raises(ValidationError, match=f"should_alert is derived: {given['should_alert']} for "):
        CSMHealthScore.model_validate({**given, "should_alert": stated})


def test_a_score_survives_being_written_and_read():
    score = score_of()
    assert CSMHealthScore.model_validate_json(score.model_dump_json()) == score
    assert CSMHealthScore(**score.model_dump()) == score
    assert json.loads(score.model_dump_json())["should_alert"] is True


@pytest.mark.parametrize(
    ("rag", "risk", "alert"),
    [
        ("RED", "low", True),
        ("AMBER", "high", True),
        ("GREEN", "critical", True),
        ("AMBER", "medium", False),
        ("GREEN", "low", False),
    ],
)
def test_alerts_follow_band_and_risk(rag, risk, alert):
    given = score_of().model_dump(exclude={"should_alert"}) | {"rag": rag, "churn_risk_level": risk}
    assert CSMHealthScore(**given).should_alert is alert
    assert schemas.should_alert(rag, risk) is alert


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("score", 100.1),
        ("score", -0.1),
        ("score", math.nan),
        ("raw_score", math.nan),
        ("raw_score", math.inf),
        ("score", math.inf),
        ("raw_score", -0.001),
        ("raw_score", 100.001),
        ("rag", "BLUE"),
        ("churn_risk_level", "severe"),
        ("churn_triggered_by", "contract"),
        ("signal_breakdown", {}),
        ("signal_breakdown", dict.fromkeys(reversed(SIGNAL_NAMES), 1.0)),
        ("signal_breakdown", {**dict.fromkeys(SIGNAL_NAMES, 1.0), "mood": 1.0}),
        ("signal_breakdown", dict.fromkeys(SIGNAL_NAMES, math.nan)),
    ],
)
def test_what_is_no_score_is_refused(field, value):
    given = score_of().model_dump(exclude={"should_alert"})
    with pytest.raises(ValidationError, match=field):
        CSMHealthScore(**(given | {field: value}))


@pytest.mark.parametrize(
    "given",
    [
        datetime(2026, 1, 2, 12, 0),  # noqa: DTZ001 - an instant without an offset is what is tested
        datetime(2026, 1, 2, 14, 0, tzinfo=timezone(timedelta(hours=2))),
        "2026-01-02T12:00:00Z",
    ],
)
def test_instants_are_kept_in_utc(given):
    score = CSMHealthScore(**(score_of().model_dump() | {"computed_at": given}))
    assert score.computed_at == datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
    assert score.computed_at.utcoffset() == timedelta(0)


# -- reviews and opportunities --------------------------------------------------------------------------------------


def test_a_review_has_its_defaults_and_keeps_lists_lists():
    review = QBRContent(
        account_id="A",
        period="Q1 2026",
        health_summary="Fine.",
        roi_metrics={"active_users_28d": 12, "rate": 0.5, "note": None},
        feature_adoption_scorecard={"reports": 0.5, "api": {"adopted": True, "portfolio": 0.25}},
        expansion_next_steps=["Talk."],
    )
    assert review.trigger == "quarterly"
    assert review.health_rag is None
    assert review.expansion_next_steps == ["Talk."]
    assert review.generated_at.utcoffset() == timedelta(0)
    assert QBRContent.model_validate_json(review.model_dump_json()) == review
    assert QBRContent(account_id="A", period="Q1 2026", health_summary="").expansion_next_steps == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("trigger", "yearly"), ("health_rag", "BLUE"), ("expansion_next_steps", "Talk."), ("period", None)],
)
def test_what_is_no_review_is_refused(field, value):
    given = {"account_id": "A", "period": "Q1 2026", "health_summary": "Fine."}
    with pytest.raises(ValidationError, match=field):
        QBRContent(**{**given, field: value})


OPPORTUNITY = {
    "account_id": "A",
    "opportunity_type": "seats",
    "evidence": "Nearly all seats are in use.",
    "recommended_talk_track": "Offer more.",
}


def test_an_opportunity_has_its_defaults():
    opportunity = ExpansionOpportunity(**OPPORTUNITY)
    assert (opportunity.confidence, opportunity.estimated_arr_impact, opportunity.subject) == ("medium", None, "")
    assert opportunity.created_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("opportunity_type", "upsell"),
        ("confidence", "certain"),
        ("estimated_arr_impact", math.nan),
        ("estimated_arr_impact", -math.inf),
    ],
)
def test_what_is_no_opportunity_is_refused(field, value):
    with pytest.raises(ValidationError, match=field):
        ExpansionOpportunity(**{**OPPORTUNITY, field: value})


@pytest.mark.parametrize("impact", [None, 0.0, 12_000.5, -300.0])
def test_any_finite_amount_or_none_is_an_impact(impact):
    assert ExpansionOpportunity(**OPPORTUNITY, estimated_arr_impact=impact).estimated_arr_impact == impact


def test_fractions_are_numbers():
    assert CSMHealthSignals(**{**BEST, "feature_adoption_rate": Fraction(1, 2)}).feature_adoption_rate == 0.5
