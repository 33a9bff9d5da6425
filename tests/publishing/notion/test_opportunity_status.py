"""The status of expansion opportunities: what users close stays closed, is not updated, and is opened again in time."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from csm_core.analysts.published_copy import publish_copy
from csm_core.config import Config
from csm_core.days.finished_days import model_parameters
from csm_core.notion_sandbox.server import SandboxServer
from csm_core.publishing import opportunity_status
from csm_core.publishing.notion.apply import Report
from csm_core.publishing.notion.databases import CSM_STATUS, EXPANSIONS
from csm_core.publishing.notion.plan import Plan
from csm_core.publishing.notion.report_text import plan_lines, report_lines
from csm_core.publishing.opportunity_status import OpportunityStatus, changes
from csm_core.scoring.macros import create_macros
from csm_core.warehouse.database import Warehouse
from tests.publishing.notion.publication import DAY, adapter_of, fill, held, lose_ledger, publish

KEY = ("A0", "module", "reports")


class Workspace:
    """A sandbox with one opportunity, published on days that the test names by their distance from the first."""

    def __init__(self, folder: Path, server: SandboxServer, marts: duckdb.DuckDBPyConnection) -> None:
        self.folder = folder
        self.server = server
        self.marts = marts

    def publish(self, days: int, *, opportunities: int = 1, **more: Any) -> tuple[Plan, Report]:
        day = DAY + timedelta(days=days)
        fill(self.marts, 1, day=day, score=60.0 + days, opportunities=opportunities)
        # Times of pages have minutes only, so an edit within one is seen because earlier pages are read again.
        self.marts.execute("update sync.notion_sources set read_until = read_until - interval 2 minutes")

        async def run() -> tuple[Plan, Report]:
            async with adapter_of(self.server) as adapter:
                return await publish(self.marts, adapter, day=day, kinds=["expansion"], **more)

        return asyncio.run(run())

    def select(self, option: str | None) -> None:
        (page_id,) = self.marts.execute("select page_id from sync.notion_pages where kind = 'expansion'").fetchone()
        self.server.user_actions.edit(page_id, {CSM_STATUS: {"select": {"name": option} if option else None}})

    @property
    def page(self) -> dict[str, Any]:
        (page,) = held(self.folder / "notion.sqlite")[EXPANSIONS.title]
        return page

    def history(self) -> list[tuple[str, date]]:
        return self.marts.execute(f"select status, since from {opportunity_status.TABLE} order by change_id").fetchall()


@pytest.fixture
def workspace(tmp_path: Path) -> Generator[Workspace]:
    with (
        SandboxServer(tmp_path / "notion.sqlite") as server,
        Warehouse.from_config(Config(warehouse=tmp_path / "w.duckdb")).connect() as marts,
    ):
        yield Workspace(tmp_path, server, marts)


@pytest.mark.parametrize("option", ["won", "lost", "not now"])
def test_a_closed_opportunity_is_not_updated_until_it_may_be_opened_again(workspace: Workspace, option: str) -> None:
    workspace.publish(0)
    assert workspace.page[CSM_STATUS] == "open"
    workspace.select(option)
    before = workspace.page
    for days in (1, 2, 180):
        plan, report = workspace.publish(days)
        assert (report.updated["expansion"], report.skipped["expansion"], report.closed) == (0, 1, 1)
        assert "  closed in Notion (won, lost or not now), not updated: Account 0: module reports" in plan_lines(plan)
        assert any("1 opportunity is closed in Notion" in line for line in report_lines(report))
    assert workspace.page == before
    assert workspace.history() == [(option, DAY + timedelta(days=1))]

    _, report = workspace.publish(181)
    assert (report.updated["expansion"], report.closed, len(report.reopened)) == (1, 0, 1)
    assert workspace.page[CSM_STATUS] == "open"
    assert ("paragraph", "Evidence at 241.0") in workspace.page["blocks"]
    assert workspace.history()[-1] == ("open", DAY + timedelta(days=181))
    _, report = workspace.publish(182)
    assert (report.updated["expansion"], len(report.reopened), len(workspace.history())) == (1, 0, 2)


def test_reopen_days_is_configurable(workspace: Workspace) -> None:
    workspace.publish(0)
    workspace.select("lost")
    workspace.publish(1, reopen_days=10)
    assert workspace.publish(10, reopen_days=10)[1].closed == 1
    assert len(workspace.publish(11, reopen_days=10)[1].reopened) == 1


@pytest.mark.parametrize("option", [None, "In progress"])
def test_other_options_keep_an_opportunity_open_and_are_never_changed(workspace: Workspace, option: str | None) -> None:
    workspace.publish(0)
    workspace.select(option)
    _, report = workspace.publish(1)
    assert (report.updated["expansion"], report.closed) == (1, 0)
    assert workspace.page[CSM_STATUS] == option
    assert ("paragraph", "Evidence at 61.0") in workspace.page["blocks"]


def test_an_opportunity_that_its_user_opens_again_is_updated(workspace: Workspace) -> None:
    workspace.publish(0)
    workspace.select("not now")
    assert workspace.publish(1)[1].closed == 1
    workspace.select("open")
    _, report = workspace.publish(2)
    assert (report.updated["expansion"], report.closed, report.reopened) == (1, 0, ())
    assert [status for status, _ in workspace.history()] == ["not now", "open"]


def test_a_closed_opportunity_whose_rule_no_longer_applies_is_not_reported(workspace: Workspace) -> None:
    workspace.publish(0)
    assert workspace.publish(1, opportunities=0)[0].orphans == ("opportunity A0 module reports",)
    workspace.select("won")
    assert workspace.publish(2, opportunities=0)[0].orphans == ()


def test_a_lost_ledger_reads_the_status_and_creates_no_second_page(workspace: Workspace) -> None:
    workspace.publish(0)
    workspace.select("lost")
    lose_ledger(workspace.marts)
    _, report = workspace.publish(5)
    assert (report.created["expansion"], report.updated["expansion"], report.closed) == (0, 0, 1)
    assert workspace.history() == [("lost", DAY + timedelta(days=5))]
    assert workspace.page[CSM_STATUS] == "lost"


def test_recording_a_status_twice_adds_one_row(workspace: Workspace) -> None:
    workspace.publish(0)
    workspace.select("won")
    plan, _ = workspace.publish(1)
    assert plan.opportunity_statuses == (OpportunityStatus(KEY, "won", DAY + timedelta(days=1)),)
    opportunity_status.record(workspace.marts, plan.opportunity_statuses)
    assert len(workspace.history()) == 1


def test_changes_are_statuses_that_differ_from_the_known_ones() -> None:
    known = {KEY: OpportunityStatus(KEY, "won", DAY)}
    other = ("A1", "seats", "")
    assert changes(known, {KEY: "won", other: "open"}, DAY) == []
    assert [one.status for one in changes(known, {KEY: "open", other: "lost"}, DAY)] == ["open", "lost"]


def test_analysts_read_the_history_in_the_published_copy(workspace: Workspace) -> None:
    workspace.publish(0)
    workspace.select("won")
    workspace.publish(1)
    warehouse = Warehouse.from_config(Config(warehouse=workspace.folder / "w.duckdb"))
    workspace.marts.close()
    publish_copy(warehouse, create_macros, model_parameters(Config(warehouse=warehouse.path)))
    with duckdb.connect(str(warehouse.published_path), read_only=True) as copy:
        rows = copy.execute("select account_id, status, since from sync.opportunity_statuses").fetchall()
    assert rows == [("A0", "won", DAY + timedelta(days=1))]
