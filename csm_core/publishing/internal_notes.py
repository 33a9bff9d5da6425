"""The internal notes of a business review: health, risk, weak signals, other customers and expansion opportunities."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from csm_core.display_names import SIGNALS, TRIGGERS
from csm_core.publishing.customer_review import feature_name
from csm_core.schemas import InternalNote
from csm_core.system.text_table import counted

NEXT_STEPS: dict[str, str] = {
    "feature_adoption_rate": "Choose two unused features of the plan and schedule a short training session for each.",
    "usage_trend": "Ask the main users what changed and agree on one use case to restart.",
    "login_frequency_days": "Identify who should use the product every week and what prevents it.",
    "days_since_last_interaction": "Schedule a regular check-in.",
    "invoice_payment_status": "Resolve the open invoices with their finance team.",
    "support_sentiment": "Review the open tickets and the tickets with negative sentiment with the support team.",
    "days_to_renewal": "Start the renewal conversation and send the terms and dates in writing.",
    "seats_utilization_rate": "Compare seats with active users and adjust the seat count.",
    "stakeholder_engagement": "Engage an executive sponsor and two more contacts.",
    "nps_score": "Call the respondents with the lowest scores and close the loop with them.",
    "escalation_count_90_days": "Review the escalated tickets and agree on measures to prevent further escalations.",
}
"""The next step for each weak signal."""

# An integration is a next step where at least this share of the tenant's accounts with it in their plan uses it.
_COMMON_RATE = 0.5
_MOST_INTEGRATIONS = 2
_MOST_UNUSED = 5
# A quarterly review of an account with a renewal in at most this number of days comes late for it.
_NEAR_DAYS = 14
_MOST_OPPORTUNITIES = 5


def notes_of(
    row: Mapping[str, Any],
    health: str,
    without_data: Collection[str],
    scorecard: Sequence[Mapping[str, Any]],
    opportunities: Sequence[Mapping[str, Any]],
) -> list[InternalNote]:
    """The notes of a review; ``health`` is the text about score and bands."""
    notes = [InternalNote(topic="Health", text=health)]
    if row["churn_risk_level"]:
        trigger = row["churn_triggered_by"]
        risk = f"{row['churn_risk_level']}: {TRIGGERS[trigger]}" if trigger else row["churn_risk_level"]
        notes.append(InternalNote(topic="Churn risk", text=risk))
    days = row["days_to_renewal"]
    if row["trigger"] == "quarterly" and days is not None and 0 <= days <= _NEAR_DAYS:
        when = f"in {counted(days, 'day')}" if days else "today"
        notes.append(InternalNote(topic="Renewal", text=f"{row['renewal_date']}, {when}. Call now."))
    overdue = _overdue(row)
    if overdue:
        notes.append(InternalNote(topic="Invoices", text=overdue))
    for signal in weak_signals(row):
        text = "no data; check the source of this signal." if signal in without_data else NEXT_STEPS[signal]
        notes.append(InternalNote(topic=f"Weak signal, {SIGNALS[signal]}", text=text))
    others = _other_customers(scorecard)
    if others:
        notes.append(InternalNote(topic="Not used here, used by other customers with it in their plan", text=others))
    return notes + [
        InternalNote(topic="Opportunity", text=f"{one['recommended_talk_track']} {one['evidence']}")
        for one in opportunities[:_MOST_OPPORTUNITIES]
    ]


def weak_signals(row: Mapping[str, Any]) -> list[str]:
    """The weakest signals of a review, the weakest first."""
    return [row[f"weak_signal_{place}"] for place in (1, 2, 3) if row[f"weak_signal_{place}"]]


def common_integrations(scorecard: Sequence[Mapping[str, Any]]) -> list[str]:
    """The most used integrations that the account has in its plan and does not use."""
    unused = [
        entry
        for entry in scorecard
        if entry["module"] == "integrations"
        and not entry["adopted"]
        and (entry["portfolio_adoption_rate"] or 0) >= _COMMON_RATE
    ]
    return [feature_name(entry) for entry in unused[:_MOST_INTEGRATIONS]]


def _overdue(row: Mapping[str, Any]) -> str:
    days = row["days_past_due"]
    if not row["unpaid_invoices"] or days is None or days <= 0:
        return ""
    unpaid = counted(row["unpaid_invoices"], "open invoice")
    if row["unpaid_invoices"] == 1:
        return f"{unpaid}, {counted(days, 'day')} overdue."
    return f"{unpaid}, the oldest {counted(days, 'day')} overdue."


def _other_customers(scorecard: Sequence[Mapping[str, Any]]) -> str:
    unused = [entry for entry in scorecard if not entry["adopted"] and entry["portfolio_adoption_rate"]]
    return ", ".join(
        f"{feature_name(entry)} ({math.floor(100 * entry['portfolio_adoption_rate'])} %)"
        for entry in unused[:_MOST_UNUSED]
    )
