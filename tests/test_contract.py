"""The staged contract as data says what docs/sources/files.md says."""

from __future__ import annotations

import pytest

from csm_core.contract import ENTITIES, MANDATORY_ENTITIES, MAX_AMOUNT, MAX_COUNT, Kind, Reason

# entity -> its columns in order; an asterisk: required.
STATED = {
    "accounts": "account_id* account_name* tenant_id segment plan csm_owner created_at churned_at valid_from",
    "features": "feature* module plan released_at display_name valid_from",
    "usage_events": "event_id* account_id* user_id event_name* feature quantity occurred_at*",
    "subscriptions": "subscription_id* account_id* seats mrr currency started_at* renews_at ended_at term_months",
    "invoices": "invoice_id* account_id* amount_due currency issued_at* due_at paid_at voided_at",
    "tickets": "ticket_id* account_id* opened_at* solved_at priority sentiment escalated_at",
    "nps_responses": "response_id* account_id* respondent_id* score* responded_at*",
    "interactions": "interaction_id* account_id* contact_id contact_role kind* occurred_at*",
    "tam_assessments": "assessment_id* account_id* rag* assessed_at*",
    "lifecycle_events": "event_id* account_id* kind* occurred_at* reason",
}


def test_the_entities_are_those_of_the_specification():
    assert list(ENTITIES) == list(STATED)
    assert MANDATORY_ENTITIES == ("accounts", "features", "usage_events")


@pytest.mark.parametrize("name", list(STATED))
def test_the_columns_are_those_of_the_specification(name):
    entity = ENTITIES[name]
    assert " ".join(f"{one.name}{'*' * one.required}" for one in entity.columns) == STATED[name]
    assert entity.key == entity.columns[0].name
    assert entity.refers_to_accounts == (name not in {"accounts", "features"})
    for column in entity.columns:
        assert (column.kind is Kind.TIMESTAMP) == (column.name.endswith("_at") or column.name == "valid_from")


def test_ranges_levels_and_defaults():
    columns = {(entity.name, one.name): one for entity in ENTITIES.values() for one in entity.columns}
    limits = {
        key: (one.minimum, one.maximum) for key, one in columns.items() if (one.minimum, one.maximum) != (None, None)
    }
    assert limits == {
        ("usage_events", "quantity"): (0, MAX_COUNT),
        ("subscriptions", "seats"): (0, MAX_COUNT),
        ("subscriptions", "mrr"): (0, MAX_AMOUNT),
        ("subscriptions", "term_months"): (0, 1200),
        ("invoices", "amount_due"): (-MAX_AMOUNT, MAX_AMOUNT),
        ("nps_responses", "score"): (0, 10),
    }
    assert {key: one.levels for key, one in columns.items() if one.levels} == {
        ("tickets", "sentiment"): ("positive", "neutral", "negative", "critical"),
        ("tam_assessments", "rag"): ("GREEN", "AMBER", "RED"),
        ("lifecycle_events", "kind"): ("started", "churned", "returned"),
    }
    assert {key: one.default for key, one in columns.items() if one.default is not None} == {
        ("accounts", "tenant_id"): "default",
        ("usage_events", "quantity"): 1,
    }


def test_every_reason_can_be_explained():
    assert all(reason.meaning for reason in Reason)
