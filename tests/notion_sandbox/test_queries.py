"""Queries of the sandbox: filters, orders, paging, and the cap on how far paging goes."""

from __future__ import annotations

import time
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from notion_client import Client
from notion_client.errors import APIResponseError

from csm_core.notion_sandbox.property_schema import clean_schema
from csm_core.notion_sandbox.property_values import clean_values
from csm_core.notion_sandbox.server import SandboxServer
from csm_core.notion_sandbox.store import Store
from tests.examples import examples

SCHEMA: dict[str, Any] = {
    "Name": {"title": {}},
    "Key": {"rich_text": {}},
    "Score": {"number": {}},
    "RAG": {"select": {"options": [{"name": "GREEN"}, {"name": "RED"}, {"name": "AMBER"}]}},
    "Day": {"date": {}},
    "Alert": {"checkbox": {}},
    "Tags": {"multi_select": {"options": [{"name": "a"}, {"name": "b"}]}},
}
ROWS: list[tuple[str, str | None, float | None, str | None, str | None, bool]] = [
    ("Alpha", "A-1", 10.0, "GREEN", "2026-01-01", False),
    ("Beta", "A-2", 20.5, "RED", "2026-01-02T10:00:00Z", True),
    ("Gamma", None, None, None, None, False),
    ("alphabet", "a-1", -5.0, "RED", "2026-02-01", True),
]
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def rich(content: str) -> list[dict[str, Any]]:
    return [{"text": {"content": content}}]


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def values(row: tuple[str, str | None, float | None, str | None, str | None, bool]) -> dict[str, Any]:
    name, key, score, rag, day, alert = row
    return {
        "Name": {"title": rich(name)},
        "Key": {"rich_text": rich(key) if key else []},
        "Score": {"number": score},
        "RAG": {"select": {"name": rag} if rag else None},
        "Day": {"date": {"start": day} if day else None},
        "Alert": {"checkbox": alert},
        "Tags": {"multi_select": [{"name": "a"}] if alert else []},
    }


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, clock: Clock) -> Generator[SandboxServer]:
    path = tmp_path_factory.mktemp("sandbox") / "notion.sqlite"
    with SandboxServer(path, clock=clock, query_result_limit=250) as running:
        yield running


@pytest.fixture(scope="module")
def notion(server: SandboxServer) -> Generator[Client]:
    client = Client(auth=server.token, base_url=server.url, retry=False)
    yield client
    client.close()


@pytest.fixture(scope="module")
def source(server: SandboxServer, notion: Client, clock: Clock) -> str:
    database: Any = notion.databases.create(
        parent={"type": "page_id", "page_id": server.root_page_id}, initial_data_source={"properties": SCHEMA}
    )
    for row in ROWS:
        notion.pages.create(parent={"database_id": database["id"]}, properties=values(row))
        clock.now += timedelta(minutes=1)
    return str(database["data_sources"][0]["id"])


def names(answer: Any) -> list[str]:
    return [page["properties"]["Name"]["title"][0]["plain_text"] for page in answer["results"]]


def where(kind: str, name: str, **condition: Any) -> dict[str, Any]:
    return {"property": name, kind: condition}


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["Alpha", "Beta", "Gamma", "alphabet"]),
    (where("rich_text", "Key", equals="A-1"), ["Alpha"]),
    (where("rich_text", "Key", does_not_equal="A-1"), ["Beta", "Gamma", "alphabet"]),
    (where("rich_text", "Key", contains="a-"), ["Alpha", "Beta", "alphabet"]),
    (where("rich_text", "Key", does_not_contain="2"), ["Alpha", "Gamma", "alphabet"]),
    (where("rich_text", "Key", starts_with="A"), ["Alpha", "Beta"]),
    (where("rich_text", "Key", ends_with="-1"), ["Alpha", "alphabet"]),
    (where("rich_text", "Key", is_empty=True), ["Gamma"]),
    (where("rich_text", "Key", is_not_empty=True), ["Alpha", "Beta", "alphabet"]),
    (where("title", "Name", contains="ALPHA"), ["Alpha", "alphabet"]),
    (where("number", "Score", equals=20.5), ["Beta"]),
    (where("number", "Score", greater_than_or_equal_to=10), ["Alpha", "Beta"]),
    (where("number", "Score", less_than=0), ["alphabet"]),
    (where("number", "Score", is_empty=True), ["Gamma"]),
    (where("select", "RAG", equals="RED"), ["Beta", "alphabet"]),
    (where("select", "RAG", does_not_equal="RED"), ["Alpha", "Gamma"]),
    (where("select", "RAG", equals="AMBER"), []),
    (where("multi_select", "Tags", contains="a"), ["Beta", "alphabet"]),
    (where("checkbox", "Alert", equals=True), ["Beta", "alphabet"]),
    (where("checkbox", "Alert", equals=False), ["Alpha", "Gamma"]),
    (where("date", "Day", equals="2026-01-02"), ["Beta"]),
    (where("date", "Day", on_or_after="2026-01-02T09:00:00Z"), ["Beta", "alphabet"]),
    (where("date", "Day", before="2026-01-02"), ["Alpha"]),
    (where("date", "Day", is_empty=True), ["Gamma"]),
    (
        {"and": [where("select", "RAG", equals="RED"), where("number", "Score", greater_than=0)]},
        ["Beta"],
    ),
    (
        {"or": [where("title", "Name", equals="Gamma"), {"and": [where("checkbox", "Alert", equals=True)]}]},
        ["Beta", "Gamma", "alphabet"],
    ),
    ({"timestamp": "created_time", "created_time": {"on_or_after": "2026-03-01T12:02:00Z"}}, ["Gamma", "alphabet"]),
    ({"timestamp": "created_time", "created_time": {"before": "2026-03-01T13:01:00+01:00"}}, ["Alpha"]),
    ({"timestamp": "last_edited_time", "last_edited_time": {"after": "2026-03-02"}}, []),
]


@pytest.mark.parametrize(("condition", "expected"), FILTERS, ids=range(len(FILTERS)))
def test_filters(notion: Client, source: str, condition: dict[str, Any], expected: list[str]) -> None:
    assert names(notion.data_sources.query(source, filter=condition)) == expected


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (where("select", "RAG", equals="PINK"), 'select option "PINK" not found for property "RAG"'),
        (where("rich_text", "Nope", equals="x"), "Could not find property with name or id: Nope"),
        (where("rich_text", "Score", equals="x"), "database property number does not match filter rich_text"),
        (where("number", "Score", equals="1"), "should be a number"),
        (where("number", "Score", sounds_like=1), "should be"),
        (where("rich_text", "Key", equals="a", contains="b"), "exactly one condition"),
        ({"or": [where("checkbox", "Alert", equals=True)] * 101}, "≤ `100`"),
        ({"or": [{"and": [{"or": [where("checkbox", "Alert", equals=True)]}]}]}, "should be not present"),
        ({"timestamp": "created_time", "created_time": {"after": "soon"}}, "ISO 8601"),
    ],
)
def test_filters_that_are_refused(notion: Client, source: str, condition: dict[str, Any], message: str) -> None:
    with pytest.raises(APIResponseError) as caught:
        notion.data_sources.query(source, filter=condition)
    assert caught.value.status == 400
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("sorts", "expected"),
    [
        ([{"property": "Score", "direction": "descending"}], ["Beta", "Alpha", "alphabet", "Gamma"]),
        ([{"property": "Name", "direction": "ascending"}], ["Alpha", "Beta", "Gamma", "alphabet"]),
        ([{"timestamp": "created_time", "direction": "descending"}], ["alphabet", "Gamma", "Beta", "Alpha"]),
        (
            [{"property": "Alert", "direction": "descending"}, {"property": "Score", "direction": "ascending"}],
            ["alphabet", "Beta", "Alpha", "Gamma"],
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_orders_hold_over_pages(
    notion: Client, source: str, sorts: list[dict[str, Any]], expected: list[str], size: int
) -> None:
    found: list[str] = []
    cursor: str | None = None
    while True:
        more = {"start_cursor": cursor} if cursor else {}
        answer: Any = notion.data_sources.query(source, sorts=sorts, page_size=size, **more)
        found += names(answer)
        cursor = answer["next_cursor"]
        if not answer["has_more"]:
            break
    assert found == expected


@pytest.mark.parametrize("size", [0, 101, "many", True])
def test_page_sizes_that_are_refused(notion: Client, source: str, size: Any) -> None:
    with pytest.raises(APIResponseError, match="page_size should be"):
        notion.data_sources.query(source, page_size=size)


@pytest.mark.parametrize("cursor", ["x", "e30=", 7, "00000000-0000-4000-8000-000000000000"])
def test_cursors_of_nothing_are_refused(notion: Client, source: str, cursor: Any) -> None:
    with pytest.raises(APIResponseError, match="start_cursor provided is invalid"):
        notion.data_sources.query(source, start_cursor=cursor)


def test_what_is_in_the_trash_is_found_when_asked_for(server: SandboxServer, notion: Client, source: str) -> None:
    (page,) = notion.data_sources.query(source, filter=where("title", "Name", equals="Gamma"))["results"]  # type: ignore[index]
    server.user_actions.trash(page["id"])
    assert "Gamma" not in names(notion.data_sources.query(source))
    assert names(notion.data_sources.query(source, in_trash=True)) == ["Gamma"]
    server.user_actions.restore(page["id"])
    assert "Gamma" in names(notion.data_sources.query(source))


def fill(server: SandboxServer, clock: Clock, count: int, every: int) -> str:
    """A data source of ``count`` pages, a minute further after each ``every`` of them."""
    store: Store = server.store
    with store.transaction():
        schema = clean_schema({"Name": {"title": {}}, "Key": {"rich_text": {}}}, "x")
        columns = {"title": "[]", "description": "[]", "is_inline": 0}
        made = store.sources.add(store.databases.add(store.root_id, columns, "")["id"], [], schema)
        for number in range(count):
            if number % every == 0:
                clock.now += timedelta(minutes=1)
            given = {"Name": {"title": rich(f"P{number}")}, "Key": {"rich_text": rich(f"k{number}")}}
            cleaned, _ = clean_values(schema, given, "x")
            store.pages.add(None, made, schema, cleaned, None, None)
    return str(made["id"])


def read_all(notion: Client, source: str, **asked: Any) -> tuple[list[str], dict[str, Any]]:
    """Every page of a query, all of which say alike whether it is incomplete; the last of them."""
    found: list[str] = []
    said: list[Any] = []
    cursor: str | None = None
    while True:
        more = {"start_cursor": cursor} if cursor else {}
        answer: Any = notion.data_sources.query(source, **asked, **more)
        found += names(answer)
        said.append(answer.get("request_status"))
        assert said[0] == said[-1]
        cursor = answer["next_cursor"]
        if not answer["has_more"]:
            return found, answer


def test_a_query_ends_at_its_limit_and_says_so(server: SandboxServer, notion: Client, clock: Clock) -> None:
    source = fill(server, clock, 300, every=50)
    found, last = read_all(notion, source)
    assert len(found) == 250
    assert last["request_status"] == {"type": "incomplete", "incomplete_reason": "query_result_limit_reached"}
    assert (last["next_cursor"], last["has_more"]) == (None, False)
    rest, answer = read_all(
        notion,
        source,
        filter={"timestamp": "created_time", "created_time": {"on_or_after": clock.now.isoformat()}},
        sorts=[{"timestamp": "created_time", "direction": "ascending"}],
    )
    assert sorted({*found, *rest}) == sorted(f"P{number}" for number in range(300))
    assert "request_status" not in answer


def test_exactly_as_many_as_the_limit_is_complete(server: SandboxServer, notion: Client, clock: Clock) -> None:
    found, last = read_all(notion, fill(server, clock, 250, every=100))
    assert len(found) == 250
    assert "request_status" not in last


def test_the_last_of_many_pages_costs_no_more_than_the_first(tmp_path: Path, clock: Clock) -> None:
    with SandboxServer(tmp_path / "many.sqlite", clock=clock) as server:
        source = fill(server, clock, 6_000, every=100)
        client = Client(auth=server.token, base_url=server.url, retry=False)
        seconds: list[float] = []
        found: list[str] = []
        cursor: str | None = None
        while True:
            started = time.perf_counter()
            answer: Any = client.data_sources.query(source, **({"start_cursor": cursor} if cursor else {}))
            seconds.append(time.perf_counter() - started)
            found += names(answer)
            cursor = answer["next_cursor"]
            if not answer["has_more"]:
                break
        started = time.perf_counter()
        (page,) = client.data_sources.query(source, filter=where("rich_text", "Key", equals="k5999"))["results"]  # type: ignore[index]
        one = time.perf_counter() - started
        client.close()
    assert found == [f"P{number}" for number in range(6_000)]
    assert page["properties"]["Name"]["title"][0]["plain_text"] == "P5999"
    assert sorted(seconds[-20:])[10] < 5 * sorted(seconds[:20])[10]
    assert one < 0.2


@settings(deadline=None, max_examples=examples(40))
@given(operand=st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=8))
def test_texts_of_filters_are_only_texts(notion: Client, source: str, operand: str) -> None:
    for operator in ("equals", "contains", "starts_with", "ends_with"):
        found = names(notion.data_sources.query(source, filter=where("title", "Name", **{operator: operand})))
        if operand:
            tests = {
                "equals": lambda name: name == operand,
                "contains": lambda name: operand.isascii() and operand.lower() in name.lower(),
                "starts_with": lambda name: name.startswith(operand),
                "ends_with": lambda name: name.endswith(operand),
            }
            assert found == [row[0] for row in ROWS if tests[operator](row[0])]
