"""The public models: signals, scores, reviews and opportunities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from numbers import Real
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    computed_field,
    field_validator,
    model_validator,
)

from csm_core.rubric import ALERT_RAGS, ALERT_RISKS, MAX_INTEGER, SIGNAL_NAMES

Rag = Literal["GREEN", "AMBER", "RED"]
UsageTrend = Literal["growing", "stable", "declining", "inactive"]
PaymentStatus = Literal["current", "overdue_30", "overdue_60", "overdue_90_plus"]
Sentiment = Literal["positive", "neutral", "negative", "critical"]
Engagement = Literal["high", "medium", "low"]
ChurnRisk = Literal["low", "medium", "high", "critical"]
ChurnTrigger = Literal["both", "contract_proximity", "behavioral"]
Confidence = Literal["low", "medium", "high"]
Scalar = str | int | float | bool | None


def should_alert(rag: Rag, churn_risk_level: ChurnRisk) -> bool:
    """Whether someone should be told: RED, or a churn risk of high or critical (docs/scoring.md)."""
    return rag in ALERT_RAGS or churn_risk_level in ALERT_RISKS


def is_number(value: object) -> bool:
    """Whether a value is a real number of any type. Text and booleans are not numbers."""
    return not isinstance(value, bool) and isinstance(value, (Real, Decimal))


def _a_number(value: Any) -> Any:
    # pydantic would accept text and booleans, which are errors in the record.
    if not is_number(value):
        message = f"expected a number, got {type(value).__name__}"
        raise ValueError(message)  # pydantic turns ValueError into its own error
    return value


def _in_utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Rate = Annotated[float, Field(ge=0.0, allow_inf_nan=False), BeforeValidator(_a_number)]
Whole = Annotated[int, Field(ge=-MAX_INTEGER, le=MAX_INTEGER), BeforeValidator(_a_number)]
Count = Annotated[Whole, Field(ge=0)]
Instant = Annotated[datetime, AfterValidator(_in_utc)]
"""A time in UTC; a time without an offset is UTC."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class CSMHealthSignals(_Model):
    """The inputs of the scorer for an account and day, as in ``rubric.FIELDS``. Rates are fractions."""

    feature_adoption_rate: Annotated[Rate, Field(le=1.0)]
    usage_trend: UsageTrend
    login_frequency_days: Count | None = None
    days_since_last_interaction: Count | None = None
    invoice_payment_status: PaymentStatus
    support_sentiment: Sentiment = Field(
        default="neutral", validation_alias=AliasChoices("support_sentiment", "avg_ticket_sentiment")
    )
    open_ticket_count: Count = 0
    days_to_renewal: Whole | None = None
    seats_utilization_rate: Annotated[Rate, Field(le=2.0)]
    stakeholder_engagement: Engagement
    nps_score: Annotated[Count, Field(le=10)] | None = None
    escalation_count_90_days: Count = 0
    tam_health_rag: Rag | None = None


class CSMHealthScore(_Model):
    """An account's score with the points of every signal before the cap; ``should_alert`` is derived."""

    account_id: str
    score: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
    raw_score: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
    rag: Rag
    churn_risk_level: ChurnRisk
    churn_triggered_by: ChurnTrigger | None = None
    signal_breakdown: Mapping[str, float]
    computed_at: Instant = Field(default_factory=lambda: datetime.now(UTC))

    @computed_field
    @property
    def should_alert(self) -> bool:
        """RED, or a churn risk of high or critical."""
        return should_alert(self.rag, self.churn_risk_level)

    @model_validator(mode="wrap")
    @classmethod
    def _alert_is_derived(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        # A dumped should_alert is only validated against the rule.
        if not isinstance(data, Mapping) or "should_alert" not in data:
            return handler(data)
        stated = cast("Mapping[str, Any]", data)
        model = handler({name: value for name, value in stated.items() if name != "should_alert"})
        if stated["should_alert"] is not model.should_alert:
            message = f"should_alert is derived: {model.should_alert} for {model.rag} and {model.churn_risk_level}"
            raise ValueError(message)
        return model

    @field_validator("signal_breakdown")
    @classmethod
    def _all_signals(cls, value: Mapping[str, float]) -> Mapping[str, float]:
        if tuple(value) != SIGNAL_NAMES:
            message = f"signal_breakdown must contain exactly these signals, in order: {', '.join(SIGNAL_NAMES)}"
            raise ValueError(message)
        if not all(math.isfinite(points) for points in value.values()):
            message = "points must be finite numbers"
            raise ValueError(message)
        return value


class UsageComparison(_Model):
    """A figure of a review as text: of the period, of the period before, and the change."""

    metric: str = Field(max_length=200)
    this_period: str = Field(max_length=200)
    previous_period: str = Field(max_length=200)
    change: str = Field(max_length=200)


class InternalNote(_Model):
    """A note of a review that is not for the customer."""

    topic: str
    text: str


class QBRContent(_Model):
    """The content of a business review for an account and a period ("Q1 2026", or "Renewal 2026-09-15").

    All texts except ``internal_notes`` and ``health_rag`` are for the customer.
    """

    account_id: str
    period: str
    health_summary: str
    roi_metrics: Mapping[str, Scalar] = Field(default_factory=dict)
    feature_adoption_scorecard: Mapping[str, float | Mapping[str, Scalar]] = Field(default_factory=dict)
    expansion_next_steps: Sequence[str] = Field(default_factory=list[str])
    trigger: Literal["quarterly", "contract_proximity"] = "quarterly"
    generated_at: Instant = Field(default_factory=lambda: datetime.now(UTC))
    health_rag: Rag | None = None
    overview: Mapping[str, Scalar] = Field(default_factory=dict)
    usage_comparison: Sequence[UsageComparison] = Field(default_factory=list[UsageComparison])
    internal_notes: Sequence[InternalNote] = Field(default_factory=list[InternalNote])


class ExpansionOpportunity(_Model):
    """An expansion opportunity of an account. ``subject`` distinguishes opportunities of a type, such as modules."""

    account_id: str
    opportunity_type: Literal["seats", "module", "integration"]
    evidence: str
    estimated_arr_impact: float | None = None
    recommended_talk_track: str
    confidence: Confidence = "medium"
    created_at: Instant = Field(default_factory=lambda: datetime.now(UTC))
    subject: str = ""

    @field_validator("estimated_arr_impact")
    @classmethod
    def _finite(cls, value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            message = "an amount must be a finite number"
            raise ValueError(message)
        return value
