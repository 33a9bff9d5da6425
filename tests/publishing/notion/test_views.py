"""The views that ``csm notion init`` creates: once, whatever happens on the way and whatever users do with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Generator
from pathlib import Path
from typing import Any

import pytest
from notion_client import Client

from csm_core.errors import NotionError
from csm_core.notion_sandbox.faults import Fault
from csm_core.notion_sandbox.server import SandboxServer
from csm_core.publishing.notion.databases import ACCOUNTS, QBRS
from csm_core.publishing.notion.ledger import Ledger
from csm_core.publishing.notion.rate_limiter import RateLimiter
from csm_core.publishing.notion.retry import Caller
from csm_core.publishing.notion.settings import NotionSettings
from csm_core.publishing.notion.setup import doctor, init_workspace
from csm_core.publishing.notion.views import create_views
from csm_core.publishing.notion.workspace import new_client
from csm_core.warehouse.database import Warehouse
from tests.publishing.notion.publication import at_once, lose_ledger

NAMES = {
    ACCOUNTS.setting: ["Default view", "By RAG", "Mine", "Bands", "Renewals"],
    QBRS.setting: ["Default view", "By quarter"],
}


class Workspace:
    """A sandbox, the ledger of a warehouse, and the set-up between them."""

    def __init__(self, folder: Path, server: SandboxServer) -> None:
        self.server = server
        self.warehouse = Warehouse(folder / "w.duckdb")
        self.notion = Client(auth=server.token, base_url=server.url, retry=False)
        self.ids: dict[str, str] = {}

    def init(self, version: str = "2026-03-11", switched_off: Collection[str] = ()) -> list[str]:
        """Set up as ``csm notion init`` does; the notes."""
        environment = {"NOTION_TOKEN": self.server.token, "NOTION_BASE_URL": self.server.url}

        async def run(ledger: Ledger) -> list[str]:
            client = new_client(NotionSettings.of(environment, version))
            caller = Caller(RateLimiter(1_000_000), sleep=at_once)
            try:
                root = self.server.root_page_id
                self.ids = await init_workspace(client, root, caller=caller, switched_off=switched_off)
                settings = NotionSettings.of({**environment, **self.ids}, version)
                assert await doctor(client, settings, caller=caller, switched_off=switched_off) == []
                return await create_views(client, caller, ledger, self.ids)
            finally:
                await client.aclose()

        with self.warehouse.connect() as connection:
            return asyncio.run(run(Ledger(connection)))

    def views(self, setting: str = ACCOUNTS.setting) -> list[dict[str, Any]]:
        listed: Any = self.notion.views.list(database_id=self.ids[setting])
        found: list[Any] = [self.notion.views.retrieve(one["id"]) for one in listed["results"]]
        return [{key: value for key, value in one.items() if key != "request_id"} for one in found]

    def view(self, name: str) -> dict[str, Any]:
        return next(one for one in self.views() if one["name"] == name)

    def names(self) -> dict[str, list[str]]:
        return {setting: [one["name"] for one in self.views(setting)] for setting in NAMES}

    def writes(self) -> list[str]:
        return [one.path for one in self.server.requests if one.is_write]


@pytest.fixture
def workspace(tmp_path: Path) -> Generator[Workspace]:
    with SandboxServer(tmp_path / "notion.sqlite") as server:
        made = Workspace(tmp_path, server)
        yield made
        made.notion.close()


@pytest.mark.parametrize("version", ["2026-03-11", "2025-09-03"])
def test_what_init_creates_and_nothing_the_second_time(workspace: Workspace, version: str) -> None:
    assert workspace.init(version) == []
    assert workspace.names() == NAMES
    board, mine = workspace.view("By RAG"), workspace.view("Mine")
    assert (board["type"], board["configuration"]["group_by"]["property_name"]) == ("board", "CSM Health RAG")
    assert (mine["type"], mine["filter"]) == ("table", {"property": "CSM Owner", "people": {"contains": "me"}})
    chart, calendar = workspace.view("Bands"), workspace.view("Renewals")
    assert chart["configuration"]["x_axis"]["property_name"] == "CSM Health RAG"
    assert (calendar["type"], calendar["configuration"]["date_property_name"]) == ("calendar", "CSM Renewal")
    (quarters,) = [one for one in workspace.views(QBRS.setting) if one["name"] == "By quarter"]
    assert quarters["configuration"]["group_by"]["property_name"] == "period"
    workspace.server.requests.clear()
    assert workspace.init(version) == []
    assert workspace.writes() == []
    assert "/v1/views" not in {one.path for one in workspace.server.requests}


def test_what_users_do_with_views_stays(workspace: Workspace) -> None:
    workspace.init()
    workspace.notion.views.update(workspace.view("By RAG")["id"], name="Board")
    workspace.notion.views.update(workspace.view("Mine")["id"], filter=None)
    workspace.notion.views.delete(workspace.view("Bands")["id"])
    before = workspace.views()
    workspace.server.requests.clear()
    assert workspace.init() == []
    assert workspace.writes() == []
    assert workspace.views() == before
    assert [one["name"] for one in before] == ["Default view", "Board", "Mine", "Renewals"]


def test_views_are_found_by_their_names_when_the_ledger_is_lost(workspace: Workspace) -> None:
    workspace.init()
    with workspace.warehouse.connect() as connection:
        lose_ledger(connection)
    workspace.server.requests.clear()
    assert workspace.init() == []
    assert (workspace.writes(), workspace.names()) == ([], NAMES)


def test_the_owners_are_groups_where_notion_does_not_take_me(workspace: Workspace) -> None:
    workspace.server.faults.add(Fault("status", "POST", "^/v1/views$", nth=2, status=400))
    assert workspace.init() == []
    mine = workspace.view("Mine")
    assert mine["filter"] == {"property": "CSM Owner", "people": {"is_not_empty": True}}
    assert mine["configuration"]["group_by"]["property_name"] == "CSM Owner"
    assert workspace.names() == NAMES


def test_a_view_that_is_rejected_is_named_and_created_later(workspace: Workspace) -> None:
    workspace.server.faults.add(Fault("status", "POST", "^/v1/views$", nth=3, status=403, message="No charts."))
    (note,) = workspace.init()
    assert "The view Bands of Customer accounts was not created." in note
    assert "No charts." in note
    assert "Bands" not in workspace.names()[ACCOUNTS.setting]
    assert workspace.init() == []
    assert sorted(workspace.names()[ACCOUNTS.setting]) == sorted(NAMES[ACCOUNTS.setting])


def test_a_view_waits_for_its_property(workspace: Workspace) -> None:
    workspace.init(switched_off=["owner", "renewal"])
    assert workspace.names()[ACCOUNTS.setting] == ["Default view", "By RAG", "Bands"]
    workspace.init()
    assert workspace.names()[ACCOUNTS.setting] == ["Default view", "By RAG", "Bands", "Mine", "Renewals"]


@pytest.mark.parametrize("version", ["2026-03-11", "2025-09-03"])
@pytest.mark.parametrize("kind", ["unavailable_written", "unavailable_committed", "reset_after", "reset_before"])
def test_no_view_twice_and_none_lost_under_faults(workspace: Workspace, kind: str, version: str) -> None:
    workspace.server.faults.add(*(Fault(kind, "POST", "^/v1/views$", nth=nth, retry_after=0) for nth in (1, 3, 6)))
    assert workspace.init(version) == []
    assert workspace.names() == NAMES


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("created", [1, 3, 5])
def test_no_view_twice_after_a_kill(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, created: int) -> None:
    """The view exists in Notion, and the process ends before it is in the ledger."""
    store: Callable[..., None] = Ledger.store
    stored = 0

    def killed(ledger: Ledger, *arguments: Any) -> None:
        nonlocal stored
        stored += 1
        if stored == created:
            raise Killed
        store(ledger, *arguments)

    monkeypatch.setattr(Ledger, "store", killed)
    with pytest.raises(Killed):
        workspace.init()
    monkeypatch.setattr(Ledger, "store", store)
    assert workspace.init() == []
    assert workspace.names() == NAMES


def test_a_workspace_without_answers_is_an_error(workspace: Workspace) -> None:
    workspace.server.faults.add(Fault("unavailable", "GET", "^/v1/views", times=None))
    with pytest.raises(NotionError, match="valid answer"):
        workspace.init()
