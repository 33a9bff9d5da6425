"""Thousands of account pages over real HTTP: nothing missed, nothing doubled, and no request that was not needed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from csm_core.config import Config
from csm_core.notion_adapter import NotionCSMAdapter
from csm_core.notion_sandbox.server import SandboxServer
from csm_core.publishing.notion.databases import ACCOUNTS
from csm_core.warehouse.database import Warehouse
from tests.publishing.notion.publication import adapter_of, fill, held, publish
from tests.publishing.notion.test_adapter import MinuteClock

pytestmark = pytest.mark.slow
Counts = tuple[int, int]


@pytest.fixture
def marts(tmp_path: Path) -> Generator[duckdb.DuckDBPyConnection]:
    with Warehouse.from_config(Config(warehouse=tmp_path / "w.duckdb")).connect() as connection:
        yield connection


async def counted(server: SandboxServer, work: Awaitable[Any]) -> Counts:
    """Reads and writes that ``work`` takes."""
    server.requests.clear()
    await work
    writes = sum(1 for one in server.requests if one.is_write)
    return len(server.requests) - writes, writes


def with_adapter(server: SandboxServer, work: Callable[[NotionCSMAdapter], Awaitable[None]]) -> None:
    async def run() -> None:
        async with adapter_of(server) as adapter:
            await work(adapter)

    asyncio.run(run())


def change(marts: duckdb.DuckDBPyConnection, accounts: int, score: float) -> None:
    marts.execute(
        "update marts.csm_health_scores set score = ? where cast(account_id[2:] as integer) < ?", [score, accounts]
    )


def account_ids(file: Path) -> list[str]:
    return sorted(page["account_id"] for page in held(file)[ACCOUNTS.title])


def test_five_thousand_accounts(tmp_path: Path, marts: duckdb.DuckDBPyConnection) -> None:
    file, accounts = tmp_path / "notion.sqlite", 5_000
    listing = math.ceil(accounts / 100)
    fill(marts, accounts, opportunities=20, reviews=5)
    with SandboxServer(file) as server:

        async def work(adapter: NotionCSMAdapter) -> None:
            await publish(marts, adapter)
            reads, writes = await counted(server, publish(marts, adapter))
            print(f"\n{accounts:,} accounts, nothing changed: {reads} reads, {writes} writes")
            assert writes == 0
            assert reads <= listing + 4
            for number, changed in enumerate((1, 250, accounts)):
                change(marts, changed, 81.0 + number)
                reads, writes = await counted(server, publish(marts, adapter, kinds=["health"]))
                print(f"{accounts:,} accounts, {changed:,} changed: {reads} reads, {writes:,} writes")
                assert writes == changed
                assert reads + writes <= listing + changed

        with_adapter(server, work)
    assert account_ids(file) == sorted(f"A{number}" for number in range(accounts))


def test_more_accounts_than_a_query_lists(tmp_path: Path, marts: duckdb.DuckDBPyConnection) -> None:
    """12,000 pages where a query ends at 10,000, as Notion's does; also when the ledger is lost."""
    file, accounts = tmp_path / "notion.sqlite", 12_000
    listing = math.ceil(accounts / 100) + 4
    fill(marts, accounts, opportunities=20, reviews=5)
    with SandboxServer(file, clock=MinuteClock(1500)) as server:

        async def work(adapter: NotionCSMAdapter) -> None:
            await publish(marts, adapter)

        async def again(adapter: NotionCSMAdapter) -> None:
            # Another process: what it knows is in the ledger.
            reads, writes = await counted(server, publish(marts, adapter))
            print(f"{accounts:,} accounts, nothing changed: {reads} reads, {writes} writes")
            assert (writes, reads <= listing) == (0, True)
            change(marts, 40, 81.0)
            reads, writes = await counted(server, publish(marts, adapter, kinds=["health"]))
            print(f"{accounts:,} accounts, 40 changed: {reads} reads, {writes} writes")
            assert (writes, reads <= listing) == (40, True)

        async def without_a_ledger(adapter: NotionCSMAdapter) -> None:
            marts.execute("drop schema sync cascade; create schema sync")
            reads, writes = await counted(server, publish(marts, adapter, kinds=["health"]))
            print(f"{accounts:,} accounts, ledger lost: {reads} reads, {writes} writes")
            # Nobody knows where to part it: the minute is read again at which the first query was cut off.
            assert (writes, reads <= listing + 15) == (0, True)

        with_adapter(server, work)
        with_adapter(server, again)
        with_adapter(server, without_a_ledger)
    assert account_ids(file) == sorted(f"A{number}" for number in range(accounts))
