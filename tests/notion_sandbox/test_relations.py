"""Relations with two sides, and people: schemas, values, and what both sides show."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from notion_client import Client
from notion_client.errors import APIResponseError

from csm_core.notion_sandbox.server import SandboxServer

MISSING_ID = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def server(tmp_path: Path) -> Generator[SandboxServer]:
    with SandboxServer(tmp_path / "notion.sqlite") as running:
        yield running


class Workspace:
    """Two data sources, of companies and of notes; notes can be related to companies."""

    def __init__(self, server: SandboxServer) -> None:
        self.server = server
        self.notion = Client(auth=server.token, base_url=server.url, retry=False)
        self.companies = self._source("Companies")
        self.notes = self._source("Notes")

    def _source(self, title: str) -> str:
        made: Any = self.notion.databases.create(
            parent={"type": "page_id", "page_id": self.server.root_page_id},
            title=[{"text": {"content": title}}],
            initial_data_source={"properties": {"Name": {"title": {}}}},
        )
        return str(made["data_sources"][0]["id"])

    def relate(self, name: str = "Company", **dual: str) -> dict[str, Any]:
        relation = {"data_source_id": self.companies, "dual_property": dual}
        answer: Any = self.notion.data_sources.update(self.notes, properties={name: {"relation": relation}})
        return answer["properties"]

    def schema(self, source: str) -> dict[str, Any]:
        answer: Any = self.notion.data_sources.retrieve(source)
        return answer["properties"]

    def page(self, source: str, name: str, **properties: Any) -> str:
        title = {"Name": {"title": [{"text": {"content": name}}]}}
        made: Any = self.notion.pages.create(parent={"data_source_id": source}, properties={**title, **properties})
        return str(made["id"])

    def values(self, page_id: str) -> dict[str, Any]:
        page: Any = self.notion.pages.retrieve(page_id)
        return page["properties"]

    def related(self, page_id: str, name: str) -> list[str]:
        return [item["id"] for item in self.values(page_id)[name]["relation"]]

    def refusal(self, source: str, **properties: Any) -> str:
        with pytest.raises(APIResponseError) as caught:
            self.page(source, "x", **properties)
        return f"{caught.value.status} {caught.value}"


@pytest.fixture
def workspace(server: SandboxServer) -> Generator[Workspace]:
    made = Workspace(server)
    yield made
    made.notion.close()


def to(*pages: str) -> dict[str, Any]:
    return {"relation": [{"id": page} for page in pages]}


def test_a_dual_relation_makes_a_property_on_the_other_side(workspace: Workspace) -> None:
    ours = workspace.relate(synced_property_name="Notes")["Company"]
    theirs = workspace.schema(workspace.companies)["Notes"]
    assert ours["relation"]["type"] == theirs["relation"]["type"] == "dual_property"
    assert ours["relation"]["data_source_id"] == workspace.companies
    assert theirs["relation"]["data_source_id"] == workspace.notes
    assert ours["relation"]["dual_property"] == {
        "synced_property_id": theirs["id"],
        "synced_property_name": "Notes",
    }
    assert theirs["relation"]["dual_property"] == {
        "synced_property_id": ours["id"],
        "synced_property_name": "Company",
    }


def test_without_a_name_the_other_side_is_named_by_the_service(workspace: Workspace) -> None:
    workspace.relate()
    workspace.relate("Partner")
    names = set(workspace.schema(workspace.companies)) - {"Name"}
    assert names == {"Related to Notes (Company)", "Related to Notes (Partner)"}


def test_the_other_side_is_renamed_and_removed_with_the_relation(workspace: Workspace) -> None:
    workspace.relate(synced_property_name="Notes")
    workspace.notion.data_sources.update(workspace.companies, properties={"Notes": {"name": "Remarks"}})
    synced = workspace.schema(workspace.notes)["Company"]["relation"]["dual_property"]
    assert synced["synced_property_name"] == "Remarks"
    workspace.notion.data_sources.update(workspace.notes, properties={"Company": None})
    assert set(workspace.schema(workspace.companies)) == {"Name"}


def test_both_sides_show_the_same_pages(workspace: Workspace) -> None:
    workspace.relate(synced_property_name="Notes")
    first, second = (workspace.page(workspace.companies, name) for name in ("Acme", "Globex"))
    note = workspace.page(workspace.notes, "Called", Company=to(first))
    assert (workspace.related(first, "Notes"), workspace.related(second, "Notes")) == ([note], [])
    workspace.notion.pages.update(note, properties={"Company": to(second)})
    assert (workspace.related(first, "Notes"), workspace.related(second, "Notes")) == ([], [note])
    workspace.notion.pages.update(first, properties={"Notes": to(note)})
    assert sorted(workspace.related(note, "Company")) == sorted([first, second])
    found: Any = workspace.notion.data_sources.query(
        workspace.notes, filter={"property": "Company", "relation": {"contains": first}}
    )
    assert [page["id"] for page in found["results"]] == [note]


def test_a_page_shows_25_related_pages_and_its_own_endpoint_all(workspace: Workspace) -> None:
    workspace.relate(synced_property_name="Notes")
    company = workspace.page(workspace.companies, "Acme")
    notes = [workspace.page(workspace.notes, str(number), Company=to(company)) for number in range(27)]
    shown = workspace.values(company)["Notes"]
    assert ([item["id"] for item in shown["relation"]], shown["has_more"]) == (notes[:25], True)
    whole: Any = workspace.notion.pages.properties.retrieve(company, shown["id"])
    assert [item["relation"]["id"] for item in whole["results"]] == notes


def test_relations_to_nothing_and_to_other_data_sources_are_refused(workspace: Workspace) -> None:
    workspace.relate(synced_property_name="Notes")
    note = workspace.page(workspace.notes, "Called")
    assert workspace.refusal(workspace.notes, Company=to(MISSING_ID)).startswith("404")
    assert "is not in the data source" in workspace.refusal(workspace.notes, Company=to(note))
    assert "should be an array" in workspace.refusal(workspace.notes, Company={"relation": {"id": note}})


def test_people_are_users_of_the_workspace(workspace: Workspace, server: SandboxServer) -> None:
    person = server.user_actions.join("Ada Moreno", "ada@example.com")["id"]
    users: Any = workspace.notion.users.list()
    assert {"ada@example.com"} <= {user["person"]["email"] for user in users["results"] if user["type"] == "person"}
    assert "bot" in {user["type"] for user in users["results"]}
    workspace.notion.data_sources.update(workspace.notes, properties={"Author": {"people": {}}})
    note = workspace.page(workspace.notes, "Called", Author={"people": [{"object": "user", "id": person}]})
    assert [one["name"] for one in workspace.values(note)["Author"]["people"]] == ["Ada Moreno"]
    assert "Could not find user" in workspace.refusal(workspace.notes, Author={"people": [{"id": MISSING_ID}]})
    page = httpx.get(f"{server.url}/{note.replace('-', '')}").text
    assert "Ada Moreno" in page


def test_users_are_listed_in_pages(workspace: Workspace, server: SandboxServer) -> None:
    for number in range(4):
        server.user_actions.join(f"User {number}", f"{number}@example.com")
    seen: list[str] = []
    more: dict[str, Any] = {}
    while True:
        answer: Any = workspace.notion.users.list(page_size=2, **more)
        seen += [user["id"] for user in answer["results"]]
        if not answer["has_more"]:
            break
        more = {"start_cursor": answer["next_cursor"]}
    assert len(seen) == len(set(seen)) == 6


def test_the_pages_for_people_link_to_related_pages(workspace: Workspace, server: SandboxServer) -> None:
    workspace.relate(synced_property_name="Notes")
    company = workspace.page(workspace.companies, "Acme <b>")
    note = workspace.page(workspace.notes, "Called", Company=to(company))
    text = httpx.get(f"{server.url}/{note.replace('-', '')}").text
    assert f'href="/{company.replace("-", "")}">Acme &lt;b&gt;</a>' in text
    assert f'href="/{note.replace("-", "")}">Called</a>' in httpx.get(f"{server.url}/{company.replace('-', '')}").text
