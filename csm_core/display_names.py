"""The names of inputs, levels and triggers in texts for people, such as ``csm explain`` and the pages in Notion.

Columns, keys of JSON and options in Notion have the names of the rubric.
"""

from __future__ import annotations

SIGNALS: dict[str, str] = {
    "feature_adoption_rate": "feature adoption",
    "usage_trend": "usage trend",
    "login_frequency_days": "login frequency",
    "days_since_last_interaction": "time since the last conversation",
    "invoice_payment_status": "invoice payments",
    "support_sentiment": "support sentiment",
    "days_to_renewal": "time to renewal",
    "seats_utilization_rate": "seat utilisation",
    "stakeholder_engagement": "stakeholder engagement",
    "nps_score": "NPS",
    "escalation_count_90_days": "escalations",
}
"""The signals, in the order of the rubric."""

OTHER_INPUTS: dict[str, str] = {
    "open_ticket_count": "open tickets",
    "tam_health_rag": "TAM assessment",
}
"""The inputs without a weight."""

LEVELS: dict[str, dict[str, str]] = {
    "usage_trend": {
        "growing": "growing",
        "stable": "stable",
        "declining": "declining",
        "inactive": "inactive",
    },
    "invoice_payment_status": {
        "current": "nothing overdue",
        "overdue_30": "1 to 30 days overdue",
        "overdue_60": "31 to 89 days overdue",
        "overdue_90_plus": "90 days or more overdue",
    },
    "support_sentiment": {
        "positive": "positive",
        "neutral": "neutral",
        "negative": "negative",
        "critical": "critical",
    },
    "stakeholder_engagement": {
        "high": "high",
        "medium": "medium",
        "low": "low",
    },
    "tam_health_rag": {
        "GREEN": "GREEN",
        "AMBER": "AMBER",
        "RED": "RED",
    },
}
"""The levels of each input that has levels."""

UNITS: dict[str, str] = {
    "login_frequency_days": "day",
    "days_since_last_interaction": "day",
    "days_to_renewal": "day",
}
"""The unit of the inputs whose display name does not state it."""

TRIGGERS: dict[str, str] = {
    "both": "contract renewal near and usage declining",
    "contract_proximity": "contract renewal near",
    "behavioral": "usage declining",
}
"""The triggers of the churn risk."""


def input_name(name: str) -> str:
    """Return the display name of a signal or another input; names without one are returned unchanged."""
    return SIGNALS.get(name) or OTHER_INPUTS.get(name, name)


def level_name(name: str, level: str) -> str:
    """Return the display name of a level of an input; levels without one are returned unchanged."""
    return LEVELS.get(name, {}).get(level, level)
