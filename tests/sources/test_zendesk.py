"""Zendesk: its API over real HTTP, with the failures that real ones have, and a whole run."""

from __future__ import annotations

import base64
import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from csm_core.errors import ConfigError, SourceError
from csm_core.sources.settings import ZendeskApi, ZendeskSettings
from csm_core.sources.zendesk import ZENDESK
from tests.sources.test_stripe import write_company, write_lines
from tests.sources.web_server import Answer, Asked, WebServer, drop, refuse, serving

SAMPLES = Path(__file__).parent / "samples"
TOKEN, EMAIL = "zd_token_12345", "ops@acme.example"


def sample(name: str) -> list[dict[str, Any]]:
    return json.loads((SAMPLES / f"zendesk_{name}.json").read_text(encoding="utf-8"))[name]


class Zendesk(WebServer):
    """Serves exports as Zendesk does: tickets by cursor, the others by time, ratings by page."""

    page = 100

    def __init__(self) -> None:
        super().__init__()
        self.changed: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        self.refuse_cursor: str | None = None

    def respond(self, asked: Asked) -> Answer:
        if self.refuse_cursor and asked.query.get("cursor") == self.refuse_cursor:
            return Answer({"error": f"no, {TOKEN}"}, 422)
        name = asked.path.removeprefix("/api/v2/").removeprefix("incremental/").removesuffix(".json")
        kind = name.removesuffix("/cursor")
        records = self.changed.get(kind, [])
        if name == "tickets/cursor":
            start = int(asked.query["cursor"].removeprefix("c")) if "cursor" in asked.query else 0
            page = records[start : start + self.page]
            end = start + self.page >= len(records)
            body: dict[str, Any] = {"after_cursor": f"c{start + len(page)}", "end_of_stream": end}
        elif asked.path.startswith("/api/v2/incremental/"):
            since = int(asked.query["start_time"])
            assert since <= time.time() - 60
            later = [one for one in records if one[0] >= since]
            page, end = later[: self.page], len(later) <= self.page
            body = {"end_time": page[-1][0] if page else None, "end_of_stream": end, "next_page": "elsewhere"}
        else:
            start = int(asked.query.get("page[after]", "0"))
            page = records[start : start + int(asked.query["page[size]"])]
            more = start + len(page) < len(records)
            body = {"meta": {"has_more": more, "after_cursor": str(start + len(page)) if more else None}}
        return Answer({kind: [record for _, record in page], **body})


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Zendesk]:
    monkeypatch.setenv("ZENDESK_TOKEN", TOKEN)
    monkeypatch.setenv("ZENDESK_EMAIL", EMAIL)
    made = Zendesk()
    made.changed["organizations"] = [(1_590_000_000 + n, one) for n, one in enumerate(sample("organizations"))]
    made.changed["users"] = [(1_590_000_000 + n, one) for n, one in enumerate(sample("users"))]
    organizations = [one["id"] for _, one in made.changed["organizations"]]
    for n in range(250):
        stated = {"id": 1000 + n, "organization_id": organizations[n % 2]}
        ticket = {**sample("tickets")[n % 2], **stated}
        made.changed.setdefault("tickets", []).append((1_600_000_000 + n, ticket))
        event = {"id": n, "ticket_id": 1000 + n, "created_at": "2019-06-04T00:00:00Z"}
        event["child_events"] = [{"event_type": "Change", "status": "solved", "previous_value": "open"}]
        made.changed.setdefault("ticket_events", []).append((1_600_000_000 + n, event))
        rating = {"id": n, "ticket_id": 1000 + n, "score": "good", "created_at": "2019-06-04T12:00:00Z"}
        made.changed.setdefault("satisfaction_ratings", []).append((1_600_000_000 + n, rating))
    with serving(made):
        yield made


def settings(vendor: Zendesk, **more: Any) -> ZendeskSettings:
    return ZendeskSettings(system="zendesk", api=ZendeskApi(base_url=vendor.url, **more))


def load(way_in, source: ZendeskSettings, folder: Path, system: Any = ZENDESK) -> dict[str, int]:
    results = system.load(way_in.connection, [source], loaded_at=way_in.now, folder=folder / "sources", log=way_in.log)
    return {result.table.removeprefix("raw.zendesk__"): result.loaded for result in results if result.loaded}


def distinct(way_in, table: str) -> int:
    return int(str(way_in.rows(f"select count(distinct record ->> '$.id') from raw.zendesk__{table}")[0][0]))


def test_everything_is_read_page_by_page_through_failures_and_then_only_what_changed(vendor, way_in, tmp_path):
    vendor.failures = [refuse(429, Retry_After="1"), drop]
    begun = time.monotonic()
    load(way_in, settings(vendor), tmp_path)
    assert time.monotonic() - begun >= 1
    tables = ("organizations", "users", "tickets", "ticket_events", "satisfaction_ratings")
    assert [distinct(way_in, table) for table in tables] == [2, len(sample("users")), 250, 250, 250]
    login = base64.b64encode(f"{EMAIL}/token:{TOKEN}".encode()).decode()
    assert {one.headers["Authorization"] for one in vendor.asked} == {f"Basic {login}"}
    vendor.asked.clear()
    vendor.changed["tickets"].append((1_600_000_300, {**sample("tickets")[0], "id": 5}))
    again = load(way_in, settings(vendor), tmp_path)
    assert again["tickets"] == 1
    # By time the last second is told again.
    assert again["ticket_events"] == 1
    assert [one.query["cursor"] for one in vendor.asked if one.path.endswith("cursor.json")] == ["c250"]
    assert len(vendor.asked) == 5 + 2


def test_a_pull_that_ends_in_the_middle_goes_on_there(vendor, way_in, tmp_path):
    small = dataclasses.replace(ZENDESK, pages=1)
    vendor.refuse_cursor = "c200"
    with pytest.raises(SourceError, match=r"refuses /api/v2/incremental/tickets/cursor.json \(status 422\)") as caught:
        load(way_in, settings(vendor), tmp_path, small)
    assert TOKEN not in str(caught.value)
    vendor.refuse_cursor = None
    vendor.asked.clear()
    load(way_in, settings(vendor), tmp_path, small)
    first = vendor.asked[0]
    assert (first.path, first.query) == ("/api/v2/incremental/tickets/cursor.json", {"cursor": "c200"})
    assert (distinct(way_in, "tickets"), distinct(way_in, "ticket_events")) == (250, 250)


def test_the_connection_is_looked_at_and_what_is_missing_is_named(vendor, monkeypatch, tmp_path):
    assert ZENDESK.check(settings(vendor)) == f"{vendor.url} answers, ZENDESK_TOKEN is accepted"
    assert ZENDESK.check(settings(vendor, login="oauth")).endswith("accepted")
    assert vendor.asked[-1].headers["Authorization"] == f"Bearer {TOKEN}"
    vendor.failures = [refuse(401, {"error": f"Couldn't authenticate you {TOKEN}"})]
    with pytest.raises(ConfigError, match="refuses the key in ZENDESK_TOKEN") as refused:
        ZENDESK.check(settings(vendor))
    assert TOKEN not in str(refused.value)
    monkeypatch.delenv("ZENDESK_EMAIL")
    with pytest.raises(ConfigError, match=r"ZENDESK_EMAIL is not set: it has to hold the e-mail address"):
        ZENDESK.check(settings(vendor))
    monkeypatch.delenv("ZENDESK_SUBDOMAIN", raising=False)
    with pytest.raises(ConfigError, match=r"ZENDESK_SUBDOMAIN is not set.*or set `api: subdomain`"):
        ZENDESK.check(ZendeskSettings(system="zendesk", api=ZendeskApi(login="oauth")))
    (tmp_path / "users.jsonl").write_text("{}")
    with pytest.raises(SourceError, match=r"no records of zendesk.*tickets, ticket\. Found: users"):
        ZENDESK.check(ZendeskSettings(system="zendesk", path=tmp_path))


@pytest.mark.slow
def test_a_reopened_ticket_is_open_on_the_days_on_which_it_was(tmp_path, company):
    records = tmp_path / "zendesk"
    ticket = {"id": 7, "organization_id": 5, "priority": "urgent", "tags": ["escalated"]}
    stated = {"status": "open", "created_at": "2026-06-15T08:00:00Z", "satisfaction_rating": {"score": "bad"}}
    write_lines(records / "organizations.jsonl", {"id": 5, "name": "One", "domain_names": ["one.example"]})
    write_lines(records / "tickets.jsonl", {**ticket, **stated})
    write_lines(
        records / "ticket_events.jsonl",
        *(
            {"id": n, "ticket_id": 7, "created_at": f"2026-06-{day}T09:00:00Z", "child_events": [{"status": status}]}
            for n, (day, status) in enumerate([("20", "solved"), ("25", "open")])
        ),
    )
    write_lines(
        records / "satisfaction_ratings.jsonl",
        {"id": 1, "ticket_id": 7, "score": "bad", "created_at": "2026-06-21T00:00:00Z"},
    )
    domains = tmp_path / "domains.csv"
    domains.write_text("account_id,domain\na1,one.example\n")
    made = company(
        write_company(tmp_path / "company"),
        sources=[
            {"system": "files", "path": str(tmp_path / "company")},
            {"system": "zendesk", "path": str(records)},
        ],
        identity={"account_domains": str(domains)},
        checks={"max_silent_days": 60},
    )
    done = made.csm("run", "--from", "2026-06-18", "--to", "2026-06-30", "--no-publish")
    assert done.returncode == 0, done.stdout + done.stderr
    found = made.query(
        "select day(as_of_date), open_ticket_count, escalation_count_90_days, support_sentiment "
        "from marts.csm_health_signals where account_id = 'a1' and day(as_of_date) in (18, 22, 30) order by 1"
    )
    assert found == [(18, 1, 1, "critical"), (22, 0, 1, "critical"), (30, 1, 1, "critical")]
