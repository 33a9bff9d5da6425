"""Real-format records of vendors, loaded and staged: each of them is staged, or left out for a known reason."""

from __future__ import annotations

import json
from pathlib import Path

from csm_core.accounts import account_map
from csm_core.config import Config
from csm_core.contract import IGNORED
from csm_core.sources.registry import get_system
from csm_core.sources.settings import StripeSettings, ZendeskSettings
from csm_core.sources.settings_base import LandedTables, VendorSettings
from csm_core.sources.source_settings import write_source_settings
from csm_core.staging.vendor_records import REJECTED_RECORDS
from csm_core.warehouse.models import staging_models
from tests.sources.test_stripe import write_lines
from tests.sql.test_staging_cases import build_steps, given_identity

SAMPLES = Path(__file__).parent / "samples"


def landed(system: str) -> LandedTables:
    return LandedTables(path=SAMPLES / f"{system}_fivetran", by="fivetran")


def loaded(source_loads, system: str, sources: tuple[VendorSettings, ...]) -> dict[str, int]:
    """Records by raw table, once they are loaded and the steps of staging are built."""
    connection = source_loads.connection
    folder = source_loads.folder.parent / "sources"
    results = get_system(system).load(
        connection, sources, loaded_at=source_loads.now, folder=folder, log=source_loads.log
    )
    assert all(result.read == result.loaded for result in results)
    write_source_settings(connection, system, sources)
    build_steps(connection, system)
    assert source_loads.rows(f"select field, reason, value from {REJECTED_RECORDS} where system = '{system}'") == []
    given_identity(connection, {})
    account_map.build(connection, Config(sources=sources), [system])
    return {result.table.removeprefix(f"raw.{system}__"): result.loaded for result in results if result.loaded}


def staged(source_loads, system: str, entity: str) -> set[object]:
    key = {"subscriptions": "subscription_id", "invoices": "invoice_id", "tickets": "ticket_id"}[entity]
    model = staging_models(system)[entity].sql
    counted = f"where {IGNORED} is null" if f"as {IGNORED}" in model else ""
    return {name for (name,) in source_loads.rows(f"select {key} from ({model}) {counted}")}


def test_every_record_of_stripe_is_accounted_for(source_loads):
    objects = json.loads((SAMPLES / "stripe_openapi.json").read_text(encoding="utf-8"))
    for kind, record in objects.items():
        write_lines(source_loads.folder / f"{kind}s.jsonl", record)
    sources = (
        StripeSettings(system="stripe", name="newest", path=source_loads.folder, include_test_mode=True),
        StripeSettings(system="stripe", name="landed", tables=landed("stripe")),
    )
    assert loaded(source_loads, "stripe", sources) == {
        "customers": 1,
        "subscriptions": 1,
        "invoices": 1,
        "credit_notes": 1,
        "fivetran_customer": 12,
        "fivetran_subscription": 2,
        "fivetran_subscription_item": 14,
        "fivetran_plan": 13,
        "fivetran_price": 4,
        "fivetran_credit_note": 2,
        "fivetran_invoice": 2,
        "fivetran_invoice_line_item": 3,
    }
    newest = objects["subscription"]["id"]
    first = {name for name in staged(source_loads, "stripe", "subscriptions") if "/" not in str(name)}
    assert first == {newest, "sdgfs4536", "sfjytkyu876"}
    # Of the other two, one is a draft and one is of the test mode.
    assert objects["invoice"]["status"] == "draft"
    assert staged(source_loads, "stripe", "invoices") == {"ab1111"}


def test_every_record_of_zendesk_is_accounted_for(source_loads):
    for kind in ("tickets", "organizations", "users"):
        records = json.loads((SAMPLES / f"zendesk_{kind}.json").read_text(encoding="utf-8"))[kind]
        write_lines(source_loads.folder / f"{kind}.jsonl", *records)
    sources = (
        ZendeskSettings(system="zendesk", name="asked", path=source_loads.folder),
        ZendeskSettings(system="zendesk", name="landed", tables=landed("zendesk")),
    )
    found = loaded(source_loads, "zendesk", sources)
    assert (found["tickets"], found["fivetran_ticket"], found["fivetran_ticket_field_history"]) == (2, 10, 38)
    deleted = "select count(*) from raw.zendesk__fivetran_ticket where record ->> '$.status' = 'deleted'"
    assert source_loads.rows(deleted) == [(2,)]
    tickets = {
        str(name).rsplit("/", 1)[0] if str(name).count("/") > 1 else name
        for name in staged(source_loads, "zendesk", "tickets")
    }
    assert len(tickets) == 2 + 10 - 2
