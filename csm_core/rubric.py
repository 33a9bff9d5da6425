"""The rubric as data: the signals, their weights, and the points of every band and level.

Source: the product's scoring rules. The scalar scorer, the SQL of the vectorised scorer, the macros, the explanations
and the documentation read it; no other module contains weights or edges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Compare(StrEnum):
    """How a value is compared with the edge of a band."""

    AT_MOST = "<="
    AT_LEAST = ">="
    ABOVE = ">"


@dataclass(frozen=True)
class Band:
    """The points of a number on this side of the edge; the first matching band applies."""

    compare: Compare
    edge: float
    points: int


@dataclass(frozen=True)
class Rate:
    """Proportional points: the weight times the rate, which may have a fraction. Exactly one signal has this rule."""


@dataclass(frozen=True)
class Levels:
    """The points of each allowed level, best first."""

    points: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Bands:
    """The points of number bands, ``otherwise`` if no band matches, ``null`` for an unknown value (None: required)."""

    bands: tuple[Band, ...]
    otherwise: int
    null: int | None = None


@dataclass(frozen=True)
class Deduction:
    """Points deducted per unit of another input, up to ``maximum``; the points of the signal are never below 0."""

    field: str
    maximum: int


@dataclass(frozen=True)
class Signal:
    """A signal: the name of its input, its weight (maximum points), and the rule for its points."""

    name: str
    weight: int
    rule: Rate | Levels | Bands
    deduction: Deduction | None = None


RUBRIC: tuple[Signal, ...] = (
    Signal("feature_adoption_rate", 20, Rate()),
    Signal("usage_trend", 15, Levels((("growing", 15), ("stable", 10), ("declining", 3), ("inactive", 0)))),
    Signal(
        "login_frequency_days",
        10,
        Bands(
            (Band(Compare.AT_MOST, 7, 10), Band(Compare.AT_MOST, 30, 7), Band(Compare.AT_MOST, 60, 4)),
            otherwise=0,
            null=5,
        ),
    ),
    Signal(
        "days_since_last_interaction",
        10,
        Bands(
            (Band(Compare.AT_MOST, 30, 10), Band(Compare.AT_MOST, 60, 7), Band(Compare.AT_MOST, 90, 4)),
            otherwise=0,
            null=5,
        ),
    ),
    Signal(
        "invoice_payment_status",
        10,
        Levels((("current", 10), ("overdue_30", 6), ("overdue_60", 3), ("overdue_90_plus", 0))),
    ),
    Signal(
        "support_sentiment",
        10,
        Levels((("positive", 10), ("neutral", 7), ("negative", 3), ("critical", 0))),
        Deduction("open_ticket_count", 5),
    ),
    Signal(
        "days_to_renewal",
        10,
        Bands(
            (
                Band(Compare.ABOVE, 180, 10),
                Band(Compare.ABOVE, 90, 8),
                Band(Compare.ABOVE, 60, 6),
                Band(Compare.ABOVE, 30, 3),
            ),
            otherwise=1,
            null=7,
        ),
    ),
    Signal(
        "seats_utilization_rate",
        5,
        Bands(
            (Band(Compare.ABOVE, 1.0, 4), Band(Compare.AT_LEAST, 0.8, 5), Band(Compare.AT_LEAST, 0.5, 3)),
            otherwise=1,
        ),
    ),
    Signal("stakeholder_engagement", 5, Levels((("high", 5), ("medium", 3), ("low", 1)))),
    Signal(
        "nps_score",
        3,
        Bands(
            (Band(Compare.AT_LEAST, 9, 3), Band(Compare.AT_LEAST, 7, 2), Band(Compare.AT_LEAST, 5, 1)),
            otherwise=0,
            null=2,
        ),
    ),
    Signal(
        "escalation_count_90_days",
        2,
        Bands((Band(Compare.AT_MOST, 0, 2), Band(Compare.AT_MOST, 1, 1)), otherwise=0),
    ),
)

SIGNAL_NAMES: tuple[str, ...] = tuple(signal.name for signal in RUBRIC)

TAM_CAPS: tuple[tuple[str, float], ...] = (("RED", 0.85), ("AMBER", 0.95))
"""The factor on the raw score for the technical account manager's assessment; 1 for GREEN and null."""

RAGS: tuple[str, ...] = ("GREEN", "AMBER", "RED")
"""The bands of a score, best first."""

CONTRACT_RAGS: tuple[str, ...] = ("RED", "AMBER")
"""The bands in which the contract churn trigger applies to an upcoming or overdue renewal."""

BEHAVIOURAL_TRENDS: tuple[str, ...] = ("declining", "inactive")
"""The usage trends of the behavioural churn trigger."""

BEHAVIOURAL_LOGIN_DAYS = 30
"""The behavioural trigger applies if logins are more than this number of days apart, or unknown."""

CHURN_RISKS: tuple[str, ...] = ("low", "medium", "high", "critical")
"""The levels of churn risk, mildest first."""


@dataclass(frozen=True)
class ChurnRule:
    """The name of a combination of triggers (None if none applies), and its churn risk by band."""

    contract: bool
    behavioural: bool
    called: str | None
    risks: tuple[tuple[str, str], ...]


CHURN_RULES: tuple[ChurnRule, ...] = (
    ChurnRule(True, True, "both", (("RED", "critical"), ("AMBER", "critical"))),
    ChurnRule(True, False, "contract_proximity", (("RED", "critical"), ("AMBER", "high"))),
    ChurnRule(False, True, "behavioral", (("RED", "high"), ("AMBER", "high"), ("GREEN", "medium"))),
    ChurnRule(False, False, None, (("RED", "medium"), ("AMBER", "medium"), ("GREEN", "low"))),
)
"""The triggers of a rule cannot apply in bands that it does not list."""

CHURN_TRIGGERS: tuple[str, ...] = tuple(rule.called for rule in CHURN_RULES if rule.called)

ALERT_RAGS: tuple[str, ...] = ("RED",)
"""The bands that need an alert."""

ALERT_RISKS: tuple[str, ...] = ("high", "critical")
"""The levels of churn risk that need an alert."""

DEFAULT_GREEN_THRESHOLD = 70.0
DEFAULT_AMBER_THRESHOLD = 40.0
DEFAULT_CHURN_WINDOW_DAYS = 60


@dataclass(frozen=True)
class Field:
    """An input of the scorer: type, allowed levels or inclusive range, and an optional default."""

    name: str
    kind: str  # "rate", "integer" or "level"
    minimum: float = 0
    maximum: float = 0
    levels: tuple[str, ...] = ()
    required: bool = False
    nullable: bool = False
    default: str | int | None = None


MAX_INTEGER = 2**63 - 1
"""The maximum of counts and numbers of days: the maximum of a bigint."""


def _levels(name: str) -> tuple[str, ...]:
    rule = next(signal.rule for signal in RUBRIC if signal.name == name)
    return tuple(level for level, _ in rule.points) if isinstance(rule, Levels) else ()


FIELDS: tuple[Field, ...] = (
    Field("feature_adoption_rate", "rate", 0.0, 1.0, required=True),
    Field("usage_trend", "level", levels=_levels("usage_trend"), required=True),
    Field("login_frequency_days", "integer", 0, MAX_INTEGER, nullable=True),
    Field("days_since_last_interaction", "integer", 0, MAX_INTEGER, nullable=True),
    Field("invoice_payment_status", "level", levels=_levels("invoice_payment_status"), required=True),
    Field("support_sentiment", "level", levels=_levels("support_sentiment"), default="neutral"),
    Field("open_ticket_count", "integer", 0, MAX_INTEGER, default=0),
    Field("days_to_renewal", "integer", -MAX_INTEGER, MAX_INTEGER, nullable=True),
    Field("seats_utilization_rate", "rate", 0.0, 2.0, required=True),
    Field("stakeholder_engagement", "level", levels=_levels("stakeholder_engagement"), required=True),
    Field("nps_score", "integer", 0, 10, nullable=True),
    Field("escalation_count_90_days", "integer", 0, MAX_INTEGER, default=0),
    Field("tam_health_rag", "level", levels=RAGS, nullable=True),
)
"""The inputs of the scorer: the signals in the order of ``RUBRIC``, and the two inputs without a weight.

``schemas.CSMHealthSignals`` has the same inputs in the same order.
"""

FIELD_ALIASES: dict[str, str] = {"avg_ticket_sentiment": "support_sentiment"}


def weight_parameters() -> dict[str, int]:
    """Return the weights by ``<signal>_weight``, for SQL models that need weights as named parameters."""
    return {f"{signal.name}_weight": signal.weight for signal in RUBRIC}


def band_text(signal: Signal) -> str:
    """Return the rule for a signal's points as a line of text."""
    return "; ".join(_band_parts(signal))


def markdown_table() -> str:
    """Return the table of signals, weights and points for the documentation."""
    lines = ["| signal | weight | points |", "| --- | --- | --- |"]
    lines += [f"| `{signal.name}` | {signal.weight} | {band_text(signal)} |" for signal in RUBRIC]
    return "\n".join(lines)


def churn_markdown_table() -> str:
    """Return the table of churn triggers and churn risks for the documentation."""
    lines = ["| contract | behavioural | `churn_triggered_by` | `churn_risk_level` |", "| --- | --- | --- | --- |"]
    for rule in CHURN_RULES:
        triggers = " | ".join("yes" if holds else "no" for holds in (rule.contract, rule.behavioural))
        called = f"`{rule.called}`" if rule.called else "null"
        risks = ", ".join(
            f"{risk} if {' or '.join(rag for rag, level in rule.risks if level == risk)}"
            for risk in dict.fromkeys(risk for _, risk in rule.risks)
        )
        lines.append(f"| {triggers} | {called} | {risks} |")
    return "\n".join(lines)


def thresholds_markdown() -> str:
    """Return the list of cap, bands and triggers for the documentation, with the defaults."""
    caps = ", ".join(f"by {factor:g} for {level}" for level, factor in TAM_CAPS)
    return (
        f"- Cap: the raw score is multiplied {caps}; any other or missing assessment does not change it.\n"
        f"- Bands: GREEN from {DEFAULT_GREEN_THRESHOLD:g}, AMBER from {DEFAULT_AMBER_THRESHOLD:g}, RED below, unless a "
        "policy sets other thresholds.\n"
        f"- Contract trigger: {' or '.join(CONTRACT_RAGS)}, and the renewal at most {DEFAULT_CHURN_WINDOW_DAYS} days "
        "away (`churn_window_days`), or overdue.\n"
        f"- Behavioural trigger: usage {' or '.join(BEHAVIOURAL_TRENDS)}, and logins more than "
        f"{BEHAVIOURAL_LOGIN_DAYS} days apart, or unknown.\n"
        f"- `should_alert`: {' or '.join(ALERT_RAGS)}, or a churn risk of {' or '.join(ALERT_RISKS)}."
    )


def _band_parts(signal: Signal) -> Iterator[str]:
    match signal.rule:
        case Rate():
            yield f"{signal.weight} × rate"
        case Levels(points):
            yield ", ".join(f"{level} {number}" for level, number in points)
        case Bands(bands, otherwise, null):
            if null is not None:
                yield f"unknown {null}"
            for band in bands:
                yield f"{_SIGNS[band.compare]}{band.edge:g} → {band.points}"
            yield f"else {otherwise}"
    if signal.deduction:
        yield f"minus `{signal.deduction.field}`, at most {signal.deduction.maximum}; never below 0"


_SIGNS = {Compare.AT_MOST: "≤", Compare.AT_LEAST: "≥", Compare.ABOVE: ">"}
