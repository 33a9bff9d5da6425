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
from csm_core.sources.source_settings import remember_sources
from csm_core.staging.vendor_records import REJECTED_RECORDS
from csm_core.warehouse.models import staging_models
from tests.sources.test_stripe import write_lines
from tests.sql.test_staging_cases import build_steps, given_identity

SAMPLES = Path(__file__).parent / "samples"


def landed(system: str) -> LandedTables:
    return LandedTables(path=SAMPLES / f"{system}_fivetran", by="fivetran")


def loaded(way_in, system: str, sources: tuple[VendorSettings, ...]) -> dict[str, int]:
    """Records by raw table, once they are loaded and the steps of staging are built."""
    connection = way_in.connection
    folder = way_in.folder.parent / "sources"
    results = get_system(system).load(connection, sources, loaded_at=way_in.now, folder=folder, log=way_in.log)
    assert all(result.read == result.loaded for result in results)
    remember_sources(connection, system, sources)
    build_steps(connection, system)
    assert way_in.rows(f"select field, reason, value from {REJECTED_RECORDS} where system = '{system}'") == []
    given_identity(connection, {})
    account_map.build(connection, Config(sources=sources), [system])
    return {result.table.removeprefix(f"raw.{system}__"): result.loaded for result in results if result.loaded}


def staged(way_in, system: str, entity: str) -> set[object]:
    key = {"subscriptions": "subscription_id", "invoices": "invoice_id", "tickets": "ticket_id"}[entity]
    model = staging_models(system)[entity].sql
    counted = f"where {IGNORED} is null" if f"as {IGNORED}" in model else ""
    return {name for (name,) in way_in.rows(f"select {key} from ({model}) {counted}")}


def test_every_record_of_stripe_is_accounted_for(way_in):
    objects = json.loads((SAMPLES / "stripe_openapi.json").read_text(encoding="utf-8"))
    for kind, record in objects.items():
        write_lines(way_in.folder / f"{kind}s.jsonl", record)
    sources = (
        StripeSettings(system="stripe", name="newest", path=way_in.folder, include_test_mode=True),
        StripeSettings(system="stripe", name="landed", tables=landed("stripe")),
    )
    assert loaded(way_in, "stripe", sources) == {
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
    first = {name for name in staged(way_in, "stripe", "subscriptions") if "/" not in str(name)}
    assert first == {newest, "sdgfs4536", "sfjytkyu876"}
    # Of the other two, one is a draft and one is of the test mode.
    assert objects["invoice"]["status"] == "draft"
    assert staged(way_in, "stripe", "invoices") == {"ab1111"}


def test_every_record_of_zendesk_is_accounted_for(way_in):
    for kind in ("tickets", "organizations", "users"):
        records = json.loads((SAMPLES / f"zendesk_{kind}.json").read_text(encoding="utf-8"))[kind]
        write_lines(way_in.folder / f"{kind}.jsonl", *records)
    sources = (
        ZendeskSettings(system="zendesk", name="asked", path=way_in.folder),
        ZendeskSettings(system="zendesk", name="landed", tables=landed("zendesk")),
    )
    found = loaded(way_in, "zendesk", sources)
    assert (found["tickets"], found["fivetran_ticket"], found["fivetran_ticket_field_history"]) == (2, 10, 38)
    deleted = "select count(*) from raw.zendesk__fivetran_ticket where record ->> '$.status' = 'deleted'"
    assert way_in.rows(deleted) == [(2,)]
    tickets = {
        str(name).rsplit("/", 1)[0] if str(name).count("/") > 1 else name
        for name in staged(way_in, "zendesk", "tickets")
    }
    assert len(tickets) == 2 + 10 - 2
