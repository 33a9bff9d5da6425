"""What the tests of scoring share: rows at every boundary, and the rules written out once more by hand."""

import itertools
import math
import struct
from typing import Any

import pandas as pd
from hypothesis import strategies as st

from csm_core.health_scorer import CSMHealthScorer
from csm_core.rubric import FIELDS, SIGNAL_NAMES
from csm_core.schemas import CSMHealthSignals

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
MIDDLE: dict[str, Any] = {
    **BEST,
    "feature_adoption_rate": 0.45,
    "usage_trend": "stable",
    "login_frequency_days": 20,
    "days_to_renewal": 90,
    "stakeholder_engagement": "medium",
    "support_sentiment": "neutral",
    "open_ticket_count": 2,
    "seats_utilization_rate": 0.6,
    "nps_score": 6,
}
BASES = (BEST, MIDDLE, WORST)
BOUNDARIES: dict[str, list[Any]] = {
    "feature_adoption_rate": [0.0, -0.0, 1.0, 0.5, 1 / 3, math.nextafter(1.0, 0.0), 5e-324],
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
POLICIES: list[dict[str, Any]] = [
    {},
    {"green_threshold": 75.0, "amber_threshold": 50.0, "churn_window_days": 0},
    {"churn_window_days": 365},
    {"green_threshold": 98.0, "amber_threshold": 8.0},
    {"green_threshold": 100, "amber_threshold": 0},
]


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


def field_strategy(field):
    if field.levels:
        values = st.sampled_from(field.levels)
    elif field.kind == "rate":
        values = st.floats(field.minimum, field.maximum)
    else:
        near = st.integers(max(int(field.minimum), -400), min(int(field.maximum), 400))
        values = near | st.integers(int(field.minimum), int(field.maximum))
    return st.none() | values if field.nullable else values


ROWS = st.fixed_dictionaries({field.name: field_strategy(field) for field in FIELDS})


def boundary_rows() -> list[dict[str, Any]]:
    """A good, a middling and a bad row with every boundary value of every input."""
    return [{**base, name: value} for base in BASES for name, values in BOUNDARIES.items() for value in values]


def pair_rows() -> list[dict[str, Any]]:
    """A good, a middling and a bad row with every pair of boundary values of two inputs."""
    return [
        {**base, one: first, other: second}
        for one, other in itertools.combinations(BOUNDARIES, 2)
        for first in BOUNDARIES[one]
        for second in BOUNDARIES[other]
        for base in BASES
    ]


def null_rows() -> list[dict[str, Any]]:
    """Rows with every pattern of nulls: 2 to the fifth, for three bases."""
    nullable = [field.name for field in FIELDS if field.nullable]
    assert len(nullable) == 5
    return [
        {**base, **dict.fromkeys(chosen)}
        for size in range(6)
        for chosen in itertools.combinations(nullable, size)
        for base in (BEST, WORST, {**WORST, "tam_health_rag": "AMBER"})
    ]
