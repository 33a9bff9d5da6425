"""Lists that a service never ends: the same cursor for ever, no cursor, empty pages without end."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csm_core.errors import CSMError, NotionError, SourceUnavailableError
from csm_core.notion_adapter import NotionCSMAdapter
from csm_core.publishing.notion.databases import ACCOUNTS
from csm_core.publishing.notion.rate_limiter import RateLimiter
from csm_core.publishing.notion.retry import Caller
from csm_core.publishing.notion.settings import NotionSettings
from csm_core.publishing.notion.setup import init_workspace
from csm_core.publishing.notion.workspace import new_client
from csm_core.sources import delighted_api, hubspot_api, stripe_api, zendesk_api
from csm_core.sources.settings import DelightedApi, HubSpotApi, HubSpotSettings, StripeApi, ZendeskApi
from csm_core.system.paging import MAX_EMPTY_PAGES, Paging

ID = "11111111111111111111111111111111"
Page = Callable[[int], dict[str, Any]]


class Service:
    """Answers every request with the next page of what never ends."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        self.asked = 0
        self.page: Callable[[int, str], Any] = lambda number, path: {}


@pytest.fixture
def service() -> Generator[Service]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            found.asked += 1
            body = json.dumps(found.page(found.asked, self.path)).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_arguments: Any) -> None:
            """Nothing on the console."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Service(server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()


def notion_page(kind: str, number: int) -> dict[str, Any]:
    fresh = {"id": f"p{number}", "created_time": "2026-01-01T00:00:00.000Z", "type": "paragraph", "properties": {}}
    return {
        "same cursor": {"results": [fresh], "has_more": True, "next_cursor": "c"},
        "no cursor": {"results": [fresh], "has_more": True, "next_cursor": None},
        "two cursors": {"results": [fresh], "has_more": True, "next_cursor": f"c{number % 2}"},
        "empty pages": {"results": [], "has_more": True, "next_cursor": f"c{number}"},
        "same page": {"results": [{**fresh, "id": "p"}], "has_more": True, "next_cursor": f"c{number}"},
    }[kind]


KINDS = ["same cursor", "no cursor", "two cursors", "empty pages", "same page"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_list_of_notion_is_read_for_ever(service: Service, kind: str, schema_of_requests: list[str]) -> None:
    import asyncio

    source = {"data_sources": [{"id": ID, "name": "x"}], "properties": {"Account": {"type": "title"}}}

    def page(number: int, path: str) -> dict[str, Any]:
        return (
            notion_page(kind, number)
            if path.split("?")[0].endswith(("query", "children", "users"))
            else {**source, "id": ID}
        )

    service.page = page
    settings = NotionSettings.of({"NOTION_TOKEN": "ntn_any", "NOTION_BASE_URL": service.url, "NOTION_DATABASE_ID": ID})

    async def read(what: str) -> None:
        client = new_client(settings)
        adapter = NotionCSMAdapter(
            client, database_ids=settings.database_ids, data_source_ids={}, caller=Caller(RateLimiter(100_000))
        )
        try:
            if what == "query":
                await adapter.reader.query_all(ACCOUNTS)
            elif what == "blocks":
                await adapter.blocks.children(ID)
            elif what == "users":
                await adapter.read_users()
            else:
                await init_workspace(client, ID)
        finally:
            await client.aclose()

    for what in ("query", "blocks", "users", "init"):
        service.asked = 0
        with pytest.raises(NotionError, match="cannot be read completely"):
            asyncio.run(read(what))
        assert service.asked < MAX_EMPTY_PAGES + 5


def hubspot_answer(kind: str, number: int) -> dict[str, Any]:
    after = {"same cursor": "a", "two cursors": f"a{number % 2}"}.get(kind, f"a{number}")
    records = [] if kind == "empty pages" else [{"id": "7" if kind == "same page" else str(number)}]
    return {"results": records, "paging": {"next": {"after": after}}}


def stripe_answer(kind: str, number: int) -> dict[str, Any]:
    last = {"same cursor": "x", "two cursors": f"x{number % 2}", "same page": "x"}.get(kind, f"x{number}")
    return {"data": [] if kind == "empty pages" else [{"id": last}], "has_more": True}


def zendesk_answer(kind: str, number: int, path: str) -> dict[str, Any]:
    cursor = {"same cursor": "c", "no cursor": None, "two cursors": f"c{number % 2}"}.get(kind, f"c{number}")
    records = [] if kind == "empty pages" else [{"id": 1 if kind == "same page" else number}]
    end = 1_000_000_000 if kind in ("same cursor", "no cursor", "two cursors") else 1_000_000_000 + number
    name = next(name for name in zendesk_api.EXPORTS if name in path)
    return {name: records, "after_cursor": cursor, "end_time": end, "end_of_stream": False}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("system", ["hubspot", "stripe", "zendesk", "delighted"])
def test_no_list_of_a_vendor_is_read_for_ever(
    service: Service, kind: str, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (system, kind) in {("hubspot", "no cursor"), ("stripe", "no cursor")}:
        pytest.skip("without a cursor these lists have ended, or the cursor is the last id")
    pytest.importorskip("dlt")
    for name in ("STRIPE_API_KEY", "HUBSPOT_TOKEN", "DELIGHTED_API_KEY", "ZENDESK_TOKEN"):
        monkeypatch.setenv(name, "a-key-of-a-test")
    monkeypatch.setenv("ZENDESK_EMAIL", "a@b.example")
    stream: Any
    if system == "hubspot":
        service.page = lambda number, path: hubspot_answer(kind, number)
        settings = HubSpotSettings.model_validate({"system": "hubspot", "api": {"base_url": service.url}})
        stream = hubspot_api.HubSpotStream(hubspot_api.connect(HubSpotApi(base_url=service.url)), settings)
    elif system == "stripe":
        service.page = lambda number, path: stripe_answer(kind, number)
        stream = stripe_api.StripeStream(stripe_api.connect(StripeApi(base_url=service.url)))
    elif system == "zendesk":
        service.page = lambda number, path: zendesk_answer(kind, number, path)
        stream = zendesk_api.ZendeskStream(zendesk_api.connect(ZendeskApi(base_url=service.url)))
    else:
        same = [{"id": str(number), "created_at": 1, "updated_at": 1} for number in range(delighted_api.PER_PAGE)]
        service.page = lambda number, path: same
        stream = delighted_api.DelightedStream(delighted_api.connect(DelightedApi(base_url=service.url)))
    with pytest.raises(SourceUnavailableError, match="cannot be read completely"):
        for _ in itertools.islice(stream({}), 500):
            pass
    assert service.asked < 4 * MAX_EMPTY_PAGES


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", "", None]), st.lists(st.integers(0, 3), max_size=2))))
def test_following_ends_with_an_error_before_a_cursor_is_followed_twice(steps: list[tuple[Any, list[int]]]) -> None:
    paging = Paging("a list", CSMError)
    followed: list[str] = []
    try:
        for cursor, ids in steps:
            paging.follow(cursor, ids)
            followed.append(cursor)
    except CSMError:
        pass
    assert len(set(followed)) == len(followed)
    assert all(followed)
