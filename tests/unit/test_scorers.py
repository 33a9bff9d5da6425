"""Both scorers against the rules and against each other, bit for bit."""

import itertools
import math
import struct
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from csm_core.errors import InputError, SignalError
from csm_core.health_scorer import CSMHealthScorer
from csm_core.rubric import FIELDS, RUBRIC, SIGNAL_NAMES, band_text
from csm_core.schemas import CSMHealthScore, CSMHealthSignals
from csm_core.vectorized_scorer import VectorizedCSMHealthScorer

BEST: dict[str, Any] = {
    "feature_adoption_rate": 0.9,
    "usage_trend": "growing",
    "login_frequency_days": 5,
    "days_since_last_interaction": 10,
    "invoice_payment_status": "current",
    "support_sentiment": "positive",
    "open_ticket_count": 0,
    "days_to_renewal": 200,
    "seats_utilization_rate": 0.85,
    "stakeholder_engagement": "high",
    "nps_score": 9,
    "escalation_count_90_days": 0,
    "tam_health_rag": None,
}
WORST: dict[str, Any] = {
    "feature_adoption_rate": 0.1,
    "usage_trend": "declining",
    "login_frequency_days": 90,
    "days_since_last_interaction": 120,
    "invoice_payment_status": "overdue_90_plus",
    "support_sentiment": "negative",
    "open_ticket_count": 5,
    "days_to_renewal": 30,
    "seats_utilization_rate": 0.3,
    "stakeholder_engagement": "low",
    "nps_score": 2,
    "escalation_count_90_days": 3,
    "tam_health_rag": None,
}
BOUNDARIES: dict[str, list[Any]] = {
    "feature_adoption_rate": [0.0, 1.0, 0.5, 1 / 3, math.nextafter(1.0, 0.0), 5e-324],
    "usage_trend": ["growing", "stable", "declining", "inactive"],
    "login_frequency_days": [None, 0, 7, 8, 30, 31, 60, 61, 10_000],
    "days_since_last_interaction": [None, 0, 30, 31, 60, 61, 90, 91, 10_000],
    "invoice_payment_status": ["current", "overdue_30", "overdue_60", "overdue_90_plus"],
    "support_sentiment": ["positive", "neutral", "negative", "critical"],
    "open_ticket_count": [0, 1, 2, 3, 4, 5, 6, 7, 8, 1_000],
    "days_to_renewal": [None, -400, -1, 0, 30, 31, 60, 61, 90, 91, 180, 181],
    "seats_utilization_rate": [
        *(0.0, 0.5, math.nextafter(0.5, 0.0), 0.8, math.nextafter(0.8, 0.0)),
        *(1.0, math.nextafter(1.0, 2.0), 2.0),
    ],
    "stakeholder_engagement": ["high", "medium", "low"],
    "nps_score": [None, 0, 4, 5, 6, 7, 8, 9, 10],
    "escalation_count_90_days": [0, 1, 2, 50],
    "tam_health_rag": [None, "GREEN", "AMBER", "RED"],
}
POLICIES = [{}, {"green_threshold": 75.0, "amber_threshold": 50.0, "churn_window_days": 0}, {"churn_window_days": 365}]


def rule(name: str, row: dict[str, Any]) -> int:
    """The points of the scoring table, written out once more by hand, as the reference of these tests."""
    value = row[name]

    def least(*steps: tuple[float, int], other: int) -> int:
        return next((points for edge, points in steps if value <= edge), other)

    match name:
        case "usage_trend":
            return {"growing": 15, "stable": 10, "declining": 3, "inactive": 0}[value]
        case "login_frequency_days":
            return 5 if value is None else least((7, 10), (30, 7), (60, 4), other=0)
        case "days_since_last_interaction":
            return 5 if value is None else least((30, 10), (60, 7), (90, 4), other=0)
        case "invoice_payment_status":
            return {"current": 10, "overdue_30": 6, "overdue_60": 3, "overdue_90_plus": 0}[value]
        case "support_sentiment":
            given = {"positive": 10, "neutral": 7, "negative": 3, "critical": 0}[value]
            return max(0, given - min(row["open_ticket_count"], 5))
        case "days_to_renewal":
            return 7 if value is None else least((30, 1), (60, 3), (90, 6), (180, 8), other=10)
        case "seats_utilization_rate":
            return 4 if value > 1.0 else 5 if value >= 0.8 else 3 if value >= 0.5 else 1
        case "stakeholder_engagement":
            return {"high": 5, "medium": 3, "low": 1}[value]
        case "nps_score":
            return 2 if value is None else 3 if value >= 9 else 2 if value >= 7 else 1 if value >= 5 else 0
        case _:
            return {0: 2, 1: 1}.get(value, 0)


def expected(row: dict[str, Any], green_threshold=70.0, amber_threshold=40.0, churn_window_days=60) -> dict[str, Any]:
    whole = {name: rule(name, row) for name in SIGNAL_NAMES[1:]}
    raw = 20.0 * row["feature_adoption_rate"] + sum(whole.values())
    score = raw * {"RED": 0.85, "AMBER": 0.95}.get(row["tam_health_rag"], 1.0)
    rag = "GREEN" if score >= green_threshold else "AMBER" if score >= amber_threshold else "RED"
    renewal, logins = row["days_to_renewal"], row["login_frequency_days"]
    contract = rag != "GREEN" and renewal is not None and renewal <= churn_window_days
    behavioural = row["usage_trend"] in ("declining", "inactive") and (logins is None or logins > 30)
    if contract and behavioural:
        trigger, risk = "both", "critical"
    elif contract:
        trigger, risk = "contract_proximity", "critical" if rag == "RED" else "high"
    elif behavioural:
        trigger, risk = "behavioral", "medium" if rag == "GREEN" else "high"
    else:
        trigger, risk = None, "low" if rag == "GREEN" else "medium"
    return {
        "raw_score": raw,
        "score": score,
        "rag": rag,
        "churn_risk_level": risk,
        "churn_triggered_by": trigger,
        "should_alert": rag == "RED" or risk in ("high", "critical"),
        "feature_adoption_rate_points": 20.0 * row["feature_adoption_rate"],
        **{f"{name}_points": float(points) for name, points in whole.items()},
    }


def bits(number: float) -> bytes:
    return struct.pack("<d", number)


def scalar(row: dict[str, Any], **policy: Any) -> dict[str, Any]:
    score = CSMHealthScorer(**policy).score(CSMHealthSignals(**row), "A")
    assert tuple(score.signal_breakdown) == SIGNAL_NAMES
    return {
        **{name: getattr(score, name) for name in ("raw_score", "score", "rag", "churn_risk_level")},
        "churn_triggered_by": score.churn_triggered_by,
        "should_alert": score.should_alert,
        **{f"{name}_points": points for name, points in score.signal_breakdown.items()},
    }


def frame_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=[field.name for field in FIELDS])
    for field in FIELDS:
        if field.kind == "integer":
            frame[field.name] = pd.array([row[field.name] for row in rows], dtype="Int64")
    frame.insert(0, "account_id", [f"A{number}" for number in range(len(rows))])
    return frame


def same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(
        bits(found[name]) == bits(value) if isinstance(value, float) else found[name] == value
        for name, value in wanted.items()
    )


def check(rows: list[dict[str, Any]], **policy: Any) -> None:
    scored = VectorizedCSMHealthScorer(**policy).score_frame(frame_of(rows))
    records = scored.astype({"churn_triggered_by": object}).to_dict("records")
    for row, vector in zip(rows, records, strict=True):
        wanted = expected(row, **policy)
        if pd.isna(vector["churn_triggered_by"]):
            vector["churn_triggered_by"] = None
        one = scalar(row, **policy)
        assert same(one, wanted), (row, one, wanted)
        assert same(vector, wanted), (row, vector, wanted)


@pytest.mark.parametrize(
    ("row", "raw", "score", "rag", "risk", "trigger"),
    [
        (BEST, 98.0, 98.0, "GREEN", "low", None),
        ({**BEST, "tam_health_rag": "RED"}, 98.0, 83.3, "GREEN", "low", None),
        (WORST, 8.0, 8.0, "RED", "critical", "both"),
    ],
)
def test_worked_examples(row, raw, score, rag, risk, trigger):
    found = scalar(row)
    assert (found["raw_score"], found["score"], found["rag"]) == (raw, score, rag)
    assert (found["churn_risk_level"], found["churn_triggered_by"]) == (risk, trigger)
    check([row])


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
@pytest.mark.parametrize("base", [BEST, WORST], ids=["best", "worst"])
def test_every_boundary_of_every_signal(base, policy):
    check([{**base, name: value} for name, values in BOUNDARIES.items() for value in values], **policy)


def test_every_pair_of_boundaries():
    rows = [
        {**base, one: first, other: second}
        for one, other in itertools.combinations(BOUNDARIES, 2)
        for first in BOUNDARIES[one]
        for second in BOUNDARIES[other]
        for base in (BEST, WORST)
    ]
    check(rows)


def test_every_pattern_of_nulls():
    nullable = [field.name for field in FIELDS if field.nullable]
    assert len(nullable) == 5
    rows = [
        {**base, **dict.fromkeys(chosen)}
        for size in range(6)
        for chosen in itertools.combinations(nullable, size)
        for base in (BEST, WORST, {**WORST, "tam_health_rag": "AMBER"})
    ]
    check(rows)


@pytest.mark.parametrize("green", [70.0, 98.0, 83.3])
def test_the_edge_of_green_belongs_to_green(green):
    row = {**BEST, "tam_health_rag": "RED"} if green == 83.3 else BEST
    check([row, WORST], green_threshold=green, amber_threshold=8.0)
    assert scalar(row, green_threshold=green)["rag"] == "GREEN"
    assert scalar(WORST, amber_threshold=8.0)["rag"] == "AMBER"


def field_strategy(field):
    if field.levels:
        values = st.sampled_from(field.levels)
    elif field.kind == "rate":
        values = st.floats(field.least, field.most)
    else:
        values = st.integers(int(field.least) if field.least is not None else -1000, int(field.most or 1000))
    return st.none() | values if field.nullable else values


ROWS = st.fixed_dictionaries({field.name: field_strategy(field) for field in FIELDS})


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(ROWS, min_size=1, max_size=20),
    amber=st.floats(0, 60),
    gap=st.floats(0.5, 39),
    window=st.integers(0, 400),
)
def test_any_row_under_any_policy(rows, amber, gap, window):
    check(rows, green_threshold=amber + gap, amber_threshold=amber, churn_window_days=window)


# -- the rubric -----------------------------------------------------------------------------------------------------


def test_weights_sum_to_100_and_every_signal_is_a_field():
    assert sum(signal.weight for signal in RUBRIC) == 100
    assert len(RUBRIC) == 11
    assert set(SIGNAL_NAMES) <= {field.name for field in FIELDS}
    assert all(band_text(signal) for signal in RUBRIC)


@pytest.mark.parametrize(
    "policy",
    [
        {"green_threshold": 40.0},
        {"amber_threshold": 70.0},
        {"green_threshold": 100.5},
        {"amber_threshold": -1.0},
        {"green_threshold": math.nan},
        {"green_threshold": "70"},
        {"churn_window_days": -1},
        {"churn_window_days": 1.5},
        {"churn_window_days": True},
    ],
)
@pytest.mark.parametrize("scorer", [CSMHealthScorer, VectorizedCSMHealthScorer])
def test_a_policy_that_makes_no_sense_is_refused(scorer, policy):
    with pytest.raises(InputError, match=next(iter(policy)).split("_")[0]):
        scorer(**policy)


# -- refusals -------------------------------------------------------------------------------------------------------

OUTSIDE = [
    ("feature_adoption_rate", -0.01),
    ("feature_adoption_rate", 1.0000001),
    ("feature_adoption_rate", math.nan),
    ("feature_adoption_rate", math.inf),
    ("feature_adoption_rate", None),
    ("usage_trend", "rising"),
    ("usage_trend", None),
    ("usage_trend", "Growing"),
    ("login_frequency_days", -1),
    ("days_since_last_interaction", 2.5),
    ("invoice_payment_status", "overdue"),
    ("support_sentiment", None),
    ("open_ticket_count", -1),
    ("open_ticket_count", None),
    ("days_to_renewal", math.inf),
    ("seats_utilization_rate", 2.01),
    ("seats_utilization_rate", None),
    ("stakeholder_engagement", ""),
    ("nps_score", 11),
    ("nps_score", -1),
    ("escalation_count_90_days", -1),
    ("tam_health_rag", "YELLOW"),
]


@pytest.mark.parametrize(("field", "value"), OUTSIDE)
def test_a_row_outside_the_contract_is_refused_by_both_naming_account_and_field(field, value):
    with pytest.raises(ValidationError, match=field):
        CSMHealthSignals(**{**BEST, field: value})
    frame = pd.DataFrame([BEST, {**BEST, field: value}]).assign(account_id=["good", "bad-one"])
    with pytest.raises(SignalError, match=field) as caught:
        VectorizedCSMHealthScorer().score_frame(frame)
    assert "bad-one" in str(caught.value)


@pytest.mark.parametrize("field", ["account_id", *(field.name for field in FIELDS if field.required)])
def test_a_missing_column_is_named(field):
    with pytest.raises(SignalError, match=rf"lacks {field}"):
        VectorizedCSMHealthScorer().score_frame(frame_of([BEST]).drop(columns=field))


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("open_ticket_count", ["1", "2"]),
        ("open_ticket_count", [True, False]),
        ("feature_adoption_rate", pd.to_datetime(["2026-01-01", "2026-01-02"])),
        ("nps_score", ["nine", None]),
    ],
)
def test_a_column_of_the_wrong_type_is_refused(field, values):
    frame = frame_of([BEST, WORST])
    frame[field] = values
    with pytest.raises(SignalError, match=rf"{field}.*number is due"):
        VectorizedCSMHealthScorer().score_frame(frame)


def test_duplicate_keys_are_refused_unless_days_or_tenants_tell_them_apart():
    frame = frame_of([BEST, WORST]).assign(account_id="same")
    with pytest.raises(SignalError, match="'same' stands more than once"):
        VectorizedCSMHealthScorer().score_frame(frame)
    dated = frame.assign(as_of_date=pd.to_datetime(["2026-01-01", "2026-01-02"]))
    assert len(VectorizedCSMHealthScorer().score_frame(dated)) == 2


def test_a_missing_account_id_is_refused():
    with pytest.raises(SignalError, match="no account_id"):
        VectorizedCSMHealthScorer().score_frame(frame_of([BEST, WORST]).assign(account_id=["A", None]))


# -- kinds of frames ------------------------------------------------------------------------------------------------

LEVELS = [field.name for field in FIELDS if field.levels]
NUMBERS = [field.name for field in FIELDS if not field.levels]
ROWS_OF_ALL_KINDS = [BEST, WORST, {**WORST, "nps_score": None, "days_to_renewal": None, "tam_health_rag": "RED"}]


def as_object(frame):
    return frame.astype(object).where(frame.notna(), None)


def as_categorical(frame):
    return frame.astype(dict.fromkeys(LEVELS, "category"))


def as_float(frame):
    return frame.astype(dict.fromkeys(NUMBERS, "float64"))


def as_arrow(frame):
    return frame.convert_dtypes(dtype_backend="pyarrow")


def as_nullable(frame):
    return frame.convert_dtypes()


@pytest.mark.parametrize("kind", [as_object, as_categorical, as_float, as_arrow, as_nullable])
def test_kinds_of_columns_score_the_same_and_are_not_changed(kind):
    plain = frame_of(ROWS_OF_ALL_KINDS)
    frame = kind(plain)
    before = frame.copy(deep=True)
    scored = VectorizedCSMHealthScorer().score_frame(frame)
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(
        scored.assign(account_id=list(scored["account_id"])),
        VectorizedCSMHealthScorer().score_frame(plain).assign(account_id=list(plain["account_id"])),
    )


def test_order_and_index_are_the_inputs():
    rows = [{**BEST, "feature_adoption_rate": number / 5000} for number in range(5000)]
    frame = frame_of(rows).sample(frac=1, random_state=3)
    scored = VectorizedCSMHealthScorer().score_frame(frame)
    assert list(scored["account_id"]) == list(frame["account_id"])
    assert list(scored.index) == list(frame.index)
    assert np.array_equal(scored["feature_adoption_rate_points"], 20.0 * frame["feature_adoption_rate"].to_numpy())


def test_an_empty_frame_gives_an_empty_frame_of_the_same_columns():
    full = VectorizedCSMHealthScorer().score_frame(frame_of([BEST]))
    empty = VectorizedCSMHealthScorer().score_frame(frame_of([BEST]).iloc[:0])
    assert len(empty) == 0
    assert list(empty.columns) == list(full.columns)
    assert [str(kind) for kind in empty.dtypes[1:]] == [str(kind) for kind in full.dtypes[1:]]


def test_optional_columns_may_be_left_out_and_the_alias_is_taken():
    required = ["account_id", *(field.name for field in FIELDS if field.required)]
    frame = frame_of([BEST])[required]
    scored = VectorizedCSMHealthScorer().score_frame(frame)
    signals = CSMHealthSignals(**{name: BEST[name] for name in required[1:]})
    assert scored["score"].iloc[0] == CSMHealthScorer().score(signals).score
    aliased = frame.assign(avg_ticket_sentiment="critical")
    assert VectorizedCSMHealthScorer().score_frame(aliased)["support_sentiment_points"].iloc[0] == 0.0
    assert CSMHealthSignals(**{**BEST, "support_sentiment": "critical"}) == CSMHealthSignals(
        **{name: value for name, value in BEST.items() if name != "support_sentiment"}, avg_ticket_sentiment="critical"
    )
    with pytest.raises(SignalError, match="mean the same"):
        VectorizedCSMHealthScorer().score_frame(aliased.assign(support_sentiment="neutral"))


def test_the_sql_scores_a_table_in_the_warehouse():
    with duckdb.connect() as connection:
        connection.register("frame", frame_of([BEST, WORST]))
        connection.execute("create table signals as from frame")
        found = connection.execute(VectorizedCSMHealthScorer().sql("signals") + " order by account_id").fetchall()
    assert [row[:4] for row in found] == [("A0", 98.0, 98.0, "GREEN"), ("A1", 8.0, 8.0, "RED")]


# -- the model of a score -------------------------------------------------------------------------------------------


def test_should_alert_is_derived_and_never_set():
    score = CSMHealthScorer().score(CSMHealthSignals(**WORST), "A")
    assert score.should_alert
    given = score.model_dump() | {"should_alert": False}
    with pytest.raises(ValidationError, match="should_alert"):
        CSMHealthScore(**given)
    with pytest.raises(ValidationError, match="frozen"):
        score.should_alert = False  # type: ignore[misc]


def test_a_breakdown_has_exactly_the_eleven_signals():
    score = CSMHealthScorer().score(CSMHealthSignals(**BEST))
    broken = {**score.signal_breakdown, "mood": 1.0}
    with pytest.raises(ValidationError, match="exactly these signals"):
        CSMHealthScore(**{**score.model_dump(exclude={"should_alert"}), "signal_breakdown": broken})
