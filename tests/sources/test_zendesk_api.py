"""Zendesk's API over real HTTP: exports served page by page as Zendesk does, and the failures that real ones have."""

from __future__ import annotations

import base64
import dataclasses
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from csm_core.errors import ConfigError, SourceError, SourceUnavailableError
from csm_core.sources.settings import ZendeskApi, ZendeskSettings
from csm_core.sources.zendesk import ZENDESK
from tests.sources.test_stripe import write_company
from tests.web_server import Answer, Asked, WebServer, drop, refuse, serving, truncate

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
        self.hold_cursor: str | None = None
        self.held, self.let_go = threading.Event(), threading.Event()

    def respond(self, asked: Asked) -> Answer:
        if self.hold_cursor and asked.query.get("cursor") == self.hold_cursor:
            self.held.set()
            self.let_go.wait(60)
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


def load(source_loads, source: ZendeskSettings, folder: Path, system: Any = ZENDESK) -> dict[str, int]:
    results = system.load(
        source_loads.connection, [source], loaded_at=source_loads.now, folder=folder / "sources", log=source_loads.log
    )
    return {result.table.removeprefix("raw.zendesk__"): result.loaded for result in results if result.loaded}


def distinct(source_loads, table: str) -> int:
    return int(str(source_loads.rows(f"select count(distinct record ->> '$.id') from raw.zendesk__{table}")[0][0]))


def test_everything_is_read_page_by_page_through_failures_and_then_only_what_changed(vendor, source_loads, tmp_path):
    vendor.failures = [refuse(429, Retry_After="1"), drop, truncate, refuse(502)]
    begun = time.monotonic()
    load(source_loads, settings(vendor), tmp_path)
    assert time.monotonic() - begun >= 1
    tables = ("organizations", "users", "tickets", "ticket_events", "satisfaction_ratings")
    assert [distinct(source_loads, table) for table in tables] == [2, len(sample("users")), 250, 250, 250]
    login = base64.b64encode(f"{EMAIL}/token:{TOKEN}".encode()).decode()
    assert {one.headers["Authorization"] for one in vendor.asked} == {f"Basic {login}"}
    vendor.asked.clear()
    vendor.changed["tickets"].append((1_600_000_300, {**sample("tickets")[0], "id": 5}))
    again = load(source_loads, settings(vendor), tmp_path)
    assert again["tickets"] == 1
    # By time the last second is told again.
    assert again["ticket_events"] == 1
    assert [one.query["cursor"] for one in vendor.asked if one.path.endswith("cursor.json")] == ["c250"]
    assert len(vendor.asked) == 5 + 2


def test_a_pull_that_ends_in_the_middle_goes_on_there(vendor, source_loads, tmp_path):
    small = dataclasses.replace(ZENDESK, pages=1)
    vendor.refuse_cursor = "c200"
    with pytest.raises(
        SourceError, match=r"rejects the request /api/v2/incremental/tickets/cursor.json \(status 422\)"
    ) as caught:
        load(source_loads, settings(vendor), tmp_path, small)
    assert TOKEN not in str(caught.value)
    vendor.refuse_cursor = None
    vendor.asked.clear()
    load(source_loads, settings(vendor), tmp_path, small)
    first = vendor.asked[0]
    assert (first.path, first.query) == ("/api/v2/incremental/tickets/cursor.json", {"cursor": "c200"})
    assert (distinct(source_loads, "tickets"), distinct(source_loads, "ticket_events")) == (250, 250)


def test_the_connection_is_looked_at_and_what_is_missing_is_named(vendor, monkeypatch, tmp_path):
    assert ZENDESK.check(settings(vendor)) == f"{vendor.url} is reachable, the key in ZENDESK_TOKEN is valid"
    assert ZENDESK.check(settings(vendor, login="oauth")).endswith("is valid")
    assert vendor.asked[-1].headers["Authorization"] == f"Bearer {TOKEN}"
    vendor.failures = [refuse(401, {"error": f"Couldn't authenticate you {TOKEN}"})]
    with pytest.raises(ConfigError, match="rejects the key in ZENDESK_TOKEN") as rejected:
        ZENDESK.check(settings(vendor))
    assert TOKEN not in str(rejected.value)
    monkeypatch.delenv("ZENDESK_EMAIL")
    with pytest.raises(ConfigError, match=r"ZENDESK_EMAIL is not set\. Set it to the e-mail address"):
        ZENDESK.check(settings(vendor))
    monkeypatch.delenv("ZENDESK_SUBDOMAIN", raising=False)
    with pytest.raises(ConfigError, match=r"ZENDESK_SUBDOMAIN is not set.*or set `api: subdomain`"):
        ZENDESK.check(ZendeskSettings(system="zendesk", api=ZendeskApi(login="oauth")))
    (tmp_path / "users.jsonl").write_text("{}")
    with pytest.raises(SourceError, match=r"no zendesk records found.*tickets, ticket\. Found: users"):
        ZENDESK.check(ZendeskSettings(system="zendesk", path=tmp_path))


def test_an_answer_that_is_no_json_is_told_without_being_taken_for_records(vendor, source_loads, tmp_path):
    vendor.failures = [refuse(200, b'{"organizations": [{"id": 1}')]
    with pytest.raises(SourceUnavailableError, match=r"organizations.json is not JSON; check `base_url`"):
        load(source_loads, settings(vendor), tmp_path)
    vendor.failures = [refuse(200, b'[{"id": 1}]')]
    with pytest.raises(SourceUnavailableError, match="not a JSON object; check `base_url`"):
        load(source_loads, settings(vendor), tmp_path)
    load(source_loads, settings(vendor), tmp_path)
    assert distinct(source_loads, "tickets") == 250


def test_records_reach_raw_as_they_came(vendor, source_loads, tmp_path):
    text = "にゃー 🐈 \u2028 \x01 'quoted' \"twice\" \\n"
    odd = {"id": 9_007_199_254_740_993, "subject": text, "tags": [], "via": {"source": {"rel": None}}, "size": 1e-7}
    vendor.changed["tickets"] = [(1_600_000_000, odd), (1_600_000_001, {"id": 2, "subject": "half \ud83d"})]
    results = load(source_loads, settings(vendor), tmp_path)
    assert results["tickets"] == 1
    assert [json.loads(str(record)) for (record,) in source_loads.rows("select record from raw.zendesk__tickets")] == [
        odd
    ]
    # Half of an emoji is no Unicode: kept apart, as it came.
    assert source_loads.rows("select raw_text from raw.unparseable_rows") == [('{"id":2,"subject":"half \\ud83d"}',)]


def test_what_a_killed_pull_had_ready_is_finished_before_more_is_fetched(vendor, source_loads, tmp_path, monkeypatch):
    small = dataclasses.replace(ZENDESK, pages=1)
    from dlt.pipeline.pipeline import Pipeline

    loading = Pipeline.load

    def die(*arguments: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Pipeline, "load", die)
    with pytest.raises(KeyboardInterrupt):
        load(source_loads, settings(vendor), tmp_path, small)
    assert vendor.paths == ["/api/v2/incremental/organizations.json"]
    monkeypatch.setattr(Pipeline, "load", loading)
    vendor.asked.clear()
    load(source_loads, settings(vendor), tmp_path, small)
    assert vendor.paths[0] == "/api/v2/incremental/users.json"
    tables = ("organizations", "users", "tickets", "ticket_events", "satisfaction_ratings")
    assert [distinct(source_loads, table) for table in tables] == [2, len(sample("users")), 250, 250, 250]


PULL = """
import sys
from pathlib import Path
import structlog
from csm_core.sources.pull import pull
from csm_core.sources.settings import ZendeskApi, ZendeskSettings
from csm_core.sources.zendesk import ZENDESK
stream = ZENDESK.stream(ZendeskSettings(system="zendesk", api=ZendeskApi(base_url=sys.argv[1])))
pull("zendesk", "zendesk", stream, Path(sys.argv[2]), structlog.get_logger(), pages=ZENDESK.pages)
"""


def test_a_pull_that_is_killed_goes_on_from_its_last_package(vendor, source_loads, tmp_path):
    vendor.page, vendor.hold_cursor = 10, "c190"
    folder = tmp_path / "sources" / "zendesk" / "api"
    with subprocess.Popen([sys.executable, "-c", PULL, vendor.url, str(folder)], stdout=subprocess.DEVNULL) as pulling:
        while not vendor.held.wait(0.1):
            assert pulling.poll() is None
        pulling.kill()
    vendor.hold_cursor = None
    vendor.let_go.set()
    vendor.asked.clear()
    load(source_loads, settings(vendor), tmp_path)
    # Twenty pages are a package: organisations, users and eighteen of tickets were there.
    first = vendor.asked[0]
    assert (first.path, first.query) == ("/api/v2/incremental/tickets/cursor.json", {"cursor": "c180"})
    assert (distinct(source_loads, "tickets"), distinct(source_loads, "ticket_events")) == (250, 250)
    assert list((folder / "fetched").iterdir()) == []


def shown(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Everything that is kept below a folder: files as they are, and tables of databases as text."""
    for file in folder.rglob("*"):
        if file.is_file():
            yield str(file), file.read_bytes()
        if file.suffix == ".duckdb":
            with duckdb.connect(str(file), read_only=True) as connection:
                tables = connection.execute("select schema_name || '.' || table_name from duckdb_tables()").fetchall()
                for (table,) in tables:
                    yield str(table), repr(connection.execute(f"from {table}").fetchall()).encode()


@pytest.mark.slow
def test_the_records_become_signals_and_the_key_is_nowhere(vendor, tmp_path, company):
    one, two = (organization["id"] for organization in sample("organizations"))
    mapped = tmp_path / "map.csv"
    mapped.write_text(f"system,external_id,account_id\nzendesk,{one},a1\nzendesk,{two},a2\n")
    made = company(
        write_company(tmp_path / "company"),
        sources=[
            {"system": "files", "path": str(tmp_path / "company")},
            {"system": "zendesk", "api": {"base_url": vendor.url, "attempts": 2}},
        ],
        identity={"account_map": str(mapped)},
        checks={"max_silent_days": 3660},
    )
    vendor.failures = [refuse(401, {"error": f"no, {TOKEN}"})]
    done = made.csm("doctor")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "rejects the key in ZENDESK_TOKEN" in done.stdout + done.stderr
    said = done.stdout + done.stderr
    done = made.csm("run", "--as-of", "2026-06-30", "--no-publish")
    assert done.returncode == 0, done.stdout + done.stderr
    said += done.stdout + done.stderr
    assert made.query("select count(distinct record ->> '$.id') from raw.zendesk__tickets") == [(250,)]
    assert made.query("select account_id, count(*) from staging.stg_tickets group by all order by all") == [
        ("a1", 125),
        ("a2", 125),
    ]

    login = base64.b64encode(f"{EMAIL}/token:{TOKEN}".encode()).decode()
    kept = list(shown(made.folder))
    assert {"raw.zendesk__tickets", "raw.loads"} <= {name for name, _ in kept}
    assert any("dagster_home" in name for name, _ in kept)
    for secret in (TOKEN, login):
        assert secret not in said
        assert [name for name, text in kept if secret.encode() in text] == []
