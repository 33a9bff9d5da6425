"""The signal definitions once more, in plain Python over staged records: slow, literal, and independent of the SQL.

Instants are compared as instants here (the SQL compares UTC dates), so a slip in either way of seeing a window shows.
"""

from collections import defaultdict
from datetime import date, datetime, time, timedelta
from fractions import Fraction
from typing import Any

import duckdb

WEIGHTS = {
    "feature_adoption_rate": 20,
    "usage_trend": 15,
    "login_frequency_days": 10,
    "days_since_last_interaction": 10,
    "invoice_payment_status": 10,
    "support_sentiment": 10,
    "days_to_renewal": 10,
    "seats_utilization_rate": 5,
    "stakeholder_engagement": 5,
    "nps_score": 3,
}
VALUE = {"positive": 1, "neutral": 0, "negative": -1, "critical": -2}


class Records:
    """The staged tables, by account."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.accounts = rows(connection, "stg_accounts")
        self.features = rows(connection, "stg_features")
        self.of: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for entity in (
            *("usage_events", "subscriptions", "invoices", "tickets"),
            *("nps_responses", "interactions", "tam_assessments"),
        ):
            grouped: dict[str, list[dict[str, Any]]] = defaultdict(list)
            for row in rows(connection, f"stg_{entity}"):
                grouped[row["account_id"]].append(row)
            self.of[entity] = grouped
        tenants = {account["account_id"]: account["tenant_id"] for account in self.accounts}
        # By tenant, when events named a feature.
        self.features_named: dict[str, list[datetime]] = defaultdict(list)
        for account, used in self.of["usage_events"].items():
            moments = [event["occurred_at"] for event in used if event["feature"] is not None]
            self.features_named[tenants[account]] += moments


def rows(connection: duckdb.DuckDBPyConnection, table: str) -> list[dict[str, Any]]:
    cursor = connection.execute(f"from staging.{table}")
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def population(records: Records, day: date) -> list[dict[str, Any]]:
    end = datetime.combine(day + timedelta(days=1), time())
    return [
        account
        for account in records.accounts
        if (account["created_at"] is None or account["created_at"] < end)
        and (account["churned_at"] is None or account["churned_at"] >= end)
    ]


def signals(records: Records, account: dict[str, Any], day: date, *, min_term_months: int = 2) -> dict[str, Any]:
    """One row of csm_health_signals, worked out the long way."""
    end = datetime.combine(day + timedelta(days=1), time())

    def within(moment: datetime | None, days: int) -> bool:
        return moment is not None and end - timedelta(days=days) <= moment < end

    def of(entity: str) -> list[dict[str, Any]]:
        return records.of[entity].get(account["account_id"], [])

    missing: set[str] = set()
    events = [event for event in of("usage_events") if event["occurred_at"] < end]
    recent = [event for event in events if within(event["occurred_at"], 28)]

    plan = [
        feature["feature"]
        for feature in records.features
        if feature["plan"] in (None, account["plan"])
        and (feature["released_at"] is None or feature["released_at"] < end)
        and (feature["_closed_at"] is None or feature["_closed_at"] >= end)
    ]
    used = {event["feature"] for event in recent} & set(plan)
    tenant_names_features = any(moment < end for moment in records.features_named[account["tenant_id"]])
    if not events or not plan or not tenant_names_features:
        missing.add("feature_adoption_rate")

    now = sum(event["quantity"] for event in recent)
    before = sum(event["quantity"] for event in events if within(event["occurred_at"], 56)) - now
    if now == 0:
        trend = "inactive"
    elif account["created_at"] is not None and end - account["created_at"] < timedelta(days=56):
        trend = "stable"
    elif 100 * now >= 110 * before:
        trend = "growing"
    else:
        trend = "declining" if 100 * now <= 90 * before else "stable"
    if not events:
        missing.add("usage_trend")

    logins = [event["occurred_at"] for event in events if event["event_name"] == "login"]
    login_days = {moment.date() for moment in logins if within(moment, 90)}
    login_frequency = 90 // len(login_days) if login_days else 91 if logins else None
    if login_frequency is None:
        missing.add("login_frequency_days")

    human = [
        touch
        for touch in of("interactions")
        if touch["occurred_at"] < end and touch["kind"] not in ("automated", "internal")
    ]
    since = (day - max(touch["occurred_at"] for touch in human).date()).days if human else None
    if not human:
        missing |= {"days_since_last_interaction", "stakeholder_engagement"}
    met = [touch for touch in human if within(touch["occurred_at"], 90) and touch["contact_id"] is not None]
    contacts = {touch["contact_id"] for touch in met}
    key = {
        touch["contact_id"]
        for touch in met
        if touch["contact_role"] in ("executive_sponsor", "champion", "decision_maker")
    }
    engagement = "high" if len(contacts) >= 3 and key else "medium" if contacts else "low"

    issued = [invoice for invoice in of("invoices") if invoice["issued_at"] < end]
    late = [
        (day - (invoice["due_at"] or invoice["issued_at"]).date()).days
        for invoice in issued
        if not (invoice["voided_at"] and invoice["voided_at"] < end)
        and not (invoice["paid_at"] and invoice["paid_at"] < end)
        and (invoice["amount_due"] or 0) > 0
    ]
    overdue = max(late, default=0)
    payment = (
        "current"
        if overdue <= 0
        else "overdue_30"
        if overdue <= 30
        else "overdue_60"
        if overdue < 90
        else "overdue_90_plus"
    )
    if not issued:
        missing.add("invoice_payment_status")

    live = [
        one
        for one in of("subscriptions")
        if one["started_at"] < end and (one["ended_at"] is None or one["ended_at"] >= end)
    ]
    renewals = [
        (one["renews_at"].date() - day).days
        for one in live
        if one["renews_at"] and (one["term_months"] is None or one["term_months"] >= min_term_months)
    ]
    if not renewals:
        missing.add("days_to_renewal")
    seats = sum(one["seats"] for one in live if one["seats"] is not None)
    users = {event["user_id"] for event in recent if event["user_id"] is not None}
    users_unknown = bool(events) and all(event["user_id"] is None for event in events)
    utilization = min(len(users) / seats, 2.0) if seats and not users_unknown else None
    if utilization is None:
        missing.add("seats_utilization_rate")

    tickets = [ticket for ticket in of("tickets") if ticket["opened_at"] < end]
    still_open = [ticket for ticket in tickets if ticket["solved_at"] is None or ticket["solved_at"] >= end]
    rated = [
        VALUE[ticket["sentiment"]]
        for ticket in tickets
        if ticket["sentiment"] and (ticket in still_open or within(ticket["opened_at"], 90))
    ]
    if not rated:
        sentiment = "neutral"
        missing.add("support_sentiment")
    else:
        mean = Fraction(sum(rated), len(rated))
        quarter = Fraction(1, 4)
        sentiment = (
            "positive"
            if mean > quarter
            else "neutral"
            if mean >= -quarter
            else "negative"
            if mean >= -5 * quarter
            else "critical"
        )

    latest: dict[str, dict[str, Any]] = {}
    answers = [answer for answer in of("nps_responses") if within(answer["responded_at"], 180)]
    for answer in sorted(answers, key=lambda one: (one["responded_at"], one["response_id"])):
        latest[answer["respondent_id"]] = answer
    nps = None
    if latest:
        mean_answer = Fraction(sum(answer["score"] for answer in latest.values()), len(latest))
        nps = int(mean_answer + Fraction(1, 2))
    else:
        missing.add("nps_score")

    assessed = [one for one in of("tam_assessments") if within(one["assessed_at"], 90)]
    worst = {"GREEN": 0, "AMBER": 1, "RED": 2}
    tam = max(assessed, key=lambda one: (one["assessed_at"], worst[one["rag"]]))["rag"] if assessed else None

    return {
        "feature_adoption_rate": len(used) / len(plan) if plan else 0.0,
        "usage_trend": trend,
        "login_frequency_days": login_frequency,
        "days_since_last_interaction": since,
        "invoice_payment_status": payment,
        "support_sentiment": sentiment,
        "open_ticket_count": len(still_open),
        "days_to_renewal": min(renewals) if renewals else None,
        "seats_utilization_rate": 0.5 if utilization is None else utilization,
        "stakeholder_engagement": engagement,
        "nps_score": nps,
        "escalation_count_90_days": sum(1 for ticket in tickets if within(ticket["escalated_at"], 90)),
        "tam_health_rag": tam,
        "missing_signals": ",".join(name for name in WEIGHTS if name in missing),
        "signal_coverage": (100 - sum(WEIGHTS[name] for name in missing)) / 100,
    }
