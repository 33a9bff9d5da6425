"""The sandbox's pages for people: what they show, that they escape it, search, orders and paging."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from notion_client import Client

from csm_core.notion_sandbox.server import SandboxServer

HOSTILE = "<script>alert('x')</script> & \"quotes\" {{ 7*7 }}"


def rich(content: str, **more: Any) -> list[dict[str, Any]]:
    return [{"text": {"content": content}, **more}]


class Reader(HTMLParser):
    """Collects tags and text, and fails at a tag that closes nothing."""

    VOID = ("meta", "link", "hr", "input", "br")

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[SandboxServer]:
    with SandboxServer(tmp_path_factory.mktemp("sandbox") / "notion.sqlite") as running:
        yield running


@pytest.fixture(scope="module")
def notion(server: SandboxServer) -> Generator[Client]:
    client = Client(auth=server.token, base_url=server.url, retry=False)
    yield client
    client.close()


@pytest.fixture(scope="module")
def database(server: SandboxServer, notion: Client) -> dict[str, Any]:
    made: Any = notion.databases.create(
        parent={"type": "page_id", "page_id": server.root_page_id},
        title=rich("Accounts of ours"),
        description=rich(HOSTILE),
        icon={"type": "emoji", "emoji": "🏢"},
        initial_data_source={
            "properties": {
                "Account": {"title": {}},
                "Score": {"number": {}},
                "RAG": {"select": {"options": [{"name": "RED", "color": "red"}]}},
                "Scan": {"date": {}},
                "Alert": {"checkbox": {}},
            }
        },
    )
    for number in range(120):
        notion.pages.create(
            parent={"database_id": made["id"]},
            properties={
                "Account": {"title": rich(f"Company {number:03d}")},
                "Score": {"number": (number * 37) % 120},
                "RAG": {"select": {"name": "RED"}},
                "Scan": {"date": {"start": "2026-03-01T06:30:00Z"}},
            },
        )
    return made


def look(server: SandboxServer, path: str, status: int = 200) -> Reader:
    answer = httpx.get(server.url + path)
    assert answer.status_code == status
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", answer.text) == []
    reader = Reader()
    reader.feed(answer.text)
    reader.close()
    assert reader.open == []
    return reader


def at(identifier: str) -> str:
    return "/" + identifier.replace("-", "")


def test_the_workspace_lists_its_databases(server: SandboxServer, database: dict[str, Any]) -> None:
    shown = look(server, "/")
    assert "Accounts of ours" in shown.text
    assert "120 pages" in shown.text
    assert HOSTILE in shown.text
    assert "script" not in shown.tags


def test_a_database_is_a_table_of_fifty_rows_a_page(server: SandboxServer, database: dict[str, Any]) -> None:
    first = look(server, at(database["id"]))
    assert first.tags.count("tr") == 51
    assert "1–50 of 120" in first.text
    for word in ("Company 000", "RED", "1 March 2026, 06:30 UTC", "Next →"):
        assert word in first.text
    last = look(server, at(database["id"]) + "?page=3")
    assert last.tags.count("tr") == 21
    assert "101–120 of 120" in last.text
    assert look(server, at(database["id"]) + "?page=999999").text == last.text


def test_a_table_is_searched_and_ordered(server: SandboxServer, database: dict[str, Any]) -> None:
    found = look(server, at(database["id"]) + "?q=company+01")
    assert "1–10 of 10" in found.text
    none = look(server, at(database["id"]) + "?q=%3Cscript%3E")
    assert "No pages" in none.text
    assert "script" not in none.tags
    (source,) = server.store.sources.of_database(database["id"])
    score = json.loads(source["properties"])["Score"]["id"]
    ordered = look(server, at(database["id"]) + f"?sort={score}&dir=desc").text
    positions = [ordered.index(f"Company {number:03d}") for number in (107, 94, 81)]
    assert [(number * 37) % 120 for number in (107, 94, 81)] == [119, 118, 117]
    assert positions == sorted(positions)


def test_a_page_shows_properties_and_every_block(
    server: SandboxServer, notion: Client, database: dict[str, Any]
) -> None:
    words = ("heading", "callout", "bullet", "inner", "number", "done", "quoted", "code", "cell", "linked", "folded")
    page: Any = notion.pages.create(
        parent={"database_id": database["id"]},
        icon={"type": "emoji", "emoji": "🔴"},
        properties={"Account": {"title": rich("Shown page")}, "Alert": {"checkbox": True}},
        children=[
            {"heading_1": {"rich_text": rich("heading")}},
            {"callout": {"rich_text": rich("callout"), "icon": {"emoji": "🟢"}, "color": "green_background"}},
            {
                "bulleted_list_item": {
                    "rich_text": rich("bullet"),
                    "children": [{"bulleted_list_item": {"rich_text": rich("inner")}}],
                }
            },
            {"bulleted_list_item": {"rich_text": rich("second bullet")}},
            {"numbered_list_item": {"rich_text": rich("number")}},
            {"to_do": {"rich_text": rich("done"), "checked": True}},
            {"quote": {"rich_text": rich("quoted")}},
            {"toggle": {"rich_text": rich("folded")}},
            {"code": {"rich_text": rich("code"), "language": "sql"}},
            {"divider": {}},
            {"table": {"table_width": 1, "children": [{"table_row": {"cells": [rich("cell")]}}]}},
            {"paragraph": {"rich_text": rich("linked", annotations={"bold": True, "color": "red"})}},
        ],
    )
    shown = look(server, at(page["id"]))
    for word in (*words, "Shown page", "🔴", "🟢", "Accounts of ours"):
        assert word in shown.text
    assert shown.tags.count("ul") == 2
    assert shown.tags.count("ol") == 1
    assert {"blockquote", "table", "hr", "details", "pre"} <= set(shown.tags)


def test_everything_from_outside_is_escaped(server: SandboxServer, notion: Client) -> None:
    schema = {HOSTILE: {"title": {}}, "T": {"rich_text": {}}, "S": {"select": {"options": [{"name": HOSTILE}]}}}
    made: Any = notion.databases.create(
        parent={"type": "page_id", "page_id": server.root_page_id},
        title=rich(HOSTILE),
        initial_data_source={"properties": schema},
    )
    page: Any = notion.pages.create(
        parent={"database_id": made["id"]},
        properties={
            HOSTILE: {"title": rich(HOSTILE)},
            "T": {"rich_text": [{"text": {"content": HOSTILE, "link": {"url": 'https://example.com/"><script>'}}}]},
            "S": {"select": {"name": HOSTILE}},
        },
        children=[{"paragraph": {"rich_text": rich(HOSTILE)}}],
    )
    for path in ("/", at(made["id"]), at(page["id"])):
        shown = look_loosely(server, path)
        assert "script" not in shown.tags
        assert HOSTILE in shown.text
        assert "49" not in shown.text


def look_loosely(server: SandboxServer, path: str) -> Reader:
    reader = Reader()
    reader.feed(httpx.get(server.url + path).text)
    return reader


def test_a_page_in_the_trash_says_so(server: SandboxServer, notion: Client, database: dict[str, Any]) -> None:
    page: Any = notion.pages.create(parent={"database_id": database["id"]}, properties={})
    server.user_actions.trash(page["id"])
    assert "in the trash" in look(server, at(page["id"])).text


@pytest.mark.parametrize("path", ["/nothing", "/" + "0" * 32, "/../etc/passwd", "/_assets/base.html"])
def test_what_is_not_there(server: SandboxServer, path: str) -> None:
    assert "Page not found" in look(server, path, 404).text


def test_nothing_is_changed_here(server: SandboxServer) -> None:
    assert httpx.post(server.url + "/", content="x").status_code == 405


def test_the_style_is_served_and_the_file_is_named(server: SandboxServer) -> None:
    style = httpx.get(server.url + "/_assets/style.css")
    assert style.headers["content-type"].startswith("text/css")
    assert "url(" not in style.text
    assert server.store.path.name in look(server, "/").text


def test_an_empty_workspace_says_how_to_fill_it(tmp_path: Path) -> None:
    with SandboxServer(tmp_path / "n.sqlite") as empty:
        assert "Nothing is published yet" in look(empty, "/").text
