"""Every request body that publishing sends, taken off the wire, against the limits that Notion publishes.

The limits are written here once more, apart from the code that keeps them and from the sandbox that enforces them:
https://developers.notion.com/reference/request-limits
"""

from __future__ import annotations

import asyncio
import json
import unicodedata
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from csm_core.config import Config
from csm_core.notion_sandbox.server import SandboxServer
from csm_core.publishing.notion.databases import EXPANSIONS, QBRS
from csm_core.warehouse.database import Warehouse
from tests.publishing.notion.publication import DAY, adapter_of, fill, held, publish

REQUEST_BYTES = 500_000
BLOCKS_IN_A_REQUEST = 1_000
CHILDREN = RUNS = OPTION = 100
UNITS = 2_000
BLOCKS = {
    "heading_1",
    "heading_2",
    "heading_3",
    "paragraph",
    "bulleted_list_item",
    "numbered_list_item",
    "callout",
    "table",
    "table_row",
    "toggle",
}
VALUES = {"title", "rich_text", "number", "select", "date", "checkbox", "people", "relation"}

TEXTS = {
    "long": "A long story, told in full. " * 8_000,
    "emoji": "👩‍👩‍👧‍👦 😀 " * 6_000,
    "odd by one": "x" + "😀" * 120_000,
    "wide": "健康な顧客" * 60_000,
    "control": "a\x00b\x07c\x1b[31m\u202e\ud83dd\n\te" * 400,
    "quotes": '"\\",{}[]' * 30_000,
    "empty": "",
    "blank": " \n ",
}


def units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def nodes(body: Any) -> Iterator[dict[str, Any]]:
    if isinstance(body, dict):
        yield body
        for value in body.values():
            yield from nodes(value)
    elif isinstance(body, list):
        for value in body:
            yield from nodes(value)


def broken(body: bytes) -> list[str]:
    """Which limits a request's body breaks."""
    found = ["bytes"] if len(body) > REQUEST_BYTES else []
    parsed = json.loads(body.decode("utf-8"))
    blocks = 0
    for node in nodes(parsed):
        if "children" in node and len(node["children"]) > CHILDREN:
            found.append("children")
        found += [
            f"runs of {name}"
            for name in ("rich_text", "title")
            if isinstance(node.get(name), list) and len(node[name]) > RUNS
        ]
        if "content" in node:
            if units(node["content"]) > UNITS:
                found.append("content")
            if any(unicodedata.category(one) in ("Cc", "Cs") and one not in "\n\t" for one in node["content"]):
                found.append("control characters")
        if isinstance(node.get("select"), dict) and "name" in node["select"]:
            option = node["select"]["name"]
            if not option or "," in option or units(option) > OPTION:
                found.append(f"option {option!r}")
        if node.get("object") == "block":
            blocks += 1
            if node["type"] not in BLOCKS or node["type"] not in node or node.keys() - {"object", "type", node["type"]}:
                found.append(f"block {sorted(node)}")
    if blocks > BLOCKS_IN_A_REQUEST:
        found.append("blocks")
    for name, value in parsed.get("properties", {}).items():
        if len(value.keys() & VALUES) != 1 or value.keys() - VALUES - {"type"}:
            found.append(f"value of {name}")
    return found


@pytest.mark.parametrize("kind", TEXTS)
def test_every_body_keeps_every_limit_and_no_text_is_lost(tmp_path: Path, kind: str) -> None:
    text = TEXTS[kind]
    file = tmp_path / "notion.sqlite"
    bodies: list[tuple[str, bytes]] = []

    async def note(request: httpx.Request) -> None:
        if request.method != "GET" and not request.url.path.endswith("/query"):
            bodies.append((f"{request.method} {request.url.path}", request.content))

    with (
        SandboxServer(file) as server,
        Warehouse.from_config(Config(warehouse=tmp_path / "w.duckdb")).connect() as marts,
    ):

        async def run() -> None:
            async with adapter_of(server) as adapter:
                adapter._client.client.event_hooks["request"].append(note)  # pyright: ignore[reportPrivateUsage]
                for day, score in ((DAY, 80.0), (DAY + timedelta(days=1), 60.0)):
                    fill(marts, 2, day=day, score=score, opportunities=1, reviews=1, features=130)
                    say(marts, text)
                    _, report = await publish(marts, adapter, day=day)
                    assert report.failures == ()

        asyncio.run(run())
    assert {one.split("/")[2] for one, _ in bodies} >= {"pages", "blocks"}
    assert [(one, problems) for one, body in bodies if (problems := broken(body))] == []
    shown = "".join(one for one in text if unicodedata.category(one) not in ("Cc", "Cs") or one in "\n\t")
    (opportunity,) = held(file)[EXPANSIONS.title]
    said = "".join(words for _, words in opportunity["blocks"])
    assert said.count(shown) >= 2 if shown.strip() else True
    assert len(held(file)[QBRS.title]) == 1


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"children": [{}] * 101}, "children"),
        ({"rich_text": [{}] * 101}, "runs of rich_text"),
        ({"content": "😀" * 1000 + "x"}, "content"),
        ({"content": "a\x07"}, "control characters"),
        ({"select": {"name": "a, b"}}, "option 'a, b'"),
        ({"properties": {"x": {"status": {}}}}, "value of x"),
        ({"numbers": ["y" * 100] * 5_000}, "bytes"),
    ],
)
def test_what_breaks_a_limit_is_seen(body: dict[str, Any], problem: str) -> None:
    assert broken(json.dumps(body, ensure_ascii=False).encode()) == [problem]


def say(marts: duckdb.DuckDBPyConnection, text: str) -> None:
    """Put a text wherever a source's words come through: names, evidence, talk track, features."""
    words = text.encode("utf-8", "ignore").decode()
    name = words[:3000]
    marts.execute("update intermediate.int_account_days set account_name = ?", [name])
    marts.execute("update marts.csm_qbr set account_name = ?, segment = ?, plan = ?", [name, name, name])
    marts.execute("update marts.csm_expansion_opportunities set evidence = ?, recommended_talk_track = ?", [words] * 2)
    marts.execute("update marts.csm_feature_adoption set feature = feature || ?", [name])
