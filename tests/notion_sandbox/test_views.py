"""Views of the sandbox: what is created, listed, changed and deleted, what is refused, and what the web page shows."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from notion_client import Client
from notion_client.errors import APIResponseError

from csm_core.notion_sandbox.server import SandboxServer

SCHEMA: dict[str, Any] = {
    "Name": {"title": {}},
    "Text": {"rich_text": {}},
    "Score": {"number": {}},
    "RAG": {"select": {"options": [{"name": "GREEN", "color": "green"}]}},
    "Day": {"date": {}},
    "Owner": {"people": {}},
}


class Workspace:
    """A sandbox with one database."""

    def __init__(self, server: SandboxServer) -> None:
        self.url = server.url
        self.notion = Client(auth=server.token, base_url=server.url, retry=False, notion_version="2026-03-11")
        made: Any = self.notion.databases.create(
            parent={"type": "page_id", "page_id": server.root_page_id},
            title=[{"text": {"content": "Accounts"}}],
            initial_data_source={"properties": SCHEMA},
        )
        self.database, self.source = made["id"], made["data_sources"][0]["id"]
        found: Any = self.notion.data_sources.retrieve(self.source)
        self.ids = {name: one["id"] for name, one in found["properties"].items()}

    def create(self, **more: Any) -> dict[str, Any]:
        body = {"database_id": self.database, "data_source_id": self.source, "name": "View", "type": "table", **more}
        view: Any = self.notion.views.create(**body)
        return view

    def group(self, name: str, kind: str, **more: Any) -> dict[str, Any]:
        return {"type": kind, "property_id": self.ids[name], "sort": {"type": "manual"}, **more}

    def names(self) -> list[str]:
        listed: Any = self.notion.views.list(database_id=self.database)
        views: list[Any] = [self.notion.views.retrieve(one["id"]) for one in listed["results"]]
        return [view["name"] for view in views]


@pytest.fixture
def workspace(tmp_path: Path) -> Generator[Workspace]:
    with SandboxServer(tmp_path / "notion.sqlite") as server:
        made = Workspace(server)
        yield made
        made.notion.close()


def test_views_are_created_listed_changed_and_deleted(workspace: Workspace) -> None:
    assert workspace.names() == ["Default view"]
    view = workspace.create(
        name="By RAG",
        type="board",
        filter={"property": "Score", "number": {"less_than": 50}},
        sorts=[{"property": "Score", "direction": "ascending"}],
        configuration={"type": "board", "group_by": workspace.group("RAG", "select")},
    )
    assert (view["object"], view["type"], view["data_source_id"]) == ("view", "board", workspace.source)
    assert view["parent"] == {"type": "database_id", "database_id": workspace.database}
    assert view["configuration"]["group_by"]["property_name"] == "RAG"
    assert view["filter"] == {"property": "Score", "number": {"less_than": 50}}
    changed: Any = workspace.notion.views.update(view["id"], name="Renamed", filter=None)
    assert (changed["name"], changed["filter"], changed["sorts"]) == ("Renamed", None, view["sorts"])
    assert workspace.names() == ["Default view", "Renamed"]
    page = httpx.get(f"{workspace.url}/{workspace.database}").text
    assert "Renamed (board by RAG)" in page
    first: Any = workspace.notion.views.list(data_source_id=workspace.source, page_size=1)
    rest: Any = workspace.notion.views.list(data_source_id=workspace.source, start_cursor=first["next_cursor"])
    assert [one["id"] for one in rest["results"]] == [view["id"]]
    workspace.notion.views.delete(view["id"])
    assert workspace.names() == ["Default view"]
    with pytest.raises(APIResponseError, match="last view"):
        workspace.notion.views.delete(first["results"][0]["id"])
    with pytest.raises(APIResponseError, match="Could not find view"):
        workspace.notion.views.retrieve(view["id"])


def test_what_each_type_of_view_needs(workspace: Workspace) -> None:
    day, count = workspace.ids["Day"], {"aggregator": "count"}
    configurations: list[dict[str, Any]] = [
        {"type": "calendar", "date_property_id": day, "view_range": "month"},
        {"type": "chart", "chart_type": "donut", "x_axis": workspace.group("RAG", "select"), "y_axis": count},
        {"type": "table", "group_by": workspace.group("Text", "text", group_by="exact")},
        {"type": "table", "group_by": workspace.group("Owner", "person")},
    ]
    created = [workspace.create(type=one["type"], configuration=one)["configuration"]["type"] for one in configurations]
    assert created == ["calendar", "chart", "table", "table"]


@pytest.mark.parametrize(
    ("kind", "configuration", "message"),
    [
        ("board", None, "body.configuration"),
        ("board", {"type": "board"}, "body.configuration.group_by should be defined"),
        ("board", {"type": "table"}, "body.configuration.type"),
        ("board", {"type": "board", "group_by": ("RAG", "status")}, "group_by.type"),
        ("board", {"type": "board", "group_by": ("Score", "select")}, "the property Score is number"),
        ("table", {"type": "table", "group_by": ("Text", "text")}, "group_by.group_by"),
        ("table", {"type": "table", "columns": []}, "columns should be not present"),
        ("table", {"type": "table", "properties": [{"property_id": "none"}]}, "Could not find property with id"),
        ("calendar", {"type": "calendar"}, "date_property_id should be defined"),
        ("calendar", {"type": "calendar", "date_property_id": "Score"}, "a property of the type date"),
        ("chart", {"type": "chart", "chart_type": "pie"}, "chart_type"),
        ("cards", None, "body.type"),
        ("dashboard", None, "dashboard"),
    ],
)
def test_configurations_that_are_refused(
    workspace: Workspace, kind: str, configuration: dict[str, Any] | None, message: str
) -> None:
    if configuration and "group_by" in configuration:
        configuration = {**configuration, "group_by": workspace.group(*configuration["group_by"])}
    if configuration and "date_property_id" in configuration:
        configuration = {**configuration, "date_property_id": workspace.ids[configuration["date_property_id"]]}
    with pytest.raises(APIResponseError, match=message):
        workspace.create(type=kind, **({"configuration": configuration} if configuration else {}))
    assert workspace.names() == ["Default view"]


def test_requests_that_are_refused(workspace: Workspace) -> None:
    other: Any = workspace.notion.databases.create(
        parent={
            "type": "page_id",
            "page_id": workspace.notion.databases.retrieve(workspace.database)["parent"]["page_id"],
        },  # type: ignore[index]
        initial_data_source={"properties": SCHEMA},
    )
    refused: list[tuple[dict[str, Any], str]] = [
        ({"name": ""}, "body.name"),
        ({"data_source_id": other["data_sources"][0]["id"]}, "not in the database"),
        ({"filter": {"property": "Nothing", "number": {"equals": 1}}}, "Could not find property"),
        ({"quick_filters": {"RAG": {"select": {"equals": "PURPLE"}}}}, "not found for property"),
        ({"view_id": workspace.database}, "exactly one of"),
    ]
    for body, message in refused:
        with pytest.raises(APIResponseError, match=message):
            workspace.create(**body)
    with pytest.raises(APIResponseError, match="database_id or data_source_id"):
        workspace.notion.views.list()
