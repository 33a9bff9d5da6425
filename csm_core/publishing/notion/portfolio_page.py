"""Publishes the portfolio page beside the databases, and the day of the scores in the description of the accounts.

The page is created once, in the page that contains the accounts database, and rewritten when its content changes.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import duckdb
from notion_client import AsyncClient

from csm_core.errors import NotionError
from csm_core.logging import get_logger
from csm_core.publishing.notion import known_pages
from csm_core.publishing.notion.adapter import NotionCSMAdapter
from csm_core.publishing.notion.apply import Link, Report
from csm_core.publishing.notion.databases import ACCOUNTS, HEALTH, PORTFOLIO
from csm_core.publishing.notion.ledger import DONE, INTERRUPTED, PARTIAL, TRASHED, WRITTEN, Change, Intent, Ledger, Page
from csm_core.publishing.notion.page_blocks import marks_of
from csm_core.publishing.notion.portfolio_blocks import render_portfolio_blocks
from csm_core.publishing.notion.rich_text import Block, requests_of, runs, text_blocks
from csm_core.publishing.notion.scan_sentence import scan_sentence
from csm_core.publishing.notion.target_pages import account_of, key_of
from csm_core.publishing.portfolio import has_portfolio, load_portfolio

TITLE = "CSM portfolio"
KEY = key_of("")
CREATE, UPDATE, SKIP = "create", "update", "skip"
_HASH_VERSION = "1:"

log = get_logger(__name__)


def planned_action(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, day: date, databases: Sequence[tuple[str, str]] = ()
) -> str:
    """What publishing the day would do with the portfolio page: create, update or skip."""
    if not has_portfolio(connection, day):
        return SKIP
    page = ledger.pages(PORTFOLIO).get(KEY)
    blocks = _blocks(connection, ledger, day, databases)
    if page is None:
        return CREATE
    return SKIP if page.state == TRASHED or _is_current(ledger, page, _hash(blocks)) else UPDATE


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
    writer = _PortfolioWriter(client, adapter, ledger, day, run_id)
    ledger.begin_run(run_id, day, datetime.now(UTC))
    status = INTERRUPTED
    try:
        await known_pages.resolve(adapter, ledger, ACCOUNTS)
        if has_portfolio(connection, day):
            await writer.write(_blocks(connection, ledger, day, databases), scan_sentence(day, scanned_at))
        else:
            writer.note(f"The portfolio page was not written, because the marts do not have {day}. Run: csm run")
        await writer.describe_accounts()
        status = DONE
    finally:
        report = writer.report(time.monotonic() - started, adapter.caller.sent - sent_before)
        ledger.end_run(run_id, _counts(report), status)
    return report


def combined(report: Report, other: Report) -> Report:
    """One report of two publications of a run."""
    return replace(
        report,
        created={**report.created, **other.created},
        updated={**report.updated, **other.updated},
        skipped={**report.skipped, **other.skipped},
        trashed=report.trashed + other.trashed,
        failures=(*report.failures, *other.failures),
        requests=report.requests + other.requests,
        seconds=report.seconds + other.seconds,
        links=(*report.links, *other.links),
        notes=(*report.notes, *other.notes),
    )


class _PortfolioWriter:
    def __init__(self, client: AsyncClient, adapter: NotionCSMAdapter, ledger: Ledger, day: date, run_id: str) -> None:
        self._client = client
        self._adapter = adapter
        self._ledger = ledger
        self._day = day
        self._run_id = run_id
        self._action = SKIP
        self._trashed = False
        self._failures: list[Change] = []
        self._links: list[Link] = []
        self._notes: list[str] = []

    async def write(self, blocks: Sequence[Block], scanned: str) -> None:
        page, content_hash = self._ledger.pages(PORTFOLIO).get(KEY), _hash(blocks)
        if page and page.state != TRASHED and _is_current(self._ledger, page, content_hash):
            return
        whole = [*text_blocks("callout", scanned, icon={"type": "emoji", "emoji": "🕒"}), *blocks]
        certain = page is not None and page.state == WRITTEN and KEY not in self._ledger.interrupted(PORTFOLIO)
        intent = Intent(PORTFOLIO, KEY, UPDATE if page else CREATE, self._day)
        self._ledger.intend(self._run_id, [intent])
        self._ledger.sending(self._run_id, [intent])
        try:
            # A page in the trash can be read and its blocks changed, so the page itself is read first.
            if page and await self._adapter.is_gone(page.page_id):
                self._record_trashed(page)
                return
            page = page or await self._found_or_created(whole)
            if page is None:
                self._ledger.close_rejected(PORTFOLIO, [KEY])
                return
            await self._adapter.blocks.revise(page.page_id, whole, page.marks if certain else None)
        except NotionError as error:
            change = Change(PORTFOLIO, KEY, "failed", page.page_id if page else None, str(error))
            self._failures.append(change)
            self._ledger.add_changes(self._run_id, [change])
            return
        written = replace(page, content_hash=content_hash, state=WRITTEN, marks=marks_of(whole))
        self._ledger.store(ACCOUNTS, [written])
        self._action = intent.action
        action = "created" if intent.action == CREATE else "updated"
        self._links.append(Link(PORTFOLIO, action, TITLE, written.url))
        self._ledger.add_changes(self._run_id, [Change(PORTFOLIO, KEY, action, written.page_id, None)])

    async def _found_or_created(self, blocks: Sequence[Block]) -> Page | None:
        """The page under the parent of the accounts database, created if there is none; None without a parent page."""
        database_id = self._adapter.reader.database_id(ACCOUNTS)
        database: dict[str, Any] = await self._adapter.caller.repeat(
            lambda: self._client.databases.retrieve(database_id)  # pyright: ignore[reportReturnType]
        )
        parent = str(database["parent"].get("page_id") or "")
        if not parent:
            self.note("The portfolio page was not created, because the accounts database is not inside a page.")
            return None

        async def find_created() -> dict[str, Any] | None:
            for block in await self._adapter.blocks.children(parent):
                if block["type"] == "child_page" and block["child_page"]["title"] == TITLE:
                    return {"id": block["id"]}
            return None

        found = await find_created()
        if found is None:
            found = await self._adapter.caller.write_once(
                lambda: self._client.pages.create(  # pyright: ignore[reportArgumentType]
                    parent={"type": "page_id", "page_id": parent},
                    properties={"title": {"title": runs(TITLE)}},
                    icon={"type": "emoji", "emoji": "📈"},
                    children=next(requests_of(blocks), []),
                ),
                find_created,
                lambda body: {"id": body["committed_resource_id"]} if body.get("committed_resource_id") else None,
            )
        page = Page(PORTFOLIO, KEY, str(found["id"]), "", PARTIAL, None, {}, str(found.get("url") or ""))
        self._ledger.store(ACCOUNTS, [page])
        return page

    async def describe_accounts(self) -> None:
        """State the day of the scores in the description of the accounts database, once per day."""
        if self._ledger.sources.described_day(ACCOUNTS) == self._day:
            return
        try:
            await self._adapter.describe_accounts(self._day)
        except NotionError as error:
            self.note(f"The description of the accounts database was not updated: {error}")
            return
        self._ledger.sources.remember_described_day(ACCOUNTS, self._day)

    def _record_trashed(self, page: Page) -> None:
        self._trashed = True
        self._ledger.store(ACCOUNTS, [replace(page, state=TRASHED)])
        self._ledger.add_changes(self._run_id, [Change(PORTFOLIO, KEY, "trashed", page.page_id, None)])

    def note(self, note: str) -> None:
        """Add a line to the report about what was left out."""
        self._notes.append(note)
        log.warning("publishing note", note=note, day=str(self._day))

    def report(self, seconds: float, requests: int) -> Report:
        """The report on what was written so far."""
        was_tried = bool(self._failures or self._trashed)
        return Report(
            run_id=self._run_id,
            day=self._day,
            created={PORTFOLIO: int(self._action == CREATE)},
            updated={PORTFOLIO: int(self._action == UPDATE)},
            skipped={PORTFOLIO: int(self._action == SKIP and not was_tried)},
            orphans=0,
            trashed=int(self._trashed),
            failures=tuple(self._failures),
            requests=requests,
            seconds=seconds,
            links=tuple(self._links),
            notes=tuple(self._notes),
        )


def _blocks(
    connection: duckdb.DuckDBPyConnection, ledger: Ledger, day: date, databases: Sequence[tuple[str, str]]
) -> list[Block]:
    links = {account_of(key): page.url for key, page in ledger.pages(HEALTH).items() if page.state != TRASHED}
    return render_portfolio_blocks(load_portfolio(connection, day), links, databases)


def _hash(blocks: Sequence[Block]) -> str:
    canonical = json.dumps(blocks, sort_keys=True, ensure_ascii=False)
    return _HASH_VERSION + hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def _is_current(ledger: Ledger, page: Page, content_hash: str) -> bool:
    return page.state == WRITTEN and page.content_hash == content_hash and KEY not in ledger.interrupted(PORTFOLIO)


def _counts(report: Report) -> dict[str, int]:
    return {
        "created": report.created[PORTFOLIO],
        "updated": report.updated[PORTFOLIO],
        "skipped": report.skipped[PORTFOLIO],
        "orphans": 0,
        "trashed": report.trashed,
        "failed": len(report.failures),
        "requests": report.requests,
    }
