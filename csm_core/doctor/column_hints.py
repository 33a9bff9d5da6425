"""Suggests columns of a file for columns of the staged contract. Hints are only shown, never applied to records."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from csm_core.contract import ENTITIES, UPDATED

_SIMILAR = 0.75
# Names of the columns of the contract in exports of CRM, billing and help-desk systems.
_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "account_id": (
        *("account", "customer_id", "customer", "company_id", "client_id", "organization_id", "org_id"),
        *("account_number", "customer_number", "customer_no", "client_number", "account_no"),
    ),
    "account_name": ("name", "account", "company", "company_name", "customer_name", "organization", "client"),
    "segment": ("customer_segment", "tier", "market_segment"),
    "plan": ("plan_tier", "product_plan", "plan_name", "package", "edition"),
    "csm_owner": ("owner", "account_owner", "owner_name", "csm", "owner_id", "company_owner", "success_manager"),
    "created_at": ("created", "created_date", "create_date", "signup_date", "customer_since", "start_date"),
    "churned_at": ("churned", "churn_date", "cancelled_at", "canceled_at", "end_date", "churned_date"),
    "valid_from": ("_fivetran_start", "dbt_valid_from", "effective_from", "valid_since"),
    "feature": ("name", "feature_name", "feature_key"),
    "module": ("product_area", "area", "category"),
    "released_at": ("released", "release_date"),
    "display_name": ("feature_title", "feature_label"),
    "event_id": ("id", "uuid", "message_id", "insert_id"),
    "user_id": ("user", "distinct_id", "uid"),
    "event_name": ("event", "name", "action", "event_type", "activity"),
    "quantity": ("count", "usage_count", "events", "qty"),
    "occurred_at": ("timestamp", "time", "date", "event_time", "event_timestamp", "activity_date", "created_at"),
    "subscription_id": ("id", "contract_id", "subscription"),
    "seats": ("licenses", "licences", "users", "quantity", "seat_count", "purchased_seats"),
    "mrr": ("mrr_amount", "monthly_amount", "monthly_recurring_revenue", "amount"),
    "currency": ("currency_code", "currency_iso_code", "ccy", "currencyisocode"),
    "started_at": ("start_date", "started", "start", "contract_start", "begin_date", "current_period_start"),
    "renews_at": ("renewal_date", "renews", "renewal", "contract_end", "current_period_end", "next_renewal"),
    "ended_at": ("end_date", "ended", "cancelled_at", "canceled_at", "cancellation_date"),
    "term_months": ("term", "contract_term", "term_in_months"),
    "invoice_id": ("id", "invoice_number", "invoice_no", "invoice", "number"),
    "amount_due": ("amount", "total", "amount_total", "invoice_amount", "total_amount"),
    "issued_at": ("invoice_date", "issue_date", "issued", "date", "created", "created_at"),
    "due_at": ("due_date", "due", "payment_due"),
    "paid_at": ("paid_date", "payment_date", "paid", "date_paid", "paid_on"),
    "voided_at": ("void_date", "voided", "cancelled_at"),
    "ticket_id": ("id", "ticket_number", "ticket", "case_number", "case_id", "number"),
    "opened_at": ("created_at", "created", "created_date", "opened", "date_opened", "submitted_at", "open_date"),
    "solved_at": ("closed_at", "resolved_at", "closed_date", "closed", "resolved", "solved", "date_closed"),
    "escalated_at": ("escalated", "escalation_date"),
    "response_id": ("id", "answer_id", "survey_id", "response"),
    "respondent_id": ("respondent", "contact_id", "person_id", "person", "email", "user_id"),
    "score": ("nps_score", "nps", "rating", "answer"),
    "responded_at": ("response_date", "answered_at", "submitted_at", "date", "created_at", "responded"),
    "interaction_id": ("id", "activity_id", "engagement_id"),
    "contact_id": ("contact", "person_id", "who_id"),
    "contact_role": ("role", "job_role", "title"),
    "kind": ("type", "activity_type", "interaction_type", "engagement_type"),
    "assessment_id": ("id",),
    "rag": ("status", "health", "rag_status", "rating", "color"),
    "assessed_at": ("date", "assessment_date", "created_at"),
    UPDATED: ("last_modified_date", "last_modified", "modified_at", "updated", "systemmodstamp", "last_update"),
}


def assigned(entity: str, absent: Iterable[str], unused: Sequence[str], key: Mapping[str, str]) -> dict[str, str]:
    """The suggested unused column for each missing column of the contract; each unused column at most once.

    ``key`` has the normalised form of each unused name.
    """
    wanted = list(absent)
    scored = sorted(
        (
            (-_likeness(entity, name, key[column]), place, position, name, column)
            for place, name in enumerate(wanted)
            for position, column in enumerate(unused)
        ),
    )
    hints: dict[str, str] = {}
    for negative, _, _, name, column in scored:
        if -negative >= _SIMILAR and name not in hints and column not in hints.values():
            hints[name] = column
    return hints


def _likeness(entity: str, name: str, column: str) -> float:
    if column == name:
        return 3.0
    # In exports, the columns of the key and the name are often `id` and `name`.
    own = entity.removesuffix("s")
    if column == "id" and name == ENTITIES[entity].key:
        return 2.5
    synonyms = _SYNONYMS.get(name, ())
    for candidate in (column, column.removeprefix(f"{own}_")):
        if candidate in synonyms:
            return 2.0 - synonyms.index(candidate) / 100
        if candidate == name:
            return 2.0
    return difflib.SequenceMatcher(None, name, column).ratio()
