"""Pulses on account pages: they are read once, the newest judgement counts, and publishing never writes them."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from csm_core.config import Config
from csm_core.notion_sandbox.faults import Fault
from csm_core.notion_sandbox.server import SandboxServer
from csm_core.publishing.notion.databases import ACCOUNTS, CSM_PULSE, CSM_PULSE_NOTE
from csm_core.publishing.notion.publish import publish_day, sandbox_file
from csm_core.publishing.notion.pulse_pages import PulsesRead, read_pulses
from csm_core.publishing.notion.report_text import report_lines
from csm_core.publishing.pulses import PulseChange, list_pulses, record
from csm_core.warehouse.database import Warehouse
from tests.publishing.notion.publication import DAY, adapter_of, fill, held, publish

PERSON = "user@sandbox.example"


class Workspace:
    """A sandbox with the pages of some accounts, read at noon of days that the test numbers; today is day 0."""

    def __init__(self, folder: Path, server: SandboxServer, marts: duckdb.DuckDBPyConnection) -> None:
        self.folder = folder
        self.server = server
        self.marts = marts
        self.noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
        fill(marts, 2)
        marts.execute("create table staging.stg_accounts as select 'A' || i as account_id from range(2) as numbers(i)")

    def day(self, number: int) -> date:
        return self.noon.date() + timedelta(days=number)

    def read(self, number: int, *, remove: str = "", **more: Any) -> PulsesRead:
        """Publish, and read the pulses on a day; ``remove`` is a property that a user removes before."""

        async def run() -> PulsesRead:
            async with adapter_of(self.server, **more) as adapter:
                if remove:
                    source = await adapter.reader.source(ACCOUNTS)
                    await adapter._client.data_sources.update(source.data_source_id, properties={remove: None})
                plan, _ = await publish(self.marts, adapter, kinds=["health"])
                at = self.noon + timedelta(days=number)
                return await read_pulses(self.marts, adapter, plan.pulses, at)

        return asyncio.run(run())

    def edit(self, account: int, pulse: float | None, note: str | None = None) -> None:
        """Change the properties as a user does."""
        values: dict[str, Any] = {CSM_PULSE: {"number": pulse}}
        if note is not None:
            values[CSM_PULSE_NOTE] = {"rich_text": [{"text": {"content": note}}] if note else []}
        self.server.user_actions.edit(self.page_id(account), values)

    def page_id(self, account: int) -> str:
        ((page_id,),) = self.marts.execute(
            "select page_id from sync.notion_pages where kind = 'health' and account_id = ?", [f"A{account}"]
        ).fetchall()
        return page_id

    def command(self, account: int, pulse: int | None, number: int) -> None:
        """Set a pulse at the command line, at one o'clock, or clear it."""
        at = (self.noon + timedelta(days=number, hours=1)).replace(tzinfo=None)
        record(self.marts, [PulseChange(f"A{account}", self.day(number), pulse, author="bob")], at)

    def pulses(self, number: int) -> list[tuple[str, int, str | None, str | None]]:
        return [
            (one["account_id"], one["pulse"], one["note"], one["author"])
            for one in list_pulses(self.marts, self.day(number))
        ]

    def records(self) -> int:
        return int(self.marts.execute("select count(*) from sync.pulses").fetchall()[0][0])


@pytest.fixture
def workspace(tmp_path: Path) -> Generator[Workspace]:
    with (
        SandboxServer(tmp_path / "notion.sqlite") as server,
        Warehouse.from_config(Config(warehouse=tmp_path / "w.duckdb")).connect() as marts,
    ):
        one = Workspace(tmp_path, server, marts)
        one.read(0)
        yield one


def test_a_pulse_is_read_once_with_its_author_and_ends_when_it_is_emptied(workspace: Workspace) -> None:
    assert workspace.read(0) == PulsesRead()
    workspace.edit(0, 2, "The sponsor\nleft")
    assert workspace.read(0) == PulsesRead(new=1)
    assert workspace.pulses(0) == [("A0", 2, "The sponsor left", PERSON)]
    for number in (0, 1, 2):
        assert workspace.read(number) == PulsesRead()
    assert workspace.records() == 1
    assert workspace.pulses(30) == [("A0", 2, "The sponsor left", PERSON)]
    assert workspace.pulses(31) == []

    workspace.edit(0, 2, "Nobody answers")
    assert workspace.read(3) == PulsesRead(new=1)
    assert workspace.pulses(2) == [("A0", 2, "The sponsor left", PERSON)]
    assert workspace.pulses(3) == [("A0", 2, "Nobody answers", PERSON)]
    workspace.edit(0, None)
    assert workspace.read(4) == PulsesRead(cleared=1)
    assert workspace.read(5) == PulsesRead()
    assert (workspace.pulses(3), workspace.pulses(4), workspace.records()) == (
        *([("A0", 2, "Nobody answers", PERSON)], [], 3),
    )


def test_publishing_never_writes_the_properties(workspace: Workspace) -> None:
    assert {page[CSM_PULSE] for page in held(workspace.folder / "notion.sqlite")[ACCOUNTS.title]} == {None}
    workspace.edit(0, 5, "Renewed")
    workspace.command(0, 1, 0)
    for score in (20.0, 90.0):
        fill(workspace.marts, 2, score=score)
        workspace.read(0)
    pages = {one["account_id"]: one for one in held(workspace.folder / "notion.sqlite")[ACCOUNTS.title]}
    assert (pages["A0"][CSM_PULSE], pages["A0"][CSM_PULSE_NOTE]) == (5, "Renewed")
    assert pages["A1"][CSM_PULSE] is None
    assert pages["A0"]["CSM Health Score"] == 90.0


def test_the_newest_judgement_counts_and_a_value_that_did_not_change_does_not_return(workspace: Workspace) -> None:
    workspace.edit(0, 2)
    workspace.read(0)
    workspace.command(0, 4, 1)
    assert workspace.read(2) == PulsesRead()
    assert [row[1] for row in workspace.pulses(2)] == [4]
    # The value of Notion is outdated: emptying it does not end the pulse of the command.
    workspace.edit(0, None)
    assert workspace.read(3) == PulsesRead()
    assert [row[1] for row in workspace.pulses(3)] == [4]
    workspace.command(0, None, 4)
    assert workspace.read(5) == PulsesRead()
    assert workspace.pulses(5) == []


def test_a_change_in_notion_after_a_command_replaces_its_pulse(workspace: Workspace) -> None:
    workspace.command(0, 4, -1)
    workspace.edit(0, 1)
    assert workspace.read(0) == PulsesRead(new=1)
    assert [row[1] for row in workspace.pulses(0)] == [1]


def test_a_page_that_was_edited_before_the_command_is_outdated(workspace: Workspace) -> None:
    workspace.edit(0, 1)
    workspace.command(0, 4, 1)
    assert workspace.read(1) == PulsesRead(outdated=1)
    assert workspace.read(2) == PulsesRead()
    assert [row[1] for row in workspace.pulses(2)] == [4]


@pytest.mark.parametrize("value", [0, 6, 2.5, -1, 1e20])
def test_a_value_that_is_no_pulse_is_rejected_and_leaves_the_one_before(workspace: Workspace, value: float) -> None:
    workspace.edit(0, 3)
    workspace.read(0)
    workspace.edit(0, value)
    workspace.edit(1, 5)
    read = workspace.read(1)
    assert (read.new, len(read.rejected)) == (1, 1)
    assert read.rejected[0].endswith(
        "of Account 0 (A0) is not a whole number from 1 to 5 and was not read; correct it on the page"
    )
    assert [row[:2] for row in workspace.pulses(1)] == [("A0", 3), ("A1", 5)]
    workspace.edit(0, 3)
    assert workspace.read(2) == PulsesRead()
    assert workspace.records() == 2


def test_a_property_that_is_missing_or_switched_off_is_not_an_empty_one(workspace: Workspace) -> None:
    workspace.edit(0, 3, "n")
    workspace.read(0)
    assert workspace.read(1, switched_off=["pulse"]) == PulsesRead()
    assert workspace.read(1, remove=CSM_PULSE_NOTE) == PulsesRead()
    assert workspace.read(1, remove=CSM_PULSE) == PulsesRead()
    assert workspace.pulses(1) == [("A0", 3, "n", PERSON)]


def test_pages_that_have_no_place_are_counted(workspace: Workspace) -> None:
    workspace.edit(0, 3)
    workspace.marts.execute("delete from staging.stg_accounts where account_id = 'A0'")
    assert workspace.read(0) == PulsesRead(unplaced=1)
    assert workspace.records() == 0


def test_without_the_right_to_read_users_the_author_is_unknown(workspace: Workspace) -> None:
    workspace.edit(0, 3)
    workspace.server.faults.add(
        Fault("status", path="^/v1/users$", status=403, code="restricted_resource", message="No.", times=None)
    )
    assert workspace.read(0) == PulsesRead(new=1)
    assert workspace.pulses(0) == [("A0", 3, None, None)]


def test_the_report_names_what_was_read_and_rejected(tmp_path: Path) -> None:
    config = Config(warehouse=tmp_path / "w.duckdb")
    with Warehouse.from_config(config).connect() as marts:
        fill(marts, 3)
        marts.execute("create table staging.stg_accounts as select 'A' || i as account_id from range(3) as numbers(i)")
        publish_day(marts, config, DAY, kinds=["health"], environment={})
        pages = dict(marts.execute("select account_id, page_id from sync.notion_pages").fetchall())
        with SandboxServer(sandbox_file(config)) as server:
            for account, value in (("A0", 2), ("A1", 7)):
                server.user_actions.edit(pages[account], {CSM_PULSE: {"number": value}})
        report = publish_day(marts, config, DAY, kinds=["health"], environment={})
        assert report.pulses is not None
        assert report.as_dict()["pulses"] == replace(report.pulses).as_dict()
        assert (report.pulses.new, len(report.pulses.rejected)) == (1, 1)
        lines = [line.strip() for line in report_lines(report)]
        assert "1 new pulse of account owners read" in lines
        assert any(line.startswith("CSM Pulse 7 of Account 1 (A1) is not a whole number") for line in lines)
        assert [one["pulse"] for one in list_pulses(marts, datetime.now(UTC).date())] == [2]
