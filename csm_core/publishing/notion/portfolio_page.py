"""Publishes the portfolio page beside the databases, and the day of the scores in the description of the accounts.

The page is created once, in the page that contains the accounts database, and rewritten when its content changes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime

import duckdb
from notion_client import AsyncClient

from csm_core.errors import NotionError
from csm_core.publishing.notion import known_pages
from csm_core.publishing.notion.adapter import NotionCSMAdapter
from csm_core.publishing.notion.apply import Report
from csm_core.publishing.notion.databases import ACCOUNTS, HEALTH, PORTFOLIO
from csm_core.publishing.notion.ledger import DONE, INTERRUPTED, TRASHED, Ledger
from csm_core.publishing.notion.plan import SKIP
from csm_core.publishing.notion.portfolio_blocks import render_portfolio_blocks
from csm_core.publishing.notion.rich_text import text_blocks
from csm_core.publishing.notion.scan_sentence import scan_sentence
from csm_core.publishing.notion.target_pages import account_of, key_of
from csm_core.publishing.notion.titled_page_writer import (
    ParentPage,
    PlannedPages,
    TitledPageWriter,
    parent_of_accounts,
)
from csm_core.publishing.notion.titled_pages import TitledPage
from csm_core.publishing.portfolio import has_portfolio, load_portfolio

TITLE = "CSM portfolio"
KEY = key_of("")


def planned_action(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, day: date, databases: Sequence[tuple[str, str]] = ()
) -> str:
    """What publishing the day would do with the portfolio page: create, update or skip."""
    if not has_portfolio(connection, day):
        return SKIP
    planned, target = PlannedPages(ledger, PORTFOLIO), _target(connection, ledger, day, databases)
    return SKIP if planned.is_trashed(target) else planned.action(target)


async def publish_portfolio(
    connection: duckdb.DuckDBPyConnection,
    client: AsyncClient,
    adapter: NotionCSMAdapter,
    ledger: Ledger,
    day: date,
    *,
    run_id: str,
    scanned_at: datetime,
    databases: Sequence[tuple[str, str]] = (),
) -> Report:
    """Write the portfolio page of a day, and the day in the description of the accounts database, if they changed.

    If nothing changed, no request is sent. A page in the trash is reported and not created again. ``databases`` are
    the names and addresses of databases to link to.
    """
    started, sent_before = time.monotonic(), adapter.caller.sent
    writer = TitledPageWriter(client, adapter, ledger, PORTFOLIO, day, run_id)
    ledger.begin_run(run_id, day, datetime.now(UTC))
    status = INTERRUPTED

    async def parent() -> ParentPage | None:
        place = await parent_of_accounts(client, adapter)
        if place is None:
            writer.note("The portfolio page was not created, because the accounts database is not inside a page.")
        return place

    try:
        await known_pages.resolve(adapter, ledger, ACCOUNTS)
        if has_portfolio(connection, day):
            scanned = text_blocks("callout", scan_sentence(day, scanned_at), icon={"type": "emoji", "emoji": "🕒"})
            target = replace(_target(connection, ledger, day, databases), lead=scanned)
            writer.intend([target])
            await writer.write(target, parent)
        else:
            writer.skip()
            writer.note(f"The portfolio page was not written, because the marts do not have {day}. Run: csm run")
        await _describe_accounts(adapter, ledger, day, writer)
        status = DONE
    finally:
        report = writer.report(time.monotonic() - started, adapter.caller.sent - sent_before)
        ledger.end_run(run_id, report.counts(), status)
    return report


async def _describe_accounts(adapter: NotionCSMAdapter, ledger: Ledger, day: date, writer: TitledPageWriter) -> None:
    """State the day of the scores in the description of the accounts database, once per day."""
    if ledger.sources.described_day(ACCOUNTS) == day:
        return
    try:
        await adapter.describe_accounts(day)
    except NotionError as error:
        writer.note(f"The description of the accounts database was not updated: {error}")
        return
    ledger.sources.remember_described_day(ACCOUNTS, day)


def _target(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, day: date, databases: Sequence[tuple[str, str]]
) -> TitledPage:
    links = {account_of(key): page.url for key, page in ledger.pages(HEALTH).items() if page.state != TRASHED}
    blocks = render_portfolio_blocks(load_portfolio(connection, day), links, databases)
    return TitledPage(PORTFOLIO, KEY, TITLE, "📈", ACCOUNTS, day, blocks)
