"""The meaning, the unit and an example of each column of the staged contract, for the documentation of files.

``csm_core.contract`` holds what the gate and the loader need. This module holds what only the documentation needs.
``column_tables`` puts both together; a test compares the columns of both.
"""

from __future__ import annotations

from dataclasses import dataclass

from csm_core.contract import ENTITIES, UPDATED, Column, Kind


@dataclass(frozen=True)
class Meaning:
    """The documentation of one column: its meaning, an example value, and its unit if it has one."""

    text: str
    example: str
    unit: str = ""


_ACCOUNT = Meaning("The account of the record: an `account_id` of `accounts`.", "A0001")
_CURRENCY = Meaning("The currency of the amount. Amounts in different currencies are never added.", "EUR")

_VALID_FROM = Meaning(
    "From when the values of this row apply; see [attributes over time](#attributes-over-time). Empty: from the date "
    "of a [dated file](#full-lists-with-dates), otherwise from the load.",
    "2026-07-01",
)

VERSION_MEANING = Meaning(
    "When the record was last changed; see [versions of a record](#versions-of-a-record).", "2026-06-30T18:00:00Z"
)

ENTITY_MEANINGS: dict[str, str] = {
    "accounts": "One row per customer account. Every account gets a score on every day between `created_at` and "
    "`churned_at`, or in the spells of its `lifecycle_events`.",
    "features": "One row per feature of your product.",
    "usage_events": "One row per action of a user, or per count of actions.",
    "subscriptions": "One row per subscription and change of it. A change of seats or price is a new row with its "
    "own `subscription_id`; the `ended_at` of the earlier row is the `started_at` of the new one.",
    "invoices": "One row per invoice.",
    "tickets": "One row per support ticket.",
    "nps_responses": "One row per response to an NPS survey.",
    "interactions": "One row per call, meeting, e-mail or other contact with the customer. If several "
    "contacts took part, one row per contact, each with its own `interaction_id`.",
    "tam_assessments": "One row per assessment of an account by its technical account manager.",
    "lifecycle_events": "One row for each time that an account became a customer, left or returned; see "
    "[customers who leave and return](#customers-who-leave-and-return).",
}

MEANINGS: dict[str, dict[str, Meaning]] = {
    "accounts": {
        "account_id": Meaning("The identifier of the account. All other entities refer to it.", "A0001"),
        "account_name": Meaning("The name that reports and Notion pages show.", "Crimson Falcon Clinics"),
        "tenant_id": Meaning("The tenant that the account belongs to, if you score several companies.", "default"),
        "segment": Meaning("The customer segment. Policies and peer comparisons use it.", "mid_market"),
        "plan": Meaning("The plan of the account, as `features.plan` names it.", "growth"),
        "csm_owner": Meaning("The customer success manager of the account.", "Björn Dahl"),
        "created_at": Meaning(
            "When the account became a customer. Empty: the account is scored on all days.", "2024-01-15"
        ),
        "churned_at": Meaning(
            "When the account stopped being a customer. Empty: it is still a customer.", "2026-03-31"
        ),
        "valid_from": _VALID_FROM,
    },
    "features": {
        "feature": Meaning("The name of the feature, as `usage_events.feature` names it.", "dashboards"),
        "module": Meaning("The part of the product that the feature belongs to.", "core"),
        "plan": Meaning("The plan that includes the feature. Empty: all plans include it.", "growth"),
        "released_at": Meaning("When the feature was released. Empty: it counts on all days.", "2023-07-14"),
        "display_name": Meaning(
            "The name of the feature in texts for people, such as reviews. Empty: `feature`.", "Scheduled exports"
        ),
        "valid_from": _VALID_FROM,
    },
    "usage_events": {
        "event_id": Meaning("The identifier of the event.", "E000184"),
        "account_id": _ACCOUNT,
        "user_id": Meaning(
            "The user. Seat utilisation counts distinct users. Empty: the event counts without a user.", "A0001.u3"
        ),
        "event_name": Meaning("What happened. A login is `login`.", "login"),
        "feature": Meaning("The feature that was used. Empty: the event counts as usage without a feature.", "exports"),
        "quantity": Meaning("The number of actions that the row counts for. A row with 0 is ignored.", "3", "actions"),
        "occurred_at": Meaning("When it happened.", "2026-06-02T10:00:00Z"),
    },
    "subscriptions": {
        "subscription_id": Meaning("The identifier of this row of the subscription.", "S0001-2"),
        "account_id": _ACCOUNT,
        "seats": Meaning("The number of paid users. Empty: not known.", "25", "users"),
        "mrr": Meaning(
            "Monthly recurring revenue, in euros or dollars, not cents. Divide an annual amount by 12.",
            "1250.00",
            "currency units per month",
        ),
        "currency": _CURRENCY,
        "started_at": Meaning("The time from which this row applies.", "2025-12-07"),
        "renews_at": Meaning("When the subscription is due for renewal.", "2026-12-07"),
        "ended_at": Meaning("The time until which this row applies. Empty: it is current.", "2026-03-20"),
        "term_months": Meaning(
            "The months of one term: 12 for an annual contract, 0 for less than one month. Empty: not known.",
            "12",
            "months",
        ),
    },
    "invoices": {
        "invoice_id": Meaning("The identifier of the invoice.", "I0001-2510"),
        "account_id": _ACCOUNT,
        "amount_due": Meaning(
            "The amount to pay, in euros or dollars, not cents. A credit note is negative.", "1250.00", "currency units"
        ),
        "currency": _CURRENCY,
        "issued_at": Meaning("When the invoice was issued.", "2026-06-01"),
        "due_at": Meaning("When the payment is due. Empty: on `issued_at`.", "2026-07-01"),
        "paid_at": Meaning("When the invoice was paid in full. Empty: it is not paid.", "2026-06-15T12:27:43Z"),
        "voided_at": Meaning("When the invoice was cancelled or written off. Empty: it is valid.", "2026-06-20"),
    },
    "tickets": {
        "ticket_id": Meaning("The identifier of the ticket.", "T0012-3"),
        "account_id": _ACCOUNT,
        "opened_at": Meaning("When the ticket was opened.", "2026-06-03T10:27:49Z"),
        "solved_at": Meaning("When the ticket was solved. Empty: it is open.", "2026-06-04T08:00:00Z"),
        "priority": Meaning("The priority, as your help desk names it.", "urgent"),
        "sentiment": Meaning("The mood of the customer in this ticket.", "negative"),
        "escalated_at": Meaning("When the ticket was escalated. Empty: it was not.", "2026-06-03T15:00:00Z"),
    },
    "nps_responses": {
        "response_id": Meaning("The identifier of the response.", "N0183-1"),
        "account_id": _ACCOUNT,
        "respondent_id": Meaning(
            "The person who responded. Only the latest response of each person counts.", "A0183.c1"
        ),
        "score": Meaning("The answer to “How likely are you to recommend us?”.", "9"),
        "responded_at": Meaning("When the person responded.", "2026-06-11T06:11:07Z"),
    },
    "interactions": {
        "interaction_id": Meaning("The identifier of the row.", "C0076-h20"),
        "account_id": _ACCOUNT,
        "contact_id": Meaning("The contact of the customer. Empty: the row counts without a contact.", "A0076.c1"),
        "contact_role": Meaning(
            "The role of the contact. `executive_sponsor`, `champion` and `decision_maker` are key contacts.",
            "executive_sponsor",
        ),
        "kind": Meaning("The kind of interaction. `automated` and `internal` interactions do not count.", "call"),
        "occurred_at": Meaning("When it happened.", "2026-06-12T15:12:40Z"),
    },
    "tam_assessments": {
        "assessment_id": Meaning("The identifier of the assessment.", "M0185-2"),
        "account_id": _ACCOUNT,
        "rag": Meaning("The assessment.", "AMBER"),
        "assessed_at": Meaning("When the account was assessed.", "2026-06-30T15:00:00Z"),
    },
    "lifecycle_events": {
        "event_id": Meaning("The identifier of the event.", "L0042-1"),
        "account_id": _ACCOUNT,
        "kind": Meaning("What happened.", "churned"),
        "occurred_at": Meaning("When it happened: the first moment with, or without, the customer.", "2026-03-31"),
        "reason": Meaning("Why, as your team names it.", "budget"),
    },
}

_TYPES = {Kind.TEXT: "text", Kind.INTEGER: "integer", Kind.DECIMAL: "decimal, 2 places", Kind.TIMESTAMP: "time"}
_VERSION = Column(UPDATED, Kind.TIMESTAMP)


def column_tables() -> str:
    """One table per entity: every column with its type, unit, allowed values, meaning and example."""
    parts: list[str] = []
    for entity in ENTITIES.values():
        needed = " The entity is required." if entity.mandatory else ""
        parts += [f"### `{entity.name}`", "", f"{ENTITY_MEANINGS[entity.name]}{needed} Key: `{entity.key}`.", ""]
        parts += ["| column | type | allowed values | meaning | example |", "| --- | --- | --- | --- | --- |"]
        meanings = MEANINGS[entity.name]
        parts += [_row(column, meanings[column.name]) for column in entity.columns]
        parts += [_row(_VERSION, VERSION_MEANING), ""]
    return "\n".join(parts).strip()


def _row(column: Column, meaning: Meaning) -> str:
    name = f"**`{column.name}`**" if column.required else f"`{column.name}`"
    kind = f"{_TYPES[column.kind]}; {meaning.unit}" if meaning.unit else _TYPES[column.kind]
    text = " ".join(filter(None, (meaning.text, _default(column)))).replace("|", "\\|")
    return f"| {name} | {kind} | {allowed(column)} | {text} | `{meaning.example}` |"


def _default(column: Column) -> str:
    return "" if column.default is None else f"Empty: `{column.default}`."


def allowed(column: Column) -> str:
    """The values that the gate accepts in a column, beyond its type."""
    if column.levels:
        return ", ".join(f"`{level}`" for level in column.levels)
    if column.currency:
        return "ISO 4217 code, three letters"
    if column.minimum is not None and column.maximum is not None:
        return f"{_number(column.minimum)} to {_number(column.maximum)}"
    if column.minimum is not None:
        return f"{_number(column.minimum)} or more"
    if column.maximum is not None:
        return f"{_number(column.maximum)} or less"
    return "ISO 8601" if column.kind is Kind.TIMESTAMP else "any"


def _number(value: int) -> str:
    return f"{value:,}"
