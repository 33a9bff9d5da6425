"""The sandbox's endpoints over HTTP: shapes, limits, refusals, and those habits of the service that matter here."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from notion_client import Client
from notion_client.errors import APIResponseError

from csm_core.notion_sandbox.errors import ApiError
from csm_core.notion_sandbox.rich_text import clean_rich_text, plain
from csm_core.notion_sandbox.server import SandboxServer

SCHEMA: dict[str, Any] = {
    "Name": {"title": {}},
    "Key": {"rich_text": {}},
    "Score": {"number": {}},
    "RAG": {"select": {"options": [{"name": "GREEN", "color": "green"}, {"name": "RED", "color": "red"}]}},
    "Day": {"date": {}},
    "Alert": {"checkbox": {}},
    "Tags": {"multi_select": {}},
    "Made": {"created_time": {}},
}
MISSING_ID = "00000000-0000-4000-8000-000000000000"
NOON = datetime(2026, 3, 1, 12, 0, 59, 999_000, tzinfo=UTC)


def text(content: str, **annotations: Any) -> dict[str, Any]:
    return {"text": {"content": content}, **({"annotations": annotations} if annotations else {})}


def paragraph(content: str = "x", **more: Any) -> dict[str, Any]:
    return {"paragraph": {"rich_text": [text(content)], **more}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[SandboxServer]:
    with SandboxServer(tmp_path_factory.mktemp("sandbox") / "notion.sqlite", clock=lambda: NOON) as running:
        yield running


@pytest.fixture(scope="module")
def notion(server: SandboxServer) -> Generator[Client]:
    client = Client(auth=server.token, base_url=server.url, retry=False)
    yield client
    client.close()


@pytest.fixture
def database(server: SandboxServer, notion: Client) -> dict[str, Any]:
    made: Any = notion.databases.create(
        parent={"type": "page_id", "page_id": server.root_page_id},
        title=[text("Accounts")],
        initial_data_source={"properties": SCHEMA},
    )
    return made


@pytest.fixture
def add(notion: Client, database: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    def create(properties: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        page: Any = notion.pages.create(parent={"database_id": database["id"]}, properties=properties or {}, **more)
        return page

    return create


def refusal(call: Callable[..., Any], *arguments: Any, **named: Any) -> APIResponseError:
    with pytest.raises(APIResponseError) as caught:
        call(*arguments, **named)
    return caught.value


# Shapes


def test_a_database_is_a_container_of_data_sources(notion: Client, database: dict[str, Any]) -> None:
    assert database["object"] == "database"
    assert "properties" not in database
    (source,) = database["data_sources"]
    assert source["name"] == "Accounts"
    found: Any = notion.data_sources.retrieve(source["id"])
    assert found["object"] == "data_source"
    assert found["parent"] == {"type": "database_id", "database_id": database["id"]}
    assert found["properties"]["Name"] == {
        "id": "title",
        "name": "Name",
        "description": None,
        "type": "title",
        "title": {},
    }
    assert set(found["properties"]) == set(SCHEMA)


@pytest.mark.parametrize("kind", ["database_id", "data_source_id"])
def test_a_page_may_name_the_database_or_its_data_source(notion: Client, database: dict[str, Any], kind: str) -> None:
    source = database["data_sources"][0]["id"]
    parent = {"type": kind, kind: database["id"] if kind == "database_id" else source}
    page: Any = notion.pages.create(parent=parent, properties={})
    assert page["parent"] == {
        "type": "data_source_id",
        "data_source_id": source,
        "database_id": database["id"],
    }


def test_a_database_of_two_data_sources_is_no_parent(notion: Client, database: dict[str, Any]) -> None:
    second: Any = notion.data_sources.create(
        parent={"type": "database_id", "database_id": database["id"]}, properties={"Name": {"title": {}}}
    )
    problem = refusal(notion.pages.create, parent={"database_id": database["id"]}, properties={})
    assert problem.status == 400
    assert problem.additional_data is not None
    assert problem.additional_data["error_type"] == "multiple_data_sources_for_database"
    assert second["id"] in problem.additional_data["child_data_source_ids"]


def test_values_read_as_the_service_gives_them(add: Callable[..., dict[str, Any]], notion: Client) -> None:
    page = add(
        {
            "Name": {"title": [text("Acme")]},
            "Key": {"rich_text": [text("A-"), text(""), text("1"), text("!", bold=True)]},
            "Score": {"number": 70.0},
            "RAG": {"select": {"name": "RED"}},
            "Day": {"date": {"start": "2026-01-02T03:04:59.123Z"}},
            "Tags": {"multi_select": [{"name": "new one"}]},
        },
        icon={"type": "emoji", "emoji": "🔴"},
    )
    read: Any = notion.pages.retrieve(page["id"].replace("-", "").upper())
    values = read["properties"]
    assert [run["plain_text"] for run in values["Key"]["rich_text"]] == ["A-1", "!"]
    assert values["Score"]["number"] == 70
    assert values["RAG"]["select"]["name"] == "RED"
    assert values["RAG"]["select"]["color"] == "red"
    assert values["Day"]["date"] == {"start": "2026-01-02T03:04:00.000+00:00", "end": None, "time_zone": None}
    assert values["Alert"]["checkbox"] is False
    assert [option["name"] for option in values["Tags"]["multi_select"]] == ["new one"]
    assert values["Made"]["created_time"] == "2026-03-01T12:00:00.000Z"
    assert read["created_time"] == read["last_edited_time"] == "2026-03-01T12:00:00.000Z"
    assert list(values) != list(SCHEMA)
    assert {key: read[key] for key in ("object", "in_trash", "archived", "public_url")} == {
        "object": "page",
        "in_trash": False,
        "archived": False,
        "public_url": None,
    }
    only: Any = notion.pages.retrieve(page["id"], filter_properties=[values["Score"]["id"]])
    assert list(only["properties"]) == ["Score"]


def test_long_values_are_cut_at_25_and_read_whole_by_their_own_endpoint(
    add: Callable[..., dict[str, Any]], notion: Client
) -> None:
    runs = [text(f"{number} ", bold=number % 2 == 0) for number in range(40)]
    page = add({"Key": {"rich_text": runs}})
    assert len(page["properties"]["Key"]["rich_text"]) == 25
    found: list[str] = []
    cursor = None
    while True:
        part: Any = notion.pages.properties.retrieve(
            page["id"], page["properties"]["Key"]["id"], page_size=30, **({"start_cursor": cursor} if cursor else {})
        )
        found += [item["rich_text"]["plain_text"] for item in part["results"]]
        cursor = part["next_cursor"]
        if not part["has_more"]:
            break
    assert found == [f"{number} " for number in range(40)]
    score: Any = notion.pages.properties.retrieve(page["id"], page["properties"]["Score"]["id"])
    assert (score["object"], score["type"], score["number"]) == ("property_item", "number", None)


def test_an_update_leaves_alone_what_it_does_not_name(add: Callable[..., dict[str, Any]], notion: Client) -> None:
    page = add({"Name": {"title": [text("Acme")]}, "Score": {"number": 1}, "RAG": {"select": {"name": "RED"}}})
    notion.pages.update(page["id"], properties={"Score": {"number": 2}, "RAG": {"select": None}})
    read: Any = notion.pages.retrieve(page["id"])
    assert read["properties"]["Name"]["title"][0]["plain_text"] == "Acme"
    assert read["properties"]["Score"]["number"] == 2
    assert read["properties"]["RAG"]["select"] is None


def test_blocks_keep_their_order_and_nest(add: Callable[..., dict[str, Any]], notion: Client) -> None:
    page = add(children=[paragraph("0"), {"divider": {}}, paragraph("1", children=[paragraph("1a")])])
    appended: Any = notion.blocks.children.append(page["id"], children=[paragraph("2"), paragraph("3")])
    assert [block["type"] for block in appended["results"]] == ["paragraph", "paragraph"]
    notion.blocks.children.append(page["id"], children=[paragraph("2½")], after=appended["results"][0]["id"])
    notion.blocks.children.append(page["id"], children=[paragraph("start")], position={"type": "start"})
    blocks: list[Any] = []
    cursor = None
    while True:
        part: Any = notion.blocks.children.list(page["id"], page_size=2, **({"start_cursor": cursor} if cursor else {}))
        blocks += part["results"]
        cursor = part["next_cursor"]
        if not part["has_more"]:
            break
    shown = [plain(block[block["type"]].get("rich_text", [])) for block in blocks]
    assert shown == ["start", "0", "", "1", "2", "2½", "3"]
    nested = next(block for block in blocks if block["has_children"])
    children: Any = notion.blocks.children.list(nested["id"])
    assert plain(children["results"][0]["paragraph"]["rich_text"]) == "1a"
    assert children["results"][0]["parent"] == {"type": "block_id", "block_id": nested["id"]}


def test_blocks_are_updated_and_thrown_away(add: Callable[..., dict[str, Any]], notion: Client) -> None:
    page = add(children=[{"callout": {"rich_text": [text("old")], "icon": {"emoji": "🔴"}, "color": "red_background"}}])
    listed: Any = notion.blocks.children.list(page["id"])
    block = listed["results"][0]
    updated: Any = notion.blocks.update(block["id"], callout={"rich_text": [text("new")]})
    assert plain(updated["callout"]["rich_text"]) == "new"
    assert updated["callout"]["color"] == "red_background"
    gone: Any = notion.blocks.delete(block["id"])
    assert gone["in_trash"] is True
    left: Any = notion.blocks.children.list(page["id"])
    assert left["results"] == []
    assert "archived" in str(refusal(notion.blocks.update, block["id"], callout={"rich_text": []}))


def test_what_is_in_the_trash_takes_no_updates(
    add: Callable[..., dict[str, Any]], notion: Client, database: dict[str, Any]
) -> None:
    page = add({"Score": {"number": 1}})
    notion.pages.update(page["id"], in_trash=True)
    for call in (
        lambda: notion.pages.update(page["id"], properties={"Score": {"number": 2}}),
        lambda: notion.blocks.children.append(page["id"], children=[paragraph()]),
    ):
        problem = refusal(call)
        assert (problem.status, problem.code) == (400, "validation_error")
        assert "Can't edit block that is archived" in str(problem)
    read: Any = notion.pages.retrieve(page["id"])
    assert (read["in_trash"], read["archived"]) == (True, True)
    notion.pages.update(page["id"], archived=False, properties={"Score": {"number": 3}})
    again: Any = notion.pages.retrieve(page["id"])
    assert (again["in_trash"], again["properties"]["Score"]["number"]) == (False, 3)
    notion.databases.update(database["id"], in_trash=True)
    assert refusal(notion.pages.create, parent={"database_id": database["id"]}, properties={}).status == 400


def test_pages_and_databases_are_blocks_of_their_parent(server: SandboxServer, notion: Client) -> None:
    page: Any = notion.pages.create(
        parent={"page_id": server.root_page_id}, properties={"title": [text("Notes")]}, children=[paragraph("a")]
    )
    inner: Any = notion.databases.create(parent={"type": "page_id", "page_id": page["id"]}, title=[text("Inner")])
    listed: Any = notion.blocks.children.list(page["id"])
    assert [(block["type"], block["id"]) for block in listed["results"][1:]] == [("child_database", inner["id"])]
    assert listed["results"][1]["child_database"] == {"title": "Inner"}
    notion.blocks.delete(inner["id"])
    assert [block["type"] for block in notion.blocks.children.list(page["id"])["results"]] == ["paragraph"]  # type: ignore[index]
    block: Any = notion.blocks.retrieve(page["id"])
    assert (block["type"], block["child_page"]) == ("child_page", {"title": "Notes"})


def test_search_finds_by_words_of_the_title(notion: Client, add: Callable[..., dict[str, Any]]) -> None:
    page = add({"Name": {"title": [text("Ünique Corporation")]}})
    found: Any = notion.search(query="nique corp", filter={"property": "object", "value": "page"})
    assert [item["id"] for item in found["results"]] == [page["id"]]


def test_me_is_the_integration(notion: Client) -> None:
    me: Any = notion.users.me()
    assert (me["object"], me["type"]) == ("user", "bot")


# Limits and refusals


def nested(levels: int) -> dict[str, Any]:
    return paragraph(**({"children": [nested(levels - 1)]} if levels > 1 else {}))


BAD_PAGES: list[tuple[str, dict[str, Any], str]] = [
    ("unknown property", {"properties": {"Nope": {"number": 1}}}, "Nope is not a property that exists."),
    ("wrong type", {"properties": {"Score": {"rich_text": []}}}, "Score is expected to be number."),
    ("text for a number", {"properties": {"Score": {"number": "1"}}}, "should be a number"),
    ("truth for a number", {"properties": {"Score": {"number": True}}}, "should be a number"),
    (
        "2,001 units",
        {"properties": {"Key": {"rich_text": [text("x" * 2001)]}}},
        "body.properties.Key.rich_text[0].text.content.length should be ≤ `2000`, instead was `2001`",
    ),
    ("1,001 emoji", {"properties": {"Key": {"rich_text": [text("🔴" * 1001)]}}}, "instead was `2002`"),
    ("101 runs", {"properties": {"Key": {"rich_text": [text("x")] * 101}}}, "rich_text.length should be ≤ `100`"),
    ("comma in an option", {"properties": {"RAG": {"select": {"name": "a,b"}}}}, "commas not allowed: a,b"),
    ("long option", {"properties": {"RAG": {"select": {"name": "x" * 101}}}}, "≤ `100`, instead was `101`"),
    ("no date", {"properties": {"Day": {"date": {"start": "yesterday"}}}}, "ISO 8601"),
    ("no such day", {"properties": {"Day": {"date": {"start": "2026-02-30"}}}}, "ISO 8601"),
    ("end first", {"properties": {"Day": {"date": {"start": "2026-02-02", "end": "2026-02-01"}}}}, "before its start"),
    ("computed", {"properties": {"Made": {"created_time": "2026-01-01T00:00:00Z"}}}, "cannot be set"),
    ("101 children", {"children": [paragraph()] * 101}, "body.children.length should be ≤ `100`, instead was `101`"),
    ("three levels", {"children": [nested(3)]}, "children should be not present"),
    ("too many blocks", {"children": [paragraph(children=[paragraph()] * 100)] * 10}, "≤ `1000` blocks in all"),
    ("unknown block", {"children": [{"wonder": {}}]}, "should have exactly one of"),
    ("unknown key", {"children": [paragraph(colour="red")]}, "paragraph.colour should be not present"),
    ("unknown colour", {"children": [paragraph(color="crimson")]}, "paragraph.color should be"),
    ("no icon", {"icon": {"type": "emoji", "emoji": "red"}}, "should be an emoji"),
    (
        "no link",
        {"children": [{"paragraph": {"rich_text": [{"text": {"content": "x", "link": {"url": "x"}}}]}}]},
        "URL",
    ),
    ("half a pair", {"properties": {"Key": {"rich_text": [text("\ud83d")]}}}, "surrogate"),
    ("zero character", {"properties": {"Key": {"rich_text": [text("\x00")]}}}, "U+0000"),
    ("short row", {"children": [{"table": {"table_width": 2, "children": [{"table_row": {"cells": [[]]}}]}}]}, "width"),
]


@pytest.mark.parametrize(("body", "message"), [case[1:] for case in BAD_PAGES], ids=[case[0] for case in BAD_PAGES])
def test_a_page_that_does_not_fit_is_refused_whole(
    server: SandboxServer, notion: Client, database: dict[str, Any], body: dict[str, Any], message: str
) -> None:
    source = database["data_sources"][0]["id"]
    sent = {"parent": {"database_id": database["id"]}, "properties": {}, **body}
    answer = raw(server, "POST", "/v1/pages", json.dumps(sent))
    assert answer.status_code == 400
    problem = answer.json()
    assert (problem["object"], problem["status"], problem["code"]) == ("error", 400, "validation_error")
    assert message in problem["message"]
    assert problem["request_id"]
    assert notion.data_sources.query(source)["results"] == []  # type: ignore[index]


def test_what_just_fits_is_taken(add: Callable[..., dict[str, Any]]) -> None:
    page = add(
        {"Key": {"rich_text": [text("🔴" * 1000)] * 100}, "RAG": {"select": {"name": "x" * 100}}},
        children=[paragraph(children=[paragraph()] * 9)] * 100,
    )
    assert len(plain(page["properties"]["Key"]["rich_text"])) == 100_000


def raw(server: SandboxServer, method: str, path: str, content: str | bytes = "", **headers: str) -> httpx.Response:
    standard = {"authorization": f"Bearer {server.token}", "notion-version": "2025-09-03"}
    sent = {name: value for name, value in {**standard, **headers}.items() if value}
    return httpx.request(method, server.url + path, content=content, headers=sent)


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        ("{", 400, "invalid_json"),
        ('{"parent": NaN}', 400, "invalid_json"),
        ("[" * 100_000, 400, "invalid_json"),
        ("[]", 400, "validation_error"),
        ('{"x": "' + "y" * (500_000) + '"}', 413, "validation_error"),
    ],
    ids=["broken", "not a number", "deep", "no object", "over 500 KB"],
)
def test_bodies_that_cannot_be_taken(server: SandboxServer, content: str, status: int, code: str) -> None:
    answer = raw(server, "POST", "/v1/pages", content)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"authorization": ""}, 401, "unauthorized"),
        ({"authorization": "Bearer other"}, 401, "unauthorized"),
        ({"notion-version": ""}, 400, "missing_version"),
        ({"notion-version": "2022-06-28"}, 400, "validation_error"),
        ({"host": "rebound.example"}, 421, None),
    ],
)
def test_requests_without_the_right_headers(
    server: SandboxServer, headers: dict[str, str], status: int, code: str | None
) -> None:
    answer = raw(server, "GET", "/v1/users/me", **headers)
    assert (answer.status_code, answer.json().get("code")) == (status, code)


@pytest.mark.parametrize("path", ["pages", "databases", "data_sources", "blocks"])
def test_ids_that_are_none_and_ids_of_nothing(server: SandboxServer, path: str) -> None:
    wrong = raw(server, "GET", f"/v1/{path}/not-an-id")
    assert (wrong.status_code, wrong.json()["code"]) == (400, "validation_error")
    assert "should be a valid uuid" in wrong.json()["message"]
    gone = raw(server, "GET", f"/v1/{path}/{MISSING_ID}")
    assert (gone.status_code, gone.json()["code"]) == (404, "object_not_found")
    assert MISSING_ID in gone.json()["message"]


def test_unknown_addresses_are_refused(server: SandboxServer) -> None:
    assert raw(server, "GET", "/v1/comments").json()["code"] == "invalid_request_url"
    assert raw(server, "DELETE", f"/v1/pages/{MISSING_ID}").json()["code"] == "invalid_request_url"


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"Key": {"rich_text": {}}}, "Title is not provided"),
        ({"A": {"title": {}}, "B": {"title": {}}}, "exactly one title"),
        ({"A": {"title": {}}, "B": {"select": {"options": [{"name": "a,b"}]}}}, "commas not allowed"),
        ({"A": {"title": {}}, "B": {"wonder": {}}}, "exactly one of"),
        ({"A": {"title": {}}, "B": {"select": {"options": [{"name": str(n)} for n in range(101)]}}}, "≤ `100`"),
        ({"A": {"title": {}}, "B": {"number": {"format": "guilders"}}}, "number.format should be"),
    ],
)
def test_schemas_that_do_not_fit(
    server: SandboxServer, notion: Client, properties: dict[str, Any], message: str
) -> None:
    before = len(server.store.databases.all())
    problem = refusal(
        notion.databases.create,
        parent={"type": "page_id", "page_id": server.root_page_id},
        initial_data_source={"properties": properties},
    )
    assert message in str(problem)
    assert len(server.store.databases.all()) == before


def test_schema_updates_rename_remove_and_keep_colours(
    add: Callable[..., dict[str, Any]], notion: Client, database: dict[str, Any]
) -> None:
    page = add({"Score": {"number": 5}, "Key": {"rich_text": [text("k")]}, "RAG": {"select": {"name": "RED"}}})
    source = database["data_sources"][0]["id"]
    notion.data_sources.update(source, properties={"Score": {"name": "Points"}, "Key": None, "Note": {"rich_text": {}}})
    read: Any = notion.pages.retrieve(page["id"])
    assert read["properties"]["Points"]["number"] == 5
    assert "Key" not in read["properties"]
    assert read["properties"]["Note"]["rich_text"] == []
    recolour = {"RAG": {"select": {"options": [{"name": "RED", "color": "blue"}]}}}
    assert "Cannot update color" in str(refusal(notion.data_sources.update, source, properties=recolour))
    notion.data_sources.update(source, properties={"RAG": {"rich_text": {}}})
    again: Any = notion.pages.retrieve(page["id"])
    assert again["properties"]["RAG"]["rich_text"] == []
    assert "title" in str(refusal(notion.data_sources.update, source, properties={"Name": None}))


def test_a_select_takes_a_hundred_options_and_no_more(
    add: Callable[..., dict[str, Any]], notion: Client, database: dict[str, Any]
) -> None:
    source = database["data_sources"][0]["id"]
    full = [{"name": f"option {number}"} for number in range(100)]
    notion.data_sources.update(source, properties={"RAG": {"select": {"options": full}}})
    assert add({"RAG": {"select": {"name": "option 99"}}})["properties"]["RAG"]["select"]["name"] == "option 99"
    with pytest.raises(APIResponseError, match="100 select options already"):
        add({"RAG": {"select": {"name": "one more"}}})


RUNS = st.lists(st.tuples(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00")), st.booleans()))


@given(RUNS)
def test_rich_text_keeps_every_character_and_merges_neighbours(runs: list[tuple[str, bool]]) -> None:
    cleaned = clean_rich_text([text(content, bold=bold) for content, bold in runs[:100]], "body")
    assert plain(cleaned) == "".join(content for content, _ in runs[:100])
    assert all(run["plain_text"] for run in cleaned)
    for before, after in pairwise(cleaned):
        assert before["annotations"] != after["annotations"]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(JSON_VALUES.filter(lambda value: value != []))
def test_anything_else_than_rich_text_is_refused(value: Any) -> None:
    with pytest.raises(ApiError) as caught:
        clean_rich_text(value, "body")
    assert caught.value.status == 400


def test_the_token_is_in_no_answer(server: SandboxServer, tmp_path: Path) -> None:
    secret = "ntn_neverseen"
    answer = raw(server, "GET", "/v1/users/me", authorization=f"Bearer {secret}")
    assert secret not in answer.text


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["\ud800", "a\udfffb"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("\ud800"), inner, max_size=3),
    max_leaves=8,
)
PLACES = [
    *("/v1/search", "/v1/pages", "/v1/databases", "/v1/data_sources", f"/v1/data_sources/{MISSING_ID}/query"),
    *("/_sandbox/faults", "/_sandbox/people"),
]


@given(place=st.sampled_from(PLACES), body=JSON_VALUES)
def test_no_body_is_an_error_of_the_sandbox(server: SandboxServer, place: str, body: Any) -> None:
    answer = raw(server, "POST", place, json.dumps(body))
    assert answer.status_code < 500, (place, body, answer.text)
    raw(server, "DELETE", "/_sandbox/faults")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('"\\ud800"', 400),
        ('{"\\ud800": {"filter": "\\ud800"}}', 400),
        ("[" * 200_000, 400),
        ("[" * 100 + "]" * 100, 400),
        ('[{"kind": 1}]', 400),
        ('{"action": []}', 400),
        ('{"x": "' + "y" * 500_000 + '"}', 413),
    ],
    ids=["half a pair", "half a pair inside", "deep", "a hundred levels", "wrong types", "wrong action", "too large"],
)
def test_broken_bodies_are_rejected_everywhere(server: SandboxServer, place: str, body: str, status: int) -> None:
    answer = raw(server, "POST", place, body)
    # A place without a data source, or an action, of that kind says so first.
    assert answer.status_code == status or (answer.status_code == 404 and status != 413)


@pytest.mark.parametrize("place", ["/", "/v1/users/me", "/_sandbox/faults"])
def test_only_loopback_and_its_own_pages_are_answered(server: SandboxServer, place: str) -> None:
    own = server.url.removeprefix("http://")
    for host in ("rebound.example", f"rebound.example:{server.port}", "127.0.0.1.example", "localhost:x"):
        assert raw(server, "GET", place, host=host).status_code == 421, host
    for origin in ("http://rebound.example", "null", f"https://{own}", f"http://localhost:{server.port + 1}"):
        assert raw(server, "GET", place, origin=origin).status_code == 403, origin
    assert raw(server, "GET", place, origin=server.url).status_code == 200
    by_name = {"host": f"localhost:{server.port}", "origin": f"http://localhost:{server.port}"}
    assert raw(server, "GET", place, **by_name).status_code == 200


# Versions of the API


def test_the_newest_version_has_no_archived_and_no_after(server: SandboxServer, database: dict[str, Any]) -> None:
    source = database["data_sources"][0]["id"]
    newest = {"notion-version": "2026-03-11"}

    def send(method: str, path: str, body: Any, **headers: str) -> httpx.Response:
        return raw(server, method, path, json.dumps(body), **headers)

    page = send("POST", "/v1/pages", {"parent": {"data_source_id": source}, "properties": {}}, **newest).json()
    assert (page["in_trash"], "archived" in page) == (False, False)
    children = f"/v1/blocks/{page['id']}/children"
    block = send("PATCH", children, {"children": [paragraph("a"), paragraph("c")]}, **newest).json()["results"][0]
    assert "archived" not in block
    after = {"children": [paragraph("b")], "after": block["id"]}
    refused = send("PATCH", children, after, **newest)
    assert (refused.status_code, "body.after should be not present" in refused.json()["message"]) == (400, True)
    position = {"type": "after_block", "after_block": {"id": block["id"]}}
    send("PATCH", children, {"children": [paragraph("b")], "position": position}, **newest)
    listed = raw(server, "GET", children, **newest).json()["results"]
    assert [plain(one["paragraph"]["rich_text"]) for one in listed] == ["a", "b", "c"]
    assert send("PATCH", children, after).status_code == 200
    for path in (
        f"pages/{page['id']}",
        f"databases/{database['id']}",
        f"data_sources/{source}",
        f"blocks/{block['id']}",
    ):
        answer = send("PATCH", f"/v1/{path}", {"archived": True}, **newest)
        assert (answer.status_code, "body.archived" in answer.json()["message"]) == (400, True), path
        assert "archived" not in send("PATCH", f"/v1/{path}", {"in_trash": True}, **newest).json()
    assert raw(server, "GET", f"/v1/pages/{page['id']}").json()["archived"] is True
