"""Reviews that start from the template of the team: its blocks first and untouched, ours after them, in any event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from notion_client import Client

from csm_core.notion_adapter import NotionCSMAdapter
from csm_core.notion_sandbox.faults import Fault
from csm_core.notion_sandbox.server import SandboxServer
from csm_core.publishing.notion.apply import Report
from csm_core.publishing.notion.databases import QBR, QBRS
from csm_core.publishing.notion.page_templates import PageTemplate
from csm_core.warehouse.database import Warehouse
from tests.publishing.notion.publication import adapter_of, fill, held, lose_ledger, publish

# The second heading is also one of a review: neither is taken for the other.
TEMPLATE = ("Agenda", "ROI & Business Impact", "Attendees")
REVIEW_BLOCKS = 130


class Workspace:
    """A sandbox whose business reviews have a template, and marts with one long review."""

    def __init__(self, folder: Path, server: SandboxServer) -> None:
        self.file = folder / "notion.sqlite"
        self.server = server
        self.warehouse = Warehouse(folder / "w.duckdb")
        self.notion = Client(auth=server.token, base_url=server.url, retry=False)
        with self.warehouse.connect() as marts:
            fill(marts, 1, reviews=1, features=REVIEW_BLOCKS)
        asyncio.run(self._with_adapter(self._add_template))

    async def _with_adapter(self, use: Callable[[NotionCSMAdapter], Any], version: str = "2026-03-11") -> Any:
        async with adapter_of(self.server, version=version) as adapter:
            return await use(adapter)

    async def _add_template(self, adapter: NotionCSMAdapter) -> None:
        self.source = (await adapter.reader.source(QBRS)).data_source_id
        blocks = [{"heading_2": {"rich_text": [{"text": {"content": text}}]}} for text in TEMPLATE]
        self.server.user_actions.add_template(self.source, "Team review", blocks)
        self.server.user_actions.add_template(self.source, "Short review", [])

    def publish(self, name: str | None = "Team review", version: str = "2026-03-11") -> Report:
        async def run(adapter: NotionCSMAdapter) -> Report:
            if name:
                client: Any = adapter.blocks._client
                adapter.templates[QBR] = PageTemplate(client, adapter.caller, adapter.blocks, name)
            _, report = await publish(marts, adapter)
            return report

        with self.warehouse.connect() as marts:
            report: Report = asyncio.run(self._with_adapter(run, version))
            return report

    def review(self) -> list[tuple[str, str]]:
        (page,) = held(self.file)[QBRS.title]
        blocks: list[tuple[str, str]] = page["blocks"]
        return blocks

    def undisturbed(self) -> list[tuple[str, str]]:
        """The blocks of the review without a template, in another workspace."""
        folder = self.file.parent / "other"
        folder.mkdir()
        with SandboxServer(folder / "notion.sqlite") as server:
            other = Workspace(folder, server)
            other.publish(None)
            return [*(("heading_2", text) for text in TEMPLATE), *other.review()]


@pytest.fixture
def workspace(tmp_path: Path) -> Generator[Workspace]:
    with SandboxServer(tmp_path / "notion.sqlite") as server:
        made = Workspace(tmp_path, server)
        yield made
        made.notion.close()


@pytest.mark.parametrize("version", ["2026-03-11", "2025-09-03"])
def test_our_content_follows_that_of_the_template(workspace: Workspace, version: str) -> None:
    assert not workspace.publish(version=version).failures
    assert workspace.review() == workspace.undisturbed()
    workspace.server.requests.clear()
    workspace.publish(version=version)
    assert [one.path for one in workspace.server.requests if one.is_write or "templates" in one.path] == []


def test_an_update_leaves_the_template_as_it_is(workspace: Workspace) -> None:
    workspace.publish()
    before = workspace.review()
    with workspace.warehouse.connect() as marts:
        fill(marts, 1, reviews=1, features=REVIEW_BLOCKS + 5)
    assert not workspace.publish().failures
    assert workspace.review()[: len(TEMPLATE)] == before[: len(TEMPLATE)]
    assert workspace.review() != before


def test_a_lost_ledger_keeps_the_template(workspace: Workspace) -> None:
    workspace.publish()
    before = workspace.review()
    with workspace.warehouse.connect() as marts:
        lose_ledger(marts)
    assert not workspace.publish().failures
    assert workspace.review() == before


@pytest.mark.parametrize("name", ["Nothing", "review"])
def test_a_template_that_is_not_there_fails_the_reviews_only(workspace: Workspace, name: str) -> None:
    report = workspace.publish(name)
    assert [one.kind for one in report.failures] == [QBR]
    assert f"notion.qbr_template is {name!r}" in str(report.failures[0].error)
    assert "Short review, Team review" in str(report.failures[0].error)
    assert held(workspace.file)[QBRS.title] == []
    assert not workspace.publish().failures
    assert len(held(workspace.file)[QBRS.title]) == 1


def test_an_empty_template_needs_no_wait(workspace: Workspace) -> None:
    assert not workspace.publish("Short review").failures
    assert workspace.review() == workspace.undisturbed()[len(TEMPLATE) :]


@pytest.mark.parametrize("version", ["2026-03-11", pytest.param("2025-09-03", marks=pytest.mark.slow)])
@pytest.mark.parametrize("path", ["^/v1/pages$", "/children$"])
@pytest.mark.parametrize("kind", ["unavailable_written", "unavailable_committed", "reset_after", "reset_before"])
def test_once_under_faults(workspace: Workspace, kind: str, path: str, version: str) -> None:
    method = "POST" if "pages" in path else "PATCH"
    workspace.server.faults.add(Fault(kind, method, path, times=2, retry_after=0))
    assert not workspace.publish(version=version).failures
    workspace.server.faults.clear()
    assert workspace.review() == workspace.undisturbed()


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("nth", range(1, 7))
def test_once_after_a_kill_at_a_request(workspace: Workspace, nth: int) -> None:
    """No request gets an answer after the nth one about a review, so the rest of the run does nothing."""
    seen = 0

    def stop(method: str, path: str) -> None:
        nonlocal seen
        seen += 1
        if seen == nth:
            workspace.server.faults.add(Fault("reset_before", times=None))

    def begin(method: str, path: str) -> None:
        if (method, path) == ("GET", f"/v1/data_sources/{workspace.source}/templates"):
            workspace.server.service.before_request = stop

    workspace.server.service.before_request = begin
    assert len(workspace.publish().failures) == 1
    workspace.server.service.before_request = None
    workspace.server.faults.clear()
    assert not workspace.publish().failures
    assert workspace.review() == workspace.undisturbed()
