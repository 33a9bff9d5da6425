"""The description of requests against the sandbox: both take the same bodies, and both refuse the same ones."""

from __future__ import annotations

import copy
import json
from collections.abc import Generator
from typing import Any

import httpx
import pytest

from csm_core.notion_sandbox.server import SandboxServer
from tests.notion_sandbox.request_schema import BODIES, endpoint, problems

NOBODY = "00000000-0000-4000-8000-000000000000"
RUN: dict[str, Any] = {"type": "text", "text": {"content": "words"}, "annotations": {"bold": True, "color": "red"}}
BLOCK: dict[str, Any] = {"object": "block", "type": "paragraph", "paragraph": {"rich_text": [RUN]}}
HEADING: dict[str, Any] = {"object": "block", "type": "heading_1", "heading_1": {"rich_text": [RUN]}}
CALLOUT: dict[str, Any] = {
    "object": "block",
    "type": "callout",
    "callout": {"rich_text": [RUN], "icon": {"type": "emoji", "emoji": "🟢"}, "color": "green_background"},
}
SCHEMA: dict[str, Any] = {
    "Name": {"title": {}},
    "Text": {"rich_text": {}},
    "Number": {"number": {}},
    "Choice": {"select": {"options": [{"name": "one", "color": "green"}]}},
    "Day": {"date": {}},
    "Check": {"checkbox": {}},
    "People": {"people": {}},
}
PROPERTIES: dict[str, Any] = {
    "Name": {"title": [RUN]},
    "Text": {"rich_text": [RUN]},
    "Number": {"number": 12.5},
    "Choice": {"select": {"name": "one"}},
    "Day": {"date": {"start": "2026-06-30T07:00:00+00:00"}},
    "Check": {"checkbox": True},
}


class Workspace:
    """A sandbox with a database, and what to send to each endpoint."""

    def __init__(self, server: SandboxServer) -> None:
        headers = {"authorization": f"Bearer {server.token}", "notion-version": "2026-03-11"}
        self.http = httpx.Client(base_url=server.url, headers=headers)
        root = {"type": "page_id", "page_id": server.root_page_id}
        new_database = {
            "parent": root,
            "title": [RUN],
            "description": [RUN],
            "icon": {"type": "emoji", "emoji": "📊"},
            "initial_data_source": {"properties": SCHEMA},
        }
        made = self.http.post("/v1/databases", json=new_database).json()
        database, source = made["id"], made["data_sources"][0]["id"]
        new_page = {
            "parent": {"type": "database_id", "database_id": database},
            "properties": PROPERTIES,
            "children": [BLOCK, HEADING, CALLOUT],
        }
        # A database with several data sources is no parent of pages any more, so it is another one that gets them.
        another = self.http.post("/v1/databases", json=new_database).json()["id"]
        page = self.http.post("/v1/pages", json=new_page).json()["id"]
        person = self.http.get("/v1/users").json()["results"][0]["id"]
        related = {"data_source_id": source, "type": "dual_property", "dual_property": {"synced_property_name": "Back"}}
        one_way = {"data_source_id": source, "single_property": {}}
        relate = {"Related": {"relation": related}, "One way": {"relation": one_way}}
        relations = {
            "Related": {"relation": [{"id": page}]},
            "People": {"people": [{"object": "user", "id": person}]},
        }
        block = self.http.get(f"/v1/blocks/{page}/children").json()["results"][0]["id"]
        created = {"timestamp": "created_time", "created_time": {"on_or_after": "2026-06-30T07:00:00.000Z"}}
        edited = {"timestamp": "last_edited_time", "last_edited_time": {"after": "2026-06-30T07:00:00+00:00"}}
        choice = self.http.get(f"/v1/data_sources/{source}").json()["properties"]["Choice"]["id"]
        text = {"property": "Text", "rich_text": {"equals": "words"}}
        self.valid: dict[str, tuple[str, str, dict[str, Any]]] = {
            "create page": ("POST", "/v1/pages", new_page),
            "update page": ("PATCH", f"/v1/pages/{page}", {"properties": PROPERTIES}),
            "append": (
                "PATCH",
                f"/v1/blocks/{page}/children",
                {
                    "children": [BLOCK, HEADING, CALLOUT],
                    "position": {"type": "after_block", "after_block": {"id": block}},
                },
            ),
            "update block": ("PATCH", f"/v1/blocks/{block}", {"paragraph": {"rich_text": [RUN], "color": "blue"}}),
            "create database": ("POST", "/v1/databases", new_database),
            "update database": ("PATCH", f"/v1/databases/{database}", {"title": [RUN]}),
            "create source": (
                "POST",
                "/v1/data_sources",
                {"parent": {"type": "database_id", "database_id": another}, "title": [RUN], "properties": SCHEMA},
            ),
            "update source": ("PATCH", f"/v1/data_sources/{source}", {"properties": {"More": {"number": {}}}}),
            "relate": ("PATCH", f"/v1/data_sources/{source}", {"properties": relate}),
            "update relation": ("PATCH", f"/v1/pages/{page}", {"properties": relations}),
            "query": (
                "POST",
                f"/v1/data_sources/{source}/query",
                {
                    "filter": {"and": [created, edited, text]},
                    "sorts": [{"timestamp": "created_time", "direction": "ascending"}],
                    "page_size": 100,
                },
            ),
            "create view": (
                "POST",
                "/v1/views",
                {
                    "database_id": database,
                    "data_source_id": source,
                    "name": "By choice",
                    "type": "board",
                    "configuration": {
                        "type": "board",
                        "group_by": {"type": "select", "property_id": choice, "sort": {"type": "manual"}},
                        "properties": [{"property_id": "title", "visible": True}],
                    },
                    "filter": {"property": "People", "people": {"contains": person}},
                    "sorts": [{"property": "Number", "direction": "ascending"}],
                },
            ),
            "create upload": ("POST", "/v1/file_uploads", {"filename": "a.png", "content_type": "image/png"}),
            "search": ("POST", "/v1/search", {"filter": {"property": "object", "value": "page"}, "page_size": 100}),
        }

    def send(self, method: str, path: str, body: Any) -> httpx.Response:
        return self.http.request(method, path, content=json.dumps(body, ensure_ascii=False).encode())


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Generator[Workspace]:
    with SandboxServer(tmp_path_factory.mktemp("schema") / "notion.sqlite") as server:
        made = Workspace(server)
        yield made
        made.http.close()


def changed(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The body with another value at ``path``; ``...`` takes the field away."""
    result = copy.deepcopy(body)
    *way, last = [int(part) if part.isdecimal() else part for part in path.split("/")]
    place: Any = result
    for part in way:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return result


def test_the_examples_are_right_and_taken(workspace: Workspace) -> None:
    for name, (method, path, body) in workspace.valid.items():
        assert problems(method, path, json.dumps(body).encode()) == [], name
        assert workspace.send(method, path, body).status_code == 200, name
    without_body = {key for key, model in BODIES.items() if model is None}
    assert {endpoint(method, path) for method, path, _ in workspace.valid.values()} == set(BODIES) - without_body


RUNS_101 = [RUN] * 101
LONG = "😀" * 1_000 + "x"
IN_TEXT: list[tuple[str, Any]] = [
    ("", "words"),
    ("", RUNS_101),
    ("/0", "words"),
    ("/0/type", "words"),
    ("/0/text", ...),
    ("/0/text/content", ...),
    ("/0/text/content", 5),
    ("/0/text/content", None),
    ("/0/text/content", LONG),
    ("/0/text/content", "a\x00b"),
    ("/0/text/link", "https://example.org"),
    ("/0/text/link", {"url": "not an address"}),
    ("/0/text/colour", "red"),
    ("/0/annotations/bold", "yes"),
    ("/0/annotations/loud", True),
    ("/0/annotations/color", "mauve"),
    ("/0/emphasis", True),
]
IN_BLOCK: list[tuple[str, Any]] = [
    ("0/type", "heading_2"),
    ("0/object", "page"),
    ("0/paragraph", ...),
    ("0/paragraph", []),
    ("0/heading_2", {"rich_text": []}),
    ("0/paragraph/color", "mauve"),
    ("0/paragraph/icon", "x"),
    ("0/paragraph/rich_text", ...),
    ("0/extra", 1),
    ("1/heading_1/is_toggleable", "no"),
    ("2/callout/icon/emoji", "word"),
    ("2/callout/icon/emoji", ""),
    ("2/callout/icon/sign", "🟢"),
    ("2/callout/color", "green-background"),
]
IN_VALUES: list[tuple[str, Any]] = [
    ("Number/number", "12"),
    ("Number/number", True),
    ("Number", 12),
    ("Number/currency", "EUR"),
    ("Number/type", "rich_text"),
    ("Choice/select", "one"),
    ("Choice/select", {}),
    ("Choice/select/name", "one, two"),
    ("Choice/select/name", "x" * 101),
    ("Choice/select/name", ""),
    ("Choice/select/colour", "red"),
    ("Day/date", "2026-06-30"),
    ("Day/date/start", ...),
    ("Day/date/start", "30 June 2026"),
    ("Day/date/start", "2026-06-31"),
    ("Day/date/start", 20260630),
    ("Day/date/until", "2026-07-01"),
    ("Check/checkbox", "true"),
    ("Check/checkbox", 1),
    ("Check/checkbox", None),
    ("Text/rich_text", None),
    ("Name/title", None),
]
IN_QUERY: list[tuple[str, Any]] = [
    ("page_size", 101),
    ("page_size", 0),
    ("page_size", "100"),
    ("filter", []),
    ("filter/or", []),
    ("filter/and/0/timestamp", "made_at"),
    ("filter/and/0/created_time", {"since": "2026-06-30"}),
    ("filter/and/0/created_time", {"before": "yesterday"}),
    ("filter/and/0/created_time", {}),
    ("filter/and/1/last_edited_time", ...),
    ("filter/and/2/property", ...),
    ("filter/and/2/rich_text", {"equals": 5}),
    ("filter/and/2/rich_text", "words"),
    ("filter/and/2/number", {"equals": 5}),
    ("sorts", {}),
    ("sorts/0/direction", "up"),
    ("sorts/0/direction", ...),
    ("sorts/0/timestamp", "made_at"),
    ("sorts/0/nulls", "last"),
    ("order", "created_time"),
]
WRONG: list[tuple[str, str, Any]] = [
    *(("create page", f"children/0/paragraph/rich_text{path}", value) for path, value in IN_TEXT),
    *(("create page", f"properties/Text/rich_text{path}", value) for path, value in IN_TEXT),
    *(("update page", f"properties/Name/title{path}", value) for path, value in IN_TEXT),
    *(("update block", f"paragraph/rich_text{path}", value) for path, value in IN_TEXT),
    *(("create database", f"title{path}", value) for path, value in IN_TEXT),
    *(("create page", f"children/{path}", value) for path, value in IN_BLOCK),
    *(("append", f"children/{path}", value) for path, value in IN_BLOCK),
    *(("create page", f"properties/{path}", value) for path, value in IN_VALUES),
    *(("update page", f"properties/{path}", value) for path, value in IN_VALUES),
    *(("query", path, value) for path, value in IN_QUERY),
    ("create page", "parent", ...),
    ("create page", "parent", {}),
    ("create page", "parent/type", "page_id"),
    ("create page", "parent/database_id", "no id"),
    ("create page", "parent/page_id", NOBODY),
    ("create page", "children", [BLOCK] * 101),
    ("create page", "children", {}),
    ("create page", "icon", "🟢"),
    ("create page", "titel", "x"),
    ("update page", "children", [BLOCK]),
    ("update page", "in_trash", "yes"),
    ("append", "children", ...),
    ("append", "children", [BLOCK] * 101),
    ("append", "position/after_block/id", "the first"),
    ("append", "after", "the first"),
    ("append", "before", NOBODY),
    ("update block", "type", "heading_1"),
    ("update block", "heading_2", {"rich_text": [RUN]}),
    ("update block", "paragraph/color", "mauve"),
    ("update block", "object", "block"),
    ("create database", "parent", ...),
    ("create database", "parent/type", ...),
    ("create database", "parent/type", "database_id"),
    ("create database", "parent/page_id", "no id"),
    ("create database", "is_inline", "no"),
    ("create database", "icon", {"type": "emoji", "emoji": "chart"}),
    ("create database", "properties", SCHEMA),
    ("create database", "initial_data_source/columns", SCHEMA),
    ("create database", "initial_data_source/properties/Number", {"number": {}, "date": {}}),
    ("create database", "initial_data_source/properties/Number", {"numeric": {}}),
    ("create database", "initial_data_source/properties/Number", {"number": {"format": 2}}),
    ("create database", "initial_data_source/properties/Day", {"date": {"zone": "UTC"}}),
    ("create database", "initial_data_source/properties/Day", {"date": {}, "type": "number"}),
    ("create database", "initial_data_source/properties/Choice/select/options/0/name", "a,b"),
    ("create database", "initial_data_source/properties/Choice/select/options/0/color", "red_background"),
    ("create database", "initial_data_source/properties/Choice/select/options/0/colour", "red"),
    (
        "create database",
        "initial_data_source/properties/Choice/select/options",
        [{"name": str(number)} for number in range(101)],
    ),
    ("update database", "properties", SCHEMA),
    ("update database", "in_trash", "yes"),
    ("create source", "parent/type", "page_id"),
    ("create source", "properties/Day", {"day": {}}),
    ("update source", "properties/More", {"number": {}, "extra": 1}),
    ("update source", "properties/More", 5),
    ("update source", "columns", {}),
    ("relate", "properties/Related/relation/data_source_id", ...),
    ("relate", "properties/Related/relation/data_source_id", "no id"),
    ("relate", "properties/Related/relation/type", "single_property"),
    ("relate", "properties/Related/relation/dual_property", ...),
    ("relate", "properties/Related/relation/dual_property/name", "Back"),
    ("relate", "properties/Related/relation/single_property", {}),
    ("relate", "properties/One way/relation/single_property/name", "Back"),
    ("update relation", "properties/Related/relation", {}),
    ("update relation", "properties/Related/relation/0/id", "no id"),
    ("update relation", "properties/Related/relation/0/id", ...),
    ("update relation", "properties/People/people/0/id", ...),
    ("update relation", "properties/People/people/0/object", "page"),
    ("update relation", "properties/People/people", "someone"),
    ("search", "filter/value", "database"),
    ("search", "filter/property", "type"),
    ("search", "filter/kind", "x"),
    ("search", "page_size", 1_000),
    ("search", "words", "x"),
]


@pytest.mark.parametrize(
    ("name", "path", "value"), WRONG, ids=[f"{name} {path} {str(value)[:20]}" for name, path, value in WRONG]
)
def test_what_the_reference_does_not_allow_the_sandbox_refuses(
    workspace: Workspace, name: str, path: str, value: Any
) -> None:
    method, address, body = workspace.valid[name]
    wrong = changed(body, path, value)
    assert problems(method, address, json.dumps(wrong).encode())
    answer = workspace.send(method, address, wrong)
    assert (answer.status_code, answer.json()["code"]) == (400, "validation_error"), answer.text[:300]


def test_a_body_over_half_a_megabyte_is_refused_and_one_just_below_is_taken(workspace: Workspace) -> None:
    method, address, body = workspace.valid["append"]

    def sized(runs: int) -> dict[str, Any]:
        block = {"paragraph": {"rich_text": [{"text": {"content": "健" * 1_000}}] * runs}}
        return {"children": [block] * 4, "position": body["position"]}

    for runs, taken in ((40, True), (42, False)):
        content = json.dumps(sized(runs), ensure_ascii=False).encode()
        assert (len(content) <= 500_000) == taken
        assert (problems(method, address, content) == []) == taken
        assert (workspace.send(method, address, sized(runs)).status_code == 200) == taken


def test_a_query_string_and_an_address_are_looked_at_too() -> None:
    listing = f"/v1/blocks/{NOBODY}/children"
    assert problems("GET", listing, b"", {"page_size": "100"}) == []
    assert problems("GET", listing, b"", {"page_size": "101"})
    assert problems("GET", listing, b"", {"size": "10"})
    assert problems("GET", listing, b'{"page_size": 100}')
    assert problems("POST", "/v1/databases/x/query", b"{}")


def test_a_request_that_is_wrong_is_seen_in_any_test(workspace: Workspace, schema_of_requests: list[str]) -> None:
    import asyncio

    async def send() -> None:
        async with httpx.AsyncClient(base_url=workspace.http.base_url) as client:
            await client.post("/v1/pages", json={"parent": {"page_id": NOBODY}, "properties": {}, "children": {}})

    asyncio.run(send())
    assert len(schema_of_requests) == 1
    assert "children" in schema_of_requests.pop()
