"""The internal notes of reviews on pages of their own: one page each, away from the reviews, whatever happens."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Generator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from csm_core.config import Config
from csm_core.notion_adapter import NotionCSMAdapter
from csm_core.notion_sandbox.faults import Fault
from csm_core.notion_sandbox.server import SandboxServer
from csm_core.publishing.notion.apply import Report, apply_plan
from csm_core.publishing.notion.ledger import Ledger
from csm_core.publishing.notion.notes_pages import FOLDER, NotesPublication, planned_actions
from csm_core.publishing.notion.plan import make_plan
from csm_core.publishing.notion.publish import plan_day, publish_day
from csm_core.publishing.notion.report_text import plan_lines, report_lines
from csm_core.publishing.notion.titled_page_writer import combined
from csm_core.warehouse.database import Warehouse
from tests.publishing.notion.publication import DAY, FAULT_KINDS, adapter_of, fill, lose_ledger
from tests.publishing.notion.test_failure_matrix import Forker

NEXT = DAY + timedelta(days=1)
TITLE = "Internal notes: QBR: Account 0 — Q2 2026 (A0)"


class Workspace:
    """A sandbox and marts with reviews, published with internal notes on pages of their own."""

    def __init__(self, file: Path, server: SandboxServer, marts: duckdb.DuckDBPyConnection) -> None:
        self.file = file
        self.server = server
        self.marts = marts

    def publish(self, *faults: Fault, day: date = DAY, place: str = "page", run_id: str = "run") -> Report:
        async def work(adapter: NotionCSMAdapter) -> Report:
            self.server.faults.add(*faults)
            client: Any = adapter._client  # pyright: ignore[reportPrivateUsage]
            ledger = Ledger(self.marts)
            plan = await make_plan(self.marts, adapter, ledger, day, kinds=["qbr"], qbr_internal=place)
            notes = NotesPublication(client, adapter, ledger, plan.noted_reviews, day, f"{run_id}/notes")
            notes.intend()
            report = await apply_plan(plan, adapter, ledger, run_id=run_id)
            self.server.requests.clear()
            return combined(report, await notes.publish())

        return self._with_adapter(work)

    def planned(self) -> dict[str, int]:
        async def work(adapter: NotionCSMAdapter) -> dict[str, int]:
            ledger = Ledger(self.marts)
            plan = await make_plan(self.marts, adapter, ledger, DAY, kinds=["qbr"], qbr_internal="page")
            return planned_actions(ledger, plan.noted_reviews)

        return self._with_adapter(work)

    def _with_adapter(self, work: Callable[[NotionCSMAdapter], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            async with adapter_of(self.server) as adapter:
                return await work(adapter)

        return asyncio.run(run())

    def requests(self) -> list[str]:
        """The requests of the last publication of internal notes."""
        return [f"{one.method} {one.path}" for one in self.server.requests]

    def notes(self) -> list[tuple[str, list[str]]]:
        return pages_in(self.file, FOLDER)

    def review(self) -> list[str]:
        return texts_of(self.file, self.page_id("qbr"))

    def page_id(self, kind: str, account: str = "A0") -> str:
        return self.marts.execute(
            "select page_id from sync.notion_pages where kind = ? and account_id = ?", [kind, account]
        ).fetchone()[0]

    def folder_id(self) -> str:
        return self.marts.execute(
            "select page_id from sync.notion_pages where kind = 'notes' and account_id is null"
        ).fetchone()[0]


def pages_in(file: Path, title: str) -> list[tuple[str, list[str]]]:
    """Title and texts of the child pages of every page with a title, except those in the trash."""
    with closing(sqlite3.connect(file)) as store:
        rows = store.execute(
            "select pages.title, pages.id from pages inner join pages as parents on pages.parent_page = parents.id "
            "where parents.title = ? and pages.in_trash = 0 and pages.source is null order by pages.title, pages.id",
            [title],
        ).fetchall()
    return [(name, texts_of(file, page_id)) for name, page_id in rows]


def texts_of(file: Path, parent: str) -> list[str]:
    """The texts of all blocks of a page, at any depth."""
    with closing(sqlite3.connect(file)) as store:
        rows = store.execute(
            "select id, content from blocks where parent = ? and in_trash = 0 and type <> 'child_page' "
            "order by position",
            [parent],
        ).fetchall()
    found: list[str] = []
    for block_id, content in rows:
        found.append("".join(run["plain_text"] for run in json.loads(content).get("rich_text", [])))
        found += texts_of(file, block_id)
    return found


def score_next_day(marts: duckdb.DuckDBPyConnection) -> None:
    """Scores of a day without reviews."""
    marts.execute(
        "insert into marts.csm_health_scores select * replace (as_of_date + 1 as as_of_date) "
        "from marts.csm_health_scores"
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Generator[Workspace]:
    file = tmp_path / "notion.sqlite"
    with (
        SandboxServer(file) as server,
        Warehouse.from_config(Config(warehouse=tmp_path / "w.duckdb")).connect() as marts,
    ):
        fill(marts, 2, reviews=2)
        yield Workspace(file, server, marts)


def test_the_notes_are_on_a_page_of_their_own_that_links_to_the_review(workspace: Workspace) -> None:
    report = workspace.publish()
    assert (report.created, report.failures) == ({"qbr": 2, "notes": 2}, ())
    assert [title for title, _ in workspace.notes()] == [TITLE, TITLE.replace("0", "1", 1).replace("A0", "A1")]
    lines = workspace.notes()[0][1]
    assert lines[0] == "QBR: Account 0 — Q2 2026. Do not share this page with the customer."
    assert any("GREEN" in line for line in lines)
    assert any("2 open invoices" in line for line in lines)
    with closing(sqlite3.connect(workspace.file)) as store:
        contents = "".join(content for (content,) in store.execute("select content from blocks"))
        review_url = workspace.marts.execute(
            "select url from sync.notion_pages where kind = 'qbr' and account_id = 'A0'"
        ).fetchone()[0]
    assert contents.count(f'"{review_url}"') >= 1


def test_the_review_page_has_neither_the_notes_nor_a_way_to_them(workspace: Workspace) -> None:
    workspace.publish()
    assert not [line for line in workspace.review() if "GREEN" in line or "nternal" in line or "open invoice" in line]
    with closing(sqlite3.connect(workspace.file)) as store:
        below = store.execute(
            "select content from blocks where parent = ? and (type = 'child_page' or content like '%' || ? || '%')",
            [workspace.page_id("qbr"), workspace.page_id("notes")],
        ).fetchall()
        parents = store.execute(
            "select parents.title from pages inner join pages as parents on pages.parent_page = parents.id "
            "where pages.id = ?",
            [workspace.page_id("notes")],
        ).fetchall()
    assert (below, parents) == ([], [(FOLDER,)])


def test_nothing_is_requested_when_nothing_changed_and_a_change_is_written(workspace: Workspace) -> None:
    assert workspace.planned() == {"create": 2, "update": 0, "skip": 0}
    workspace.publish()
    assert workspace.planned() == {"create": 0, "update": 0, "skip": 2}
    report = workspace.publish()
    assert (workspace.requests(), report.skipped["notes"]) == ([], 2)
    workspace.server.user_actions.write(workspace.page_id("notes"), "Ask their CFO.")
    workspace.marts.execute("update marts.csm_qbr set days_past_due = 13 where account_id = 'A0'")
    assert workspace.planned() == {"create": 0, "update": 1, "skip": 1}
    report = workspace.publish()
    assert (report.updated["notes"], report.skipped["notes"], report.failures) == (1, 1, ())
    (_, changed), _ = workspace.notes()
    assert any("13 days overdue" in line for line in changed)
    assert not [line for line in changed if "12 days overdue" in line]
    assert changed[-1] == "Ask their CFO."


def test_the_folder_is_listed_once_and_only_to_create_a_page(workspace: Workspace) -> None:
    workspace.publish()
    fill(workspace.marts, 6, reviews=6)
    report = workspace.publish()
    folder = workspace.folder_id()
    assert report.created["notes"] == 4
    assert [one for one in workspace.requests() if one.startswith("GET")] == [
        f"GET /v1/pages/{folder}",
        f"GET /v1/blocks/{folder}/children",
    ]
    assert workspace.requests().count("POST /v1/pages") == 4


def test_another_place_of_the_notes(workspace: Workspace) -> None:
    workspace.publish(place="toggle")
    assert any("remove before sharing" in line for line in workspace.review())
    assert workspace.notes() == []
    workspace.publish()
    assert not [line for line in workspace.review() if "remove before sharing" in line]
    before = workspace.notes()
    assert len(before) == 2
    workspace.marts.execute("update marts.csm_qbr set days_past_due = 13")
    for place in ("toggle", "none"):
        report = workspace.publish(place=place)
        assert (workspace.requests(), report.failures) == ([], ())
        assert workspace.notes() == before


def test_accounts_with_one_name_have_their_own_pages_and_a_new_name_is_the_title(workspace: Workspace) -> None:
    workspace.marts.execute("update marts.csm_qbr set account_name = 'Acme'")
    workspace.publish()
    assert [title for title, _ in workspace.notes()] == [
        "Internal notes: QBR: Acme — Q2 2026 (A0)",
        "Internal notes: QBR: Acme — Q2 2026 (A1)",
    ]
    workspace.marts.execute("update marts.csm_qbr set account_name = 'Acme Ltd' where account_id = 'A1'")
    assert workspace.publish().updated["notes"] == 1
    assert [(title, lines[0]) for title, lines in workspace.notes()] == [
        (
            "Internal notes: QBR: Acme Ltd — Q2 2026 (A1)",
            "QBR: Acme Ltd — Q2 2026. Do not share this page with the customer.",
        ),
        ("Internal notes: QBR: Acme — Q2 2026 (A0)", "QBR: Acme — Q2 2026. Do not share this page with the customer."),
    ]
    workspace.publish()
    assert workspace.requests() == []


def test_names_are_text(workspace: Workspace) -> None:
    name = "=HYPERLINK('x') <b>\"Bold\"</b>\x00 " + "long " * 500
    workspace.marts.execute("update marts.csm_qbr set account_name = ? where account_id = 'A0'", [name])
    assert workspace.publish().failures == ()
    lose_ledger(workspace.marts)
    assert workspace.publish().failures == ()
    titles = [title for title, _ in workspace.notes()]
    assert len(titles) == 2
    assert titles[0].startswith("Internal notes: QBR: =HYPERLINK('x') <b>\"Bold\"</b> long")
    assert titles[0].endswith(" — Q2 2026 (A0)")


def test_long_notes_are_appended_in_several_requests(workspace: Workspace) -> None:
    fill(workspace.marts, 1, reviews=1, opportunities=1)
    text = "0123456789" * 120_000
    workspace.marts.execute("update marts.csm_expansion_opportunities set recommended_talk_track = ?", [text])
    assert workspace.publish().failures == ()
    appended = f"PATCH /v1/blocks/{workspace.page_id('notes')}/children"
    assert workspace.requests().count(appended) >= 2
    ((_, lines),) = workspace.notes()
    assert text in "".join(lines)


def test_a_trashed_page_is_reported_and_goes_on_when_it_is_back(workspace: Workspace) -> None:
    workspace.publish()
    workspace.server.user_actions.trash(workspace.page_id("notes"))
    for days in (13, 14):
        workspace.marts.execute("update marts.csm_qbr set days_past_due = ? where account_id = 'A0'", [days])
        report = workspace.publish()
        assert (report.trashed, report.created["notes"], report.failures) == (1, 0, ())
        assert len(workspace.notes()) == 1
    workspace.server.user_actions.restore(workspace.page_id("notes"))
    assert (workspace.publish().updated["notes"], len(workspace.notes())) == (1, 2)


def test_a_folder_in_the_trash_is_a_note_and_later_runs_create_the_pages(workspace: Workspace) -> None:
    workspace.publish()
    workspace.server.user_actions.trash(workspace.folder_id())
    fill(workspace.marts, 3, reviews=3)
    report = workspace.publish()
    assert (report.created["notes"], report.failures) == (0, ())
    assert report.notes == (
        'No internal notes were created, because the page "CSM internal notes" is in the trash. Restore it.',
    )
    workspace.server.user_actions.restore(workspace.folder_id())
    score_next_day(workspace.marts)
    report = workspace.publish(day=NEXT, run_id="later")
    assert (report.created["notes"], report.failures, len(workspace.notes())) == (1, (), 3)


def test_a_review_in_the_trash_has_no_notes(workspace: Workspace) -> None:
    workspace.publish(place="none")
    workspace.server.user_actions.trash(workspace.page_id("qbr"))
    workspace.marts.execute("update marts.csm_qbr set active_users = 8")
    for _ in range(2):
        report = workspace.publish()
        assert report.failures == ()
        assert [title[-4:] for title, _ in workspace.notes()] == ["(A1)"]


def test_a_lost_ledger_creates_no_second_page(workspace: Workspace) -> None:
    workspace.publish()
    before = workspace.notes()
    lose_ledger(workspace.marts)
    assert workspace.publish().failures == ()
    assert workspace.notes() == before
    with closing(sqlite3.connect(workspace.file)) as store:
        assert store.execute("select count(*) from pages where title = ?", [FOLDER]).fetchone() == (1,)


@pytest.mark.parametrize(("nth", "failed"), [(1, "qbr"), (4, "notes")])
def test_a_page_that_could_not_be_written_is_written_by_a_later_run(
    workspace: Workspace, nth: int, failed: str
) -> None:
    # The requests are those of two reviews, of the folder and of two pages of notes.
    rejected = Fault("status", method="POST", path="^/v1/pages$", nth=nth, message="Not now.")
    report = workspace.publish(rejected)
    created = {"qbr": 1 if failed == "qbr" else 2, "notes": 1}
    assert (report.created, [one.kind for one in report.failures]) == (created, [failed])
    assert "Not now." in str(report.failures[0].error)
    score_next_day(workspace.marts)
    report = workspace.publish(day=NEXT, run_id="later")
    assert (report.created, report.failures) == ({"qbr": 2 - created["qbr"], "notes": 1}, ())
    assert len(workspace.notes()) == 2


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_one_page_each_after_any_fault_at_any_request(tmp_path: Path, kind: str) -> None:
    with Warehouse.from_config(Config(warehouse=tmp_path / "before.duckdb")).connect() as marts:
        fill(marts, 2, reviews=2)
    wanted: list[tuple[str, list[str]]] = []
    for nth in range(8):
        folder = tmp_path / str(nth)
        folder.mkdir()
        shutil.copy(tmp_path / "before.duckdb", folder / "w.duckdb")
        with (
            SandboxServer(folder / "notion.sqlite") as server,
            Warehouse.from_config(Config(warehouse=folder / "w.duckdb")).connect() as marts,
        ):
            one = Workspace(folder / "notion.sqlite", server, marts)
            one.publish(place="none")
            faults = [Fault(kind, path="^/v1/(pages|blocks|databases)", nth=nth, times=3, retry_after=0)] if nth else []
            one.publish(*faults, run_id="struck")
            server.faults.clear()
            assert one.publish(run_id="again").failures == ()
            wanted = wanted or one.notes()
            assert len(wanted) == 2
            assert one.notes() == wanted
            one.publish(run_id="last")
            assert one.requests() == []
            assert marts.execute("select count(*) from sync.notion_journal where done_at is null").fetchone() == (0,)


@pytest.mark.slow
def test_one_page_each_after_a_kill_at_any_request(tmp_path: Path) -> None:
    started = tmp_path / "started"
    started.mkdir()
    with Warehouse.from_config(Config(warehouse=started / "w.duckdb")).connect() as marts:
        fill(marts, 2, day=NEXT, reviews=2)
    forker = Forker({"qbr_internal": "page"})
    whole = tmp_path / "whole"
    shutil.copytree(started, whole)
    assert forker.run(whole) == 0
    wanted, requests = pages_in(whole / "notion.sqlite", FOLDER), int((whole / "requests").read_text())
    assert len(wanted) == 2
    # The last requests are those of the internal notes.
    for when in ("before", "after"):
        for nth in range(requests - 7, requests + 1):
            folder = tmp_path / f"{when}_{nth}"
            shutil.copytree(started, folder)
            assert forker.run(folder, when, nth) == -9
            assert forker.run(folder) == 0
            assert json.loads((folder / "failures").read_text()) == []
            assert pages_in(folder / "notion.sqlite", FOLDER) == wanted
            with duckdb.connect(str(folder / "w.duckdb"), read_only=True) as marts:
                left = marts.execute("select count(*) from sync.notion_journal where done_at is null").fetchone()
            assert left == (0,)
    forker.close()


def test_the_plan_and_the_report_count_the_pages(tmp_path: Path) -> None:
    config = Config(warehouse=tmp_path / "w.duckdb", notion={"qbr_internal": "page"})
    with Warehouse.from_config(config).connect() as marts:
        fill(marts, 2, reviews=2)
        plan = plan_day(marts, config, DAY, environment={})
        assert "  internal notes     create      2   update      0   skip      0" in plan_lines(plan)
        assert plan.as_dict()["internal_notes"] == {"create": 2, "update": 0, "skip": 0}
        report = publish_day(marts, config, DAY, environment={})
        assert report.created == {"health": 2, "record": 2, "qbr": 2, "expansion": 0, "notes": 2}
        lines = [line.split() for line in report_lines(report)]
        assert ["internal", "notes", "created", "2", "updated", "0", "skipped", "0"] in lines
        runs = marts.execute("select created, status from sync.notion_runs where run_id like '%/notes'").fetchall()
        assert runs == [(2, "done")]
        toggle = Config(warehouse=config.warehouse)
        assert plan_day(marts, toggle, DAY, environment={}).as_dict()["internal_notes"] is None
