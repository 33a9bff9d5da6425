"""HubSpot: its API over real HTTP, with its limits and failures, tables as Fivetran lands them, and a whole run."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from csm_core.errors import ConfigError, SourceError, SourceUnavailableError
from csm_core.sources.hubspot import HUBSPOT
from csm_core.sources.settings import HubSpotApi, HubSpotSettings
from csm_core.sources.settings_base import LandedTables
from tests.sources.test_stripe import write_company
from tests.web_server import Answer, Asked, WebServer, drop, refuse, serving

SAMPLES = Path(__file__).parent / "samples" / "hubspot_fivetran"
TOKEN = "pat-eu1-12345678-90ab"
LONG_AGO = "2020-01-01T00:00:00Z"
KINDS = ("calls", "emails", "meetings", "notes", "tasks", "communications")


def sample(table: str) -> list[dict[str, str]]:
    """The rows of a landed table, with the names that the API gives properties."""
    with (SAMPLES / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        return [{name.removeprefix("property_"): value for name, value in row.items()} for row in csv.DictReader(file)]


def now() -> str:
    return datetime.now(UTC).isoformat()


class HubSpot(WebServer):
    """Serves objects as HubSpot does: lists by `after`, searches that stop at ``cap`` results, links in batches."""

    page = 100
    cap = 10_000

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in ("companies", "contacts", *KINDS)}
        self.archived: dict[str, list[dict[str, Any]]] = {}
        self.links: dict[tuple[str, int, str], list[int]] = {}
        self.owners: list[dict[str, Any]] = []
        self.stop_at: tuple[str, str] | None = None
        self.stopped = threading.Event()
        self.going_on = threading.Event()

    def put(self, kind: str, record: int, changed: str = LONG_AGO, **properties: Any) -> None:
        """A record that was changed then."""
        modified = "lastmodifieddate" if kind == "contacts" else "hs_lastmodifieddate"
        stated = {"hs_object_id": str(record), modified: changed, **properties}
        self.objects[kind][record] = {"id": str(record), "properties": stated, "archived": False, "updatedAt": changed}

    def link(self, kind: str, record: int, **others: list[int]) -> None:
        for other, found in others.items():
            self.links[kind, record, other] = found

    def archive(self, kind: str, record: int) -> None:
        gone = self.objects[kind].pop(record)
        self.archived.setdefault(kind, []).append({**gone, "archived": True, "archivedAt": now()})

    def respond(self, asked: Asked) -> Answer:
        name = asked.path.removeprefix("/crm/v3/objects/")
        if (name, asked.query.get("after", "")) == self.stop_at:
            self.stopped.set()
            self.going_on.wait(60)
        if asked.path == "/crm/v3/owners":
            return Answer({"results": self.owners})
        if asked.path.startswith("/crm/v4/associations/"):
            return Answer(self._links(*asked.path.split("/")[4:6], json.loads(asked.body)))
        if name.endswith("/search"):
            return self._search(name.removesuffix("/search"), json.loads(asked.body))
        return Answer(self._list(name, asked.query))

    def _list(self, kind: str, query: Any) -> dict[str, Any]:
        archived = query.get("archived") == "true"
        found = self.archived.get(kind, []) if archived else [one for _, one in sorted(self.objects[kind].items())]
        start = int(query.get("after", "0"))
        page = [self._shown(one, query.get("properties", "").split(",")) for one in found[start : start + self.page]]
        for record in page:
            for other in [] if archived else query.get("associations", "").split(","):
                linked = self.links.get((kind, int(record["id"]), other), [])
                if linked:
                    told: dict[str, Any] = {"results": [{"id": str(one), "type": "any"} for one in linked[:2]]}
                    more = {"paging": {"next": {"after": str(linked[1])}}} if len(linked) > 2 else {}
                    record.setdefault("associations", {})[other] = {**told, **more}
        following = {"paging": {"next": {"after": str(start + self.page)}}} if start + self.page < len(found) else {}
        return {"results": page, **following}

    def _search(self, kind: str, body: dict[str, Any]) -> Answer:
        start, limit = int(body.get("after", 0)), int(body["limit"])
        if start + limit > self.cap or limit > 200:
            return Answer({"status": "error", "category": "VALIDATION_ERROR"}, 400)
        found = [one for _, one in sorted(self.objects[kind].items())]
        for one in body["filterGroups"][0]["filters"]:
            found = [record for record in found if self._passes(record["properties"], **one)]
        (sort,) = body["sorts"]
        assert sort == {"propertyName": "hs_object_id", "direction": "ASCENDING"}
        page = [self._shown(one, body["properties"]) for one in found[start : start + limit]]
        return Answer({"total": len(found), "results": page})

    @staticmethod
    def _passes(properties: dict[str, str], propertyName: str, operator: str, value: str) -> bool:  # noqa: N803
        held = properties.get(propertyName)
        if held is None:
            return False
        number = int(held) if held.isdigit() else datetime.fromisoformat(held).timestamp() * 1000
        return number > int(value) if operator == "GT" else number >= int(value)

    @staticmethod
    def _shown(record: dict[str, Any], properties: list[str]) -> dict[str, Any]:
        held = record["properties"]
        return {**record, "properties": {name: held.get(name) for name in (*properties, "hs_object_id") if name}}

    def _links(self, kind: str, other: str, body: dict[str, Any]) -> dict[str, Any]:
        results: list[dict[str, Any]] = []
        for one in body["inputs"]:
            linked = self.links.get((kind, int(one["id"]), other), [])
            start = int(one.get("after", "0"))
            to = [{"toObjectId": number, "associationTypes": []} for number in linked[start : start + 2]]
            more = {"paging": {"next": {"after": str(start + 2)}}} if start + 2 < len(linked) else {}
            results += [{"from": {"id": one["id"]}, "to": to, **more}] if to else []
        return {"status": "COMPLETE", "results": results}


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubSpot]:
    monkeypatch.setenv("HUBSPOT_TOKEN", TOKEN)
    made = HubSpot()
    for row in sample("company"):
        made.put("companies", int(row["id"]), name=row["name"], createdate=row["createdate"])
    for row in sample("contact"):
        made.put("contacts", int(row["id"]), email=row["email"], hs_merged_object_ids=row["hs_merged_object_ids"])
    companies = list(made.objects["companies"])
    for number in range(250):
        made.put("calls", 1000 + number, hs_timestamp="2026-06-01T00:00:00Z")
        made.link("calls", 1000 + number, companies=companies[number % 20 : number % 20 + 1 + number % 4])
    with serving(made):
        yield made


def settings(vendor: HubSpot, **more: Any) -> HubSpotSettings:
    api = HubSpotApi(base_url=vendor.url, **more.pop("api", {}))
    return HubSpotSettings(system="hubspot", api=api, **more)


def load(source_loads, source: HubSpotSettings, folder: Path) -> dict[str, int]:
    results = HUBSPOT.load(
        source_loads.connection, [source], loaded_at=source_loads.now, folder=folder / "sources", log=source_loads.log
    )
    return {result.table.removeprefix("raw.hubspot__"): result.loaded for result in results if result.loaded}


def test_everything_is_read_page_by_page_through_failures_and_then_only_what_changed(vendor, source_loads, tmp_path):
    vendor.failures = [refuse(429, {"policyName": "TEN_SECONDLY_ROLLING"}, Retry_After="1"), drop]
    vendor.owners = [{"id": row["owner_id"], "email": row["email"]} for row in sample("owner")]
    begun = time.monotonic()
    read = load(source_loads, settings(vendor), tmp_path)
    assert time.monotonic() - begun >= 1
    assert read == {"companies": len(sample("company")), "contacts": len(sample("contact")), "calls": 250, "owners": 5}
    assert {one.headers["Authorization"] for one in vendor.asked} == {f"Bearer {TOKEN}"}
    linked = "select json_array_length(record, '$.associations.companies.results'), count(*) from raw.hubspot__calls"
    # Two of a call's companies are in the list, the others are asked for.
    assert source_loads.rows(f"{linked} group by 1 order by 1") == [(1, 63), (2, 63), (3, 62), (4, 62)]

    vendor.asked.clear()
    company = next(iter(vendor.objects["companies"]))
    vendor.put("companies", company, now(), name="Another name")
    vendor.put("contacts", 7, now(), email="new@one.example")
    vendor.put("calls", 1003, now(), hs_timestamp="2026-06-02T00:00:00Z")
    vendor.put("emails", 5, now(), hs_timestamp="2026-06-02T00:00:00Z")
    vendor.link("calls", 1003, companies=[1, 2, 3], contacts=[7])
    vendor.archive("calls", 1004)
    vendor.failures = [drop]
    again = load(source_loads, settings(vendor), tmp_path)
    assert again == {"companies": 1, "contacts": 1, "calls": 2, "emails": 1, "owners": 5}
    assert not [one for one in vendor.asked if one.path == "/crm/v3/objects/calls" and "archived" not in one.query]
    newest = (
        "select record ->> '$.associations.{}.results[*].id' from raw.hubspot__calls where record ->> '$.id' = '1003'"
    )
    order = "order by _load_id desc, _source_line desc limit 1"
    assert source_loads.rows(f"{newest.format('companies')} {order}") == [(["1", "2", "3"],)]
    assert source_loads.rows(f"{newest.format('contacts')} {order}") == [(["7"],)]
    gone = "select record ->> '$.id' from raw.hubspot__calls where record ->> '$.archived' = 'true'"
    assert source_loads.rows(gone) == [("1004",)]


def test_a_search_with_more_results_than_hubspot_gives_is_read_whole(vendor, source_loads, tmp_path):
    load(source_loads, settings(vendor), tmp_path)
    vendor.cap = 400
    at_once = now()
    for number in range(1_000):
        vendor.put("notes", 50_000 + number, at_once, hs_timestamp="2026-06-01T00:00:00Z")
    assert load(source_loads, settings(vendor), tmp_path)["notes"] == 1_000


def test_other_properties_are_read_of_everything_again(vendor, source_loads, tmp_path):
    company = next(iter(vendor.objects["companies"]))
    vendor.put("companies", company, our_id="A-1")
    load(source_loads, settings(vendor), tmp_path)
    assert "companies" not in load(source_loads, settings(vendor), tmp_path)
    read = load(source_loads, settings(vendor, account_key="our_id", accounts={"segment": "industry"}), tmp_path)
    assert read["companies"] == len(sample("company"))
    held = "select distinct record ->> '$.properties.our_id' from raw.hubspot__companies order by 1"
    assert source_loads.rows(held) == [("A-1",), (None,)]
    asked = next(one for one in reversed(vendor.asked) if one.query.get("properties", "").startswith("name"))
    assert {"our_id", "industry", "hubspot_owner_id", "lifecyclestage"} <= set(asked.query["properties"].split(","))


def test_the_limit_of_a_day_is_not_waited_out(vendor, source_loads, tmp_path):
    load(source_loads, settings(vendor), tmp_path)
    vendor.asked.clear()
    vendor.failures = [refuse(429, {"policyName": "DAILY", "message": f"no more, {TOKEN}"}, Retry_After="60")]
    begun = time.monotonic()
    with pytest.raises(SourceUnavailableError, match="daily request limit is used up; run again") as caught:
        load(source_loads, settings(vendor), tmp_path)
    assert time.monotonic() - begun < 30
    assert len(vendor.asked) == 1
    assert TOKEN not in str(caught.value)


KILLED = """
import dataclasses, sys
from datetime import UTC, datetime
from pathlib import Path
import duckdb
from csm_core.sources.hubspot import HUBSPOT
from csm_core.sources.settings import HubSpotApi, HubSpotSettings
from tests.source_loads import SilentLog
source = HubSpotSettings(system="hubspot", api=HubSpotApi(base_url=sys.argv[1]))
dataclasses.replace(HUBSPOT, pages=2).load(
    duckdb.connect(), [source], loaded_at=datetime.now(UTC), folder=Path(sys.argv[2]), log=SilentLog()
)
"""


@pytest.mark.slow
def test_a_pull_that_is_killed_goes_on_where_it_was(vendor, source_loads, tmp_path):
    vendor.stop_at = ("calls", "200")
    child = [sys.executable, "-c", KILLED, vendor.url, str(tmp_path / "sources")]
    with subprocess.Popen(
        child, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as run:
        assert vendor.stopped.wait(60)
        run.send_signal(signal.SIGKILL)
        output = run.communicate()[0]
    assert TOKEN.encode() not in output
    vendor.stop_at = None
    vendor.going_on.set()
    vendor.asked.clear()
    read = load(source_loads, settings(vendor), tmp_path)
    assert (vendor.asked[0].path, vendor.asked[0].query["after"]) == ("/crm/v3/objects/calls", "200")
    assert read["calls"] == 250
    assert read["companies"] == len(sample("company"))
    kept = [path for path in (tmp_path / "sources").rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if TOKEN.encode() in path.read_bytes()]


def test_the_connection_is_looked_at_and_what_is_missing_is_named(vendor, monkeypatch, tmp_path):
    assert HUBSPOT.check(settings(vendor)) == f"{vendor.url} is reachable, the key in HUBSPOT_TOKEN is valid"
    vendor.failures = [refuse(401, {"message": f"The token {TOKEN} is expired"})]
    with pytest.raises(ConfigError, match="rejects the key in HUBSPOT_TOKEN") as rejected:
        HUBSPOT.check(settings(vendor))
    assert TOKEN not in str(rejected.value)
    vendor.failures = [refuse(429)]
    with pytest.raises(SourceUnavailableError, match=r"returned status 429 \(1 attempt\)"):
        HUBSPOT.check(settings(vendor, api={"attempts": 1}))
    monkeypatch.delenv("HUBSPOT_TOKEN")
    with pytest.raises(ConfigError, match="HUBSPOT_TOKEN is not set"):
        HUBSPOT.check(settings(vendor))
    (tmp_path / "contacts.jsonl").write_text("{}")
    with pytest.raises(SourceError, match=r"no hubspot records found.*companies, company, calls.*Found: contacts"):
        HUBSPOT.check(HubSpotSettings(system="hubspot", path=tmp_path))


@pytest.mark.parametrize("database", [False, True])
def test_tables_are_taken_from_a_folder_and_from_a_database(database, source_loads, tmp_path):
    path = SAMPLES
    if database:
        path = tmp_path / "landed.duckdb"
        with duckdb.connect(str(path)) as connection:
            for file in sorted(SAMPLES.glob("*.csv")):
                connection.execute(f"create table {file.stem} as from read_csv('{file}', all_varchar = true)")
    source = HubSpotSettings(system="hubspot", tables=LandedTables(path=path, by="fivetran"))
    assert HUBSPOT.check(source).startswith(f"{path}: tables company, contact, engagement")
    read = load(source_loads, source, tmp_path)
    assert (read["fivetran_company"], read["fivetran_engagement_meeting"], read["fivetran_owner"]) == (
        len(sample("company")),
        10,
        5,
    )
    odd = """select record ->> '$."property_hs_all-funky-a9384-syntax"' from raw.hubspot__fivetran_company order by 1"""
    assert source_loads.rows(f"{odd} limit 1") == [("23",)]
    assert not load(source_loads, source, tmp_path) or database


@pytest.mark.slow
def test_what_is_said_to_customers_and_who_they_are_is_in_the_signals(vendor, tmp_path, company):
    for kind in vendor.objects.values():
        kind.clear()
    stated = {"lifecyclestage": "customer", "plan_tier": "pro", "industry": "RETAIL", "hubspot_owner_id": "7"}
    vendor.owners = [{"id": "7", "firstName": "Ann", "lastName": "Lee"}]
    vendor.put("companies", 10, name="One", account_id="a1", **stated)
    vendor.put("companies", 20, name="Two", account_id="a2", **stated)
    vendor.put("companies", 30, name="A lead", lifecyclestage="lead")
    vendor.put("companies", 40, name="Whose?", lifecyclestage="customer")
    for number in (1, 2, 3, 4):
        role = "DECISION_MAKER;END_USER" if number == 1 else None
        vendor.put("contacts", number, associatedcompanyid="10", hs_buying_role=role)
    vendor.put("contacts", 5, associatedcompanyid="20", hs_merged_object_ids="6;7")
    vendor.put("calls", 100, hs_timestamp="2026-06-20T10:00:00Z")
    vendor.link("calls", 100, companies=[10], contacts=[1, 2, 3])
    vendor.put("meetings", 101, hs_timestamp="2026-06-25T10:00:00Z", hs_meeting_outcome="NO_SHOW")
    vendor.link("meetings", 101, companies=[10, 20], contacts=[4, 5])
    vendor.put("emails", 102, hs_timestamp="2026-06-26T10:00:00Z", hs_sequence_id="1")
    vendor.link("emails", 102, contacts=[4, 5])
    vendor.put("emails", 103, hs_timestamp="2026-06-10T10:00:00Z", hs_email_direction="INCOMING_EMAIL")
    vendor.link("emails", 103, contacts=[5, 6, 7])
    vendor.put("notes", 104, hs_timestamp="2026-06-28T10:00:00Z")
    vendor.link("notes", 104, companies=[10, 20, 30])
    folder = write_company(tmp_path / "company")
    (folder / "accounts.csv").unlink()
    made = company(
        folder,
        sources=[
            {"system": "files", "path": str(folder), "entities": ["features", "usage_events"]},
            {
                "system": "hubspot",
                "api": {"base_url": vendor.url},
                "accounts": {"plan": "plan_tier", "segment": "industry"},
            },
        ],
        checks={"max_silent_days": 60},
        max_rejected_percent=50,
    )
    done = made.csm("run", "--as-of", "2026-06-30", "--no-publish", environment={"HUBSPOT_TOKEN": TOKEN})
    assert done.returncode == 0, done.stdout + done.stderr
    assert TOKEN not in done.stdout + done.stderr
    found = made.query(
        "select account_id, days_since_last_interaction, stakeholder_engagement "
        "from marts.csm_health_signals order by account_id"
    )
    # The 20th, three contacts of whom one decides; the 10th, three that are one.
    assert found == [("a1", 10, "high"), ("a2", 20, "medium")]
    accounts = "select account_id, account_name, segment, plan, csm_owner from staging.stg_accounts order by 1"
    assert made.query(accounts) == [
        ("a1", "One", "RETAIL", "pro", "Ann Lee"),
        ("a2", "Two", "RETAIL", "pro", "Ann Lee"),
    ]
    refused = "select field, reason, value from quarantine.accounts"
    assert made.query(refused) == [("account_id", "unmatched", "40")]
