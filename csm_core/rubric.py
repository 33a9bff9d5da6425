"""The rubric, stated once as data: 11 signals, their weights, and the points of every band and level.

Source: the product's scoring rules. The scalar scorer, the SQL of the vectorised scorer, the macros, the explanations
and the documentation's table all read it; a weight or an edge stands nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Compare(StrEnum):
    """How a band's edge is met."""

    AT_MOST = "<="
    AT_LEAST = ">="
    ABOVE = ">"


@dataclass(frozen=True)
class Band:
    """Points for a number that compares so with the edge; the first band that is met counts."""

    compare: Compare
    edge: float
    points: int


@dataclass(frozen=True)
class Rate:
    """Points in proportion: weight times the rate, the only signal whose points are no whole number."""


@dataclass(frozen=True)
class Levels:
    """Points per named level, best first; every level that is allowed is listed."""

    points: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Bands:
    """Points by bands of a number, ``otherwise`` below the last, ``null`` for nothing known (None: not allowed)."""

    bands: tuple[Band, ...]
    otherwise: int
    null: int | None = None


@dataclass(frozen=True)
class Deduction:
    """Points taken off for every unit of another input, at most ``most``; the signal never falls below 0."""

    field: str
    most: int


@dataclass(frozen=True)
class Signal:
    """One of the 11 signals: name of its input, weight (the most points it can give) and how points are given."""

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
"""Factor on the raw score by the technical-account manager's assessment; GREEN and null leave it as it is."""

RAGS: tuple[str, ...] = ("GREEN", "AMBER", "RED")
"""The bands of a score, best first."""

CONTRACT_RAGS: tuple[str, ...] = ("RED", "AMBER")
"""Bands in which a renewal that is near (or overdue) is the contract churn trigger."""

BEHAVIOURAL_TRENDS: tuple[str, ...] = ("declining", "inactive")
"""Usage trends of the behavioural churn trigger."""

BEHAVIOURAL_LOGIN_DAYS = 30
"""The behavioural trigger needs logins rarer than this many days, or unknown."""

CHURN_RISKS: tuple[str, ...] = ("low", "medium", "high", "critical")
"""The levels of churn risk, mildest first."""


@dataclass(frozen=True)
class ChurnRule:
    """What a pair of triggers is called (None: neither holds) and the risk that it means, by band."""

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
"""A band that a rule does not list cannot meet its triggers."""

CHURN_TRIGGERS: tuple[str, ...] = tuple(rule.called for rule in CHURN_RULES if rule.called)

ALERT_RAGS: tuple[str, ...] = ("RED",)
"""Bands that somebody should be told of."""

ALERT_RISKS: tuple[str, ...] = ("high", "critical")
"""Levels of churn risk that somebody should be told of."""

DEFAULT_GREEN_THRESHOLD = 70.0
DEFAULT_AMBER_THRESHOLD = 40.0
DEFAULT_CHURN_WINDOW_DAYS = 60


@dataclass(frozen=True)
class Field:
    """An input of the scorer: type, allowed levels or range (both ends included), and default where it has one."""

    name: str
    kind: str  # "rate", "integer" or "level"
    least: float = 0
    most: float = 0
    levels: tuple[str, ...] = ()
    required: bool = False
    nullable: bool = False
    default: str | int | None = None


MOST_WHOLE = 2**63 - 1
"""The largest whole number that is taken for a count or for days: what a bigint holds."""


def _levels(name: str) -> tuple[str, ...]:
    rule = next(signal.rule for signal in RUBRIC if signal.name == name)
    return tuple(level for level, _ in rule.points) if isinstance(rule, Levels) else ()


FIELDS: tuple[Field, ...] = (
    Field("feature_adoption_rate", "rate", 0.0, 1.0, required=True),
    Field("usage_trend", "level", levels=_levels("usage_trend"), required=True),
    Field("login_frequency_days", "integer", 0, MOST_WHOLE, nullable=True),
    Field("days_since_last_interaction", "integer", 0, MOST_WHOLE, nullable=True),
    Field("invoice_payment_status", "level", levels=_levels("invoice_payment_status"), required=True),
    Field("support_sentiment", "level", levels=_levels("support_sentiment"), default="neutral"),
    Field("open_ticket_count", "integer", 0, MOST_WHOLE, default=0),
    Field("days_to_renewal", "integer", -MOST_WHOLE, MOST_WHOLE, nullable=True),
    Field("seats_utilization_rate", "rate", 0.0, 2.0, required=True),
    Field("stakeholder_engagement", "level", levels=_levels("stakeholder_engagement"), required=True),
    Field("nps_score", "integer", 0, 10, nullable=True),
    Field("escalation_count_90_days", "integer", 0, MOST_WHOLE, default=0),
    Field("tam_health_rag", "level", levels=RAGS, nullable=True),
)
"""The 13 inputs of the scorer, in the order of the scoring table, each support input after its signal."""

FIELD_ALIASES: dict[str, str] = {"avg_ticket_sentiment": "support_sentiment"}


def weight_parameters() -> dict[str, int]:
    """``<signal>_weight`` → weight, for SQL models that need weights as named parameters."""
    return {f"{signal.name}_weight": signal.weight for signal in RUBRIC}


def band_text(signal: Signal) -> str:
    """How a signal gives points, in a line of words and numbers."""
    return "; ".join(_band_parts(signal))


def markdown_table() -> str:
    """The documentation's table of signals, weights and points."""
    lines = ["| signal | weight | points |", "| --- | --- | --- |"]
    lines += [f"| `{signal.name}` | {signal.weight} | {band_text(signal)} |" for signal in RUBRIC]
    return "\n".join(lines)


def churn_markdown_table() -> str:
    """The documentation's table of churn triggers and the risk that they mean."""
    lines = ["| contract | behavioural | `churn_triggered_by` | `churn_risk_level` |", "| --- | --- | --- | --- |"]
    for rule in CHURN_RULES:
        triggers = " | ".join("yes" if holds else "no" for holds in (rule.contract, rule.behavioural))
        called = f"`{rule.called}`" if rule.called else "null"
        risks = ", ".join(
            f"{risk} if {' or '.join(rag for rag, given in rule.risks if given == risk)}"
            for risk in dict.fromkeys(risk for _, risk in rule.risks)
        )
        lines.append(f"| {triggers} | {called} | {risks} |")
    return "\n".join(lines)


def thresholds_markdown() -> str:
    """The documentation's paragraph on the cap, the bands and the triggers, with their default numbers."""
    caps = ", ".join(f"by {factor:g} for {level}" for level, factor in TAM_CAPS)
    return (
        f"- Cap: the raw score is multiplied {caps}; any other assessment, or none, leaves it.\n"
        f"- Bands: GREEN from {DEFAULT_GREEN_THRESHOLD:g}, AMBER from {DEFAULT_AMBER_THRESHOLD:g}, RED below, unless a "
        "policy says otherwise.\n"
        f"- Contract trigger: {' or '.join(CONTRACT_RAGS)}, and the renewal at most {DEFAULT_CHURN_WINDOW_DAYS} days "
        "away (`churn_window_days`), or overdue.\n"
        f"- Behavioural trigger: usage {' or '.join(BEHAVIOURAL_TRENDS)}, and logins rarer than every "
        f"{BEHAVIOURAL_LOGIN_DAYS} days, or unknown.\n"
        f"- `should_alert`: {' or '.join(ALERT_RAGS)}, or a churn risk of {' or '.join(ALERT_RISKS)}."
    )


def _band_parts(signal: Signal) -> Iterator[str]:
    match signal.rule:
        case Rate():
            yield f"{signal.weight} × rate"
        case Levels(points):
            yield ", ".join(f"{level} {given}" for level, given in points)
        case Bands(bands, otherwise, null):
            if null is not None:
                yield f"unknown {null}"
            for band in bands:
                yield f"{_SIGNS[band.compare]}{band.edge:g} → {band.points}"
            yield f"else {otherwise}"
    if signal.deduction:
        yield f"minus `{signal.deduction.field}`, at most {signal.deduction.most}; never below 0"


_SIGNS = {Compare.AT_MOST: "≤", Compare.AT_LEAST: "≥", Compare.ABOVE: ">"}
