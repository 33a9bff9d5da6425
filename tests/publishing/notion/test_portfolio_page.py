"""The portfolio page: one page, rewritten when its content changes, whatever happens on the way."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Generator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from csm_core.config import Config
from csm_core.notion_adapter import NotionCSMAdapter
from csm_core.notion_sandbox.faults import Fault
from csm_core.notion_sandbox.server import SandboxServer
from csm_core.publishing.notion.apply import Report
from csm_core.publishing.notion.databases import ACCOUNTS
from csm_core.publishing.notion.ledger import Ledger
from csm_core.publishing.notion.portfolio_page import TITLE, planned_action, publish_portfolio
from csm_core.warehouse.database import Warehouse
from tests.publishing.notion.publication import DAY, FAULT_KINDS, adapter_of, fill, lose_ledger

NEXT = DAY + timedelta(days=1)
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


def fill_marts(marts: duckdb.DuckDBPyConnection, day: date = DAY, score: float = 80.0, accounts: int = 3) -> None:
    fill(marts, accounts, day=day, score=score)
    marts.execute(
        "update marts.csm_health_signals set missing_signals = 'nps_score,usage_trend' where account_id = 'A0'"
    )


class Workspace:
    """A sandbox and marts, and what a user does with them."""

    def __init__(self, file: Path, server: SandboxServer, marts: duckdb.DuckDBPyConnection) -> None:
        self.file = file
        self.server = server
        self.marts = marts

    def publish(self, day: date = DAY, *faults: Fault) -> Report:
        async def work(adapter: NotionCSMAdapter) -> Report:
            self.server.faults.add(*faults)
            client: Any = adapter._client  # pyright: ignore[reportPrivateUsage]
            ledger = Ledger(self.marts)
            return await publish_portfolio(
                self.marts, client, adapter, ledger, day, run_id="run", scanned_at=NOON, databases=LINKS
            )

        return self.with_adapter(work)

    def with_adapter(self, work: Callable[[NotionCSMAdapter], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            async with adapter_of(self.server, clock=lambda: NOON) as adapter:
                # The databases are created before, outside of what the tests count.
                self.server.requests.clear()
                return await work(adapter)

        return asyncio.run(run())

    def writes(self) -> list[str]:
        return [f"{one.method} {one.path}" for one in self.server.requests if one.is_write]

    def pages(self) -> list[list[tuple[str, str]]]:
        """The blocks, and below each table its rows, of every page with the title that is not in the trash."""
        with closing(sqlite3.connect(self.file)) as store:
            ids = store.execute("select id from pages where title = ? and in_trash = 0", [TITLE]).fetchall()
            return [_blocks(store, page_id) for (page_id,) in ids]

    def page_id(self) -> str:
        return self.marts.execute("select page_id from sync.notion_pages where kind = 'portfolio'").fetchone()[0]

    def description(self) -> str:
        async def read(adapter: NotionCSMAdapter) -> str:
            client: Any = adapter._client  # pyright: ignore[reportPrivateUsage]
            database = await client.databases.retrieve(adapter.reader.database_id(ACCOUNTS))
            return "".join(run["plain_text"] for run in database["description"])

        return self.with_adapter(read)


LINKS = [("Customer accounts", "https://www.notion.so/1")]


def _blocks(store: sqlite3.Connection, parent: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for block_id, kind, content in store.execute(
        "select id, type, content from blocks where parent = ? and in_trash = 0 order by position", [parent]
    ).fetchall():
        stated = json.loads(content)
        cells = [stated.get("rich_text", []), *stated.get("cells", [])]
        found.append((kind, " | ".join("".join(run["plain_text"] for run in cell) for cell in cells if cell)))
        found += _blocks(store, block_id)
    return found


@pytest.fixture
def workspace(tmp_path: Path) -> Generator[Workspace]:
    file = tmp_path / "notion.sqlite"
    with (
        SandboxServer(file) as server,
        Warehouse.from_config(Config(warehouse=tmp_path / "w.duckdb")).connect() as marts,
    ):
        fill_marts(marts)
        yield Workspace(file, server, marts)


def test_the_page_states_the_portfolio(workspace: Workspace) -> None:
    workspace.marts.execute(
        "update marts.csm_accounts_daily set renewal_date = date '2026-07-20' where account_id = 'A1'"
    )
    workspace.marts.execute(
        "update marts.csm_health_scores set rag = 'RED', score = 30, churn_risk_level = 'critical' "
        "where account_id = 'A2'"
    )
    report = workspace.publish()
    (blocks,) = workspace.pages()
    rows = [text for kind, text in blocks if kind == "table_row"]
    assert ("callout", "Scores of 2026-06-30, scanned 2026-07-01 12:00 UTC.") in blocks
    assert any("3 customer accounts on 2026-06-30. The mean score is 63.3 of 100." in text for _, text in blocks)
    assert [row for row in rows if row.startswith("🔴 RED |")] == ["🔴 RED | 1 | unknown | 250 EUR"]
    assert [row for row in rows if "2026-07-20" in row] == [
        "Account 1 | 2026-07-20 | Owner@example.com | 250 EUR | 🟢 GREEN | low"
    ]
    assert "Owner@example.com | 1 | 250 EUR" in rows
    assert ("bulleted_list_item", "NPS: no data for 1 account.") in blocks
    assert ("bulleted_list_item", "Customer accounts") in blocks
    assert (report.created, report.failures) == ({"portfolio": 1}, ())


def test_with_rates_the_page_also_states_the_converted_mrr(workspace: Workspace) -> None:
    marts = workspace.marts
    marts.execute("update marts.csm_accounts_daily set reporting_currency = 'USD'")
    marts.execute("update marts.csm_accounts_daily set mrr_reporting = 270 where account_id in ('A0', 'A2')")
    marts.execute(
        "update marts.csm_health_scores set rag = 'RED', score = 30, churn_risk_level = 'critical' "
        "where account_id in ('A1', 'A2')"
    )
    assert workspace.publish().failures == ()
    (blocks,) = workspace.pages()
    rows = [text for kind, text in blocks if kind == "table_row"]
    assert "Band | Accounts | 7 days before | MRR | MRR in USD" in rows
    assert [row for row in rows if row.startswith("🔴 RED |")] == ["🔴 RED | 2 | unknown | 500 EUR | 270"]
    assert "Owner | Accounts at risk | MRR at risk | MRR at risk in USD" in rows
    assert "Owner@example.com | 2 | 500 EUR | 270" in rows
    assert (
        "paragraph",
        "Accounts at high or critical churn risk. Their MRR in all currencies is 270 USD, converted with the "
        "configured rates.",
    ) in blocks
    assert (
        "bulleted_list_item",
        "The MRR of 1 account is not converted, because a currency has no rate.",
    ) in blocks


def test_movers_have_the_two_signals_behind_them(workspace: Workspace) -> None:
    marts = workspace.marts
    marts.execute(
        "insert into marts.csm_health_scores select * replace (as_of_date - 7 as as_of_date, score - 9 as score, "
        "usage_trend_points - 7 as usage_trend_points, nps_score_points - 3 as nps_score_points, "
        "escalation_count_90_days_points + 1 as escalation_count_90_days_points) "
        "from marts.csm_health_scores where account_id = 'A1'"
    )
    workspace.publish()
    (blocks,) = workspace.pages()
    rows = [text for kind, text in blocks if kind == "table_row" and "71.0 to 80.0" in text]
    assert rows == ["Account 1 | Owner@example.com | 71.0 to 80.0 | 🟢 GREEN | usage trend +7.0, NPS +3.0"]


def test_the_same_content_is_not_written_again_and_another_day_is(workspace: Workspace) -> None:
    assert planned_action(workspace.marts, Ledger(workspace.marts), DAY, LINKS) == "create"
    workspace.publish()
    before = workspace.pages()
    assert planned_action(workspace.marts, Ledger(workspace.marts), DAY, LINKS) == "skip"
    report = workspace.publish()
    assert (list(workspace.server.requests), report.skipped, report.requests) == ([], {"portfolio": 1}, 0)
    fill_marts(workspace.marts, NEXT, 72.0)
    report = workspace.publish(NEXT)
    assert (report.updated, report.failures) == ({"portfolio": 1}, ())
    (after,) = workspace.pages()
    assert len(after) == len(before[0])
    assert any("2026-07-01" in text for _, text in after)


def test_what_users_write_stays(workspace: Workspace) -> None:
    workspace.publish()
    workspace.server.user_actions.write(workspace.page_id(), "Call the two accounts above.")
    fill_marts(workspace.marts, NEXT, 72.0)
    workspace.publish(NEXT)
    (blocks,) = workspace.pages()
    assert blocks[-1] == ("paragraph", "Call the two accounts above.")


def test_a_lost_ledger_creates_no_second_page(workspace: Workspace) -> None:
    workspace.publish()
    before = workspace.pages()
    lose_ledger(workspace.marts)
    report = workspace.publish()
    assert report.failures == ()
    assert workspace.pages() == before


def test_a_trashed_page_is_reported_and_goes_on_when_it_is_back(workspace: Workspace) -> None:
    workspace.publish()
    workspace.server.user_actions.trash(workspace.page_id())
    for day in (NEXT, NEXT + timedelta(days=1)):
        fill_marts(workspace.marts, day)
        report = workspace.publish(day)
        assert (report.trashed, report.created, report.failures) == (1, {"portfolio": 0}, ())
    workspace.server.user_actions.restore(workspace.page_id())
    report = workspace.publish(NEXT + timedelta(days=1))
    assert (report.trashed, report.updated) == (0, {"portfolio": 1})
    assert len(workspace.pages()) == 1


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_one_page_after_any_fault_at_any_request(tmp_path: Path, kind: str) -> None:
    with Warehouse.from_config(Config(warehouse=tmp_path / "before.duckdb")).connect() as marts:
        fill_marts(marts, accounts=2)
    wanted: list[list[tuple[str, str]]] = []
    for nth in range(0, 12, 2):
        folder = tmp_path / str(nth)
        folder.mkdir()
        shutil.copy(tmp_path / "before.duckdb", folder / "w.duckdb")
        with (
            SandboxServer(folder / "notion.sqlite") as server,
            Warehouse.from_config(Config(warehouse=folder / "w.duckdb")).connect() as marts,
        ):
            one = Workspace(folder / "notion.sqlite", server, marts)
            one.description()
            faults = [Fault(kind, path="^/v1/(pages|blocks)", nth=nth - 1, times=2)] if nth else []
            first = one.publish(DAY, *faults)
            server.faults.clear()
            second = one.publish()
            assert second.failures == ()
            assert sum(first.created.values()) + sum(second.created.values()) + sum(second.updated.values()) >= 1
            wanted = wanted or one.pages()
            assert one.pages() == wanted
            one.publish()
            assert one.writes() == []
            assert marts.execute("select count(*) from sync.notion_journal where done_at is null").fetchone() == (0,)


def test_names_are_text(workspace: Workspace) -> None:
    name = "=HYPERLINK('x') <b>\"Bold\"</b> " + "long " * 500
    workspace.marts.execute("update marts.csm_accounts_daily set account_name = ?, renewal_date = '2026-07-02'", [name])
    assert workspace.publish().failures == ()
    (blocks,) = workspace.pages()
    rows = [text for kind, text in blocks if kind == "table_row" and "2026-07-02" in text]
    assert len(rows) == 3
    assert all(row.startswith("=HYPERLINK('x') <b>\"Bold\"</b> long") for row in rows)


def test_many_renewals_and_owners_are_counted(workspace: Workspace) -> None:
    fill_marts(workspace.marts, accounts=120)
    workspace.marts.execute(
        "update marts.csm_accounts_daily set renewal_date = date '2026-07-10', csm_owner = 'Owner ' || account_id"
    )
    workspace.marts.execute("update marts.csm_health_scores set churn_risk_level = 'high'")
    assert workspace.publish().failures == ()
    (blocks,) = workspace.pages()
    assert ("paragraph", "And 80 more renewals.") in blocks
    assert ("paragraph", "And 80 more owners.") in blocks


def test_a_warehouse_without_the_marts_of_the_day_has_no_page(workspace: Workspace) -> None:
    workspace.marts.execute("delete from marts.csm_accounts_daily")
    report = workspace.publish()
    assert (report.created, report.failures, workspace.pages()) == ({"portfolio": 0}, (), [])
    assert report.notes == (
        "The portfolio page was not written, because the marts do not have 2026-06-30. Run: csm run",
    )
    fill_marts(workspace.marts)
    assert workspace.publish().created == {"portfolio": 1}


# -- the description of the accounts database


def test_the_description_states_the_day_once_and_keeps_the_text_of_users(workspace: Workspace) -> None:
    workspace.publish()
    own = [{"text": {"content": "Our customers. Scores of 2026-06-30, scanned 2026-07-01 12:00 UTC. Ask Ada."}}]

    async def describe(adapter: NotionCSMAdapter) -> str:
        client: Any = adapter._client  # pyright: ignore[reportPrivateUsage]
        accounts = adapter.reader.database_id(ACCOUNTS)
        await client.databases.update(accounts, description=own)
        return accounts

    accounts = workspace.with_adapter(describe)
    workspace.publish()
    assert workspace.writes() == []
    fill_marts(workspace.marts, NEXT)
    workspace.publish(NEXT)
    assert [one for one in workspace.writes() if "databases" in one] == [f"PATCH /v1/databases/{accounts}"]
    lose_ledger(workspace.marts)
    workspace.publish(NEXT)
    assert [one for one in workspace.writes() if "databases" in one] == []
    assert workspace.description() == "Our customers. Ask Ada. Scores of 2026-07-01, scanned 2026-07-01 12:00 UTC."


def test_a_description_that_cannot_be_written_is_a_note_and_is_tried_again(workspace: Workspace) -> None:
    workspace.server.faults.add(
        Fault("status", method="PATCH", path="^/v1/databases/", status=403, message="Not allowed.")
    )
    report = workspace.publish()
    assert report.failures == ()
    assert "Not allowed." in report.notes[0]
    assert "Scores of" not in workspace.description()
    workspace.publish()
    assert workspace.description() == f"{ACCOUNTS.description} Scores of 2026-06-30, scanned 2026-07-01 12:00 UTC."
