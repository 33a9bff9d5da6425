"""Records of an erased account's customers that a vendor delivers again are rejected, whatever says whose they are."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from csm_core.accounts import account_map
from csm_core.config import Config
from csm_core.contract import ENTITIES
from csm_core.sources.registry import get_system
from csm_core.sources.settings import AnySource
from csm_core.sources.source_settings import write_source_settings
from csm_core.staging.erased_accounts import account_hash, record_erased_customers, record_matched_customers
from csm_core.staging.gate import stage_entity
from csm_core.staging.plan import UpstreamInputs
from csm_core.warehouse.models import staging_models
from tests.sources.test_stripe import write_lines
from tests.sql.test_staging_cases import build_steps, given_identity

JUNE = "2026-06-01T00:00:00Z"
INVOICE = {"status": "open", "created": 1_767_225_600, "amount_due": 5, "currency": "usd"}
TICKET = {"status": "open", "created_at": JUNE, "updated_at": JUNE}
MEETING = {"properties": {"hs_timestamp": JUNE}}
CALL = {"timestamp": JUNE, "receivedAt": JUNE}
ANSWER = {"survey_type": "nps", "score": 9, "created_at": 1_767_225_600}


def linked(**ids: str) -> dict[str, Any]:
    return {"associations": {kind: {"results": [{"id": one}]} for kind, one in ids.items()}}


# Of each vendor: the ids of the erased account's customers and users, its records, and those of another customer.
VENDORS: dict[str, tuple[tuple[str, ...], dict[str, list[dict[str, Any]]], dict[str, list[dict[str, Any]]]]] = {
    "stripe": (
        ("c1",),
        {
            "customers": [{"id": "c1", "name": "Zebra", "metadata": {"account_id": "zebra"}}],
            "invoices": [
                {"id": "i1", "customer": "c1", **INVOICE},
                {"id": "i2", "customer": {"id": "c1"}, **INVOICE, "status": "draft"},
            ],
            "subscriptions": [{"id": "s1", "customer": "c1", "status": "active", "created": 1_767_225_600}],
            "credit_notes": [{"id": "n1", "customer": "c1", "invoice": "i1", "amount": 5}],
            "events": [
                {"id": "e1", "type": "customer.subscription.updated", "created": 1_767_225_600}
                | {"data": {"object": {"id": "s1", "customer": "c1"}}}
            ],
        },
        {
            "customers": [{"id": "c2", "metadata": {"account_id": "a2"}}],
            "invoices": [{"id": "i3", "customer": "c2", **INVOICE}],
        },
    ),
    "zendesk": (
        ("1", "user/7"),
        {
            "organizations": [{"id": 1, "name": "Zebra", "external_id": "zebra"}],
            "users": [{"id": 7, "name": "Zoe", "organization_id": 1}, {"id": 8, "organization_id": 1}],
            "tickets": [{"id": 11, "organization_id": 1, **TICKET}, {"id": 12, "requester_id": 7, **TICKET}],
        },
        {
            "organizations": [{"id": 2, "external_id": "a2"}],
            # The same numbers are other things.
            "users": [{"id": 1, "organization_id": 2}],
            "tickets": [{"id": 7, "organization_id": 2, "requester_id": 1, **TICKET}],
        },
    ),
    "hubspot": (
        ("101", "contact/1"),
        {
            "companies": [{"id": "101", "properties": {"name": "Zebra", "account_id": "zebra"}}],
            "contacts": [{"id": one, "properties": {"associatedcompanyid": "101"}} for one in ("1", "3")],
            "meetings": [
                {"id": "201", **MEETING, **linked(companies="101")},
                {"id": "202", **MEETING, **linked(contacts="1")},
            ],
        },
        {
            "companies": [{"id": "102", "properties": {"name": "Two", "account_id": "a2"}}],
            "contacts": [{"id": "101", "properties": {"associatedcompanyid": "102"}}],
            "meetings": [{"id": "1", **MEETING, **linked(companies="102", contacts="101")}],
        },
    ),
    "segment": (
        ("g1", "user/u1"),
        {
            "groups": [{"messageId": "m1", "type": "group", "userId": "u1", "groupId": "g1", **CALL}],
            "identifies": [{"messageId": "m2", "type": "identify", "userId": "u1", "traits": {"name": "Zoe"}, **CALL}],
            "tracks": [{"messageId": "m3", "type": "track", "userId": "u1", "event": "Opened", **CALL}],
        },
        {
            "groups": [
                {"messageId": "m4", "type": "group", "userId": "u2", "groupId": "g2", **CALL}
                | {"traits": {"account_id": "a2"}}
            ],
            "tracks": [{"messageId": "m5", "type": "track", "userId": "u2", "event": "Opened", **CALL}],
        },
    ),
    "delighted": (
        ("x@zebra.example", "person/1"),
        {
            "people": [{"id": "1", "email": "x@zebra.example", "name": "Zoe"}],
            "survey_responses": [{"id": "11", "person": {"id": "1", "email": "x@zebra.example"}, **ANSWER}],
        },
        {
            "people": [{"id": "2", "email": "y@two.example"}],
            "survey_responses": [
                {"id": "12", "person": {"id": "2"}, "person_properties": {"account_id": "a2"}, **ANSWER}
            ],
        },
    ),
}


@pytest.mark.parametrize("system", VENDORS)
def test_no_record_of_an_erased_customer_is_kept_and_others_are(source_loads, system):
    customers, erased, others = VENDORS[system]
    connection = source_loads.connection
    source_loads.write_company(accounts="account_id,account_name\na2,Two\n")
    source_loads.run("accounts")
    connection.execute("insert into run.erasures values (?, now(), 'me', '{}', true)", [account_hash("zebra")])
    record_erased_customers(connection, "zebra", [(system, one) for one in customers])
    folder = source_loads.folder.parent / system
    for table in {*erased, *others}:
        write_lines(folder / f"{table}.jsonl", *erased.get(table, []), *others.get(table, []))
    source = TypeAdapter[Any](AnySource).validate_python({"system": system, "path": folder})
    reasons = stage(source_loads, source)
    assert reasons == {"erased": sum(map(len, erased.values()))}
    tables = [raw.table for raw in get_system(system).raw_tables if raw.name in {*erased, *others}]
    kept = " union all ".join(f"select record from {table}" for table in [*tables, f"staging.{system}_records"])
    found = {str(record) for (record,) in source_loads.rows(f"select distinct record from ({kept})")}
    assert not [record for record in found if '"zebra"' in record or "Zo" in record or "Zebra" in record]
    assert source_loads.rows("select external_id from staging.account_map where external_id like '%zebra%'") == []
    stored = sum(source_loads.rows(f"select count(*) from {table}")[0][0] for table in tables)
    assert stored == sum(map(len, others.values()))


def test_a_new_customer_of_an_erased_account_is_rejected_from_the_second_run_on(source_loads):
    connection = source_loads.connection
    source_loads.write_company(accounts="account_id,account_name\na2,Two\n")
    source_loads.run("accounts")
    connection.execute("insert into run.erasures values (?, now(), 'me', '{}', true)", [account_hash("zebra")])
    folder = source_loads.folder.parent / "stripe"
    write_lines(folder / "customers.jsonl", {"id": "c9", "name": "Zebra", "metadata": {"account_id": "zebra"}})
    write_lines(folder / "invoices.jsonl", {"id": "i9", "customer": "c9", **INVOICE})
    source = TypeAdapter[Any](AnySource).validate_python({"system": "stripe", "path": folder})
    assert stage(source_loads, source) == {"erased": 1}
    assert source_loads.rows("select external_name from staging.account_map") == [(None,)]
    assert stage(source_loads, source) == {"erased": 1}
    assert source_loads.rows("select count(*) from raw.stripe__customers") == [(0,)]


def stage(source_loads, source: Any) -> dict[str, int]:
    """Load a source and stage it as a run does; returns its rejected records by reason, over all entities."""
    connection, system = source_loads.connection, get_system(source.system)
    folder = source_loads.folder.parent / "sources"
    system.load(connection, [source], loaded_at=source_loads.now, folder=folder, log=source_loads.log)
    write_source_settings(connection, source.system, [source])
    build_steps(connection, source.system)
    if not source_loads.rows("select 1 from duckdb_tables() where table_name = 'identity__account_map'"):
        given_identity(connection, {})
    account_map.build(connection, Config(sources=(source,)), [source.system])
    record_matched_customers(connection)
    raw_tables = frozenset(raw.table for raw in system.raw_tables)
    models = staging_models(source.system)
    reasons: dict[str, int] = {}
    for entity in (name for name in ENTITIES if name in models and name != "accounts"):
        report = stage_entity(
            connection,
            entity,
            [(source.system, models[entity].sql)],
            staged_at=source_loads.now,
            upstream={source.system: UpstreamInputs(raw_tables, "1")},
        )
        for reason, count in report.by_reason.items():
            reasons[reason] = reasons.get(reason, 0) + count
    return reasons
