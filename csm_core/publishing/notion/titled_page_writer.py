"""Writes pages that are not in a database: each is created once under its parent page, and revised when it changes.

A page that the ledger does not have is searched by its title among the child pages of its parent, so an interrupted
run or a lost ledger never leads to a second page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from notion_client import AsyncClient

from csm_core.errors import NotionError
from csm_core.logging import get_logger
from csm_core.publishing.notion.adapter import NotionCSMAdapter
from csm_core.publishing.notion.apply import Link, Report
from csm_core.publishing.notion.databases import ACCOUNTS
from csm_core.publishing.notion.ledger import PARTIAL, TRASHED, WRITTEN, Change, Intent, Ledger, Page
from csm_core.publishing.notion.page_blocks import marks_of
from csm_core.publishing.notion.plan import CREATE, SKIP, UPDATE
from csm_core.publishing.notion.rich_text import encoded_bytes, requests_of
from csm_core.publishing.notion.titled_pages import TitledPage

# The fact of a page with the title that was written last.
_TITLE = "title"
_CREATED, _UPDATED, _SKIPPED, _TRASHED = "created", "updated", "skipped", "trashed"

log = get_logger(__name__)


class ParentPage:
    """A page and the titles of its child pages, which are listed at most once unless a request got no answer."""

    def __init__(self, adapter: NotionCSMAdapter, page_id: str) -> None:
        self.page_id = page_id
        self._adapter = adapter
        self._children: list[tuple[str, str]] | None = None

    async def find(self, title: str, others: Collection[str], *, again: bool = False) -> dict[str, Any] | None:
        """The child page with a title that is not one of the ``others``; ``again`` lists the children once more."""
        if self._children is None or again:
            self._children = [
                (str(block["id"]), str(block["child_page"]["title"]))
                for block in await self._adapter.blocks.children(self.page_id)
                if block["type"] == "child_page"
            ]
        return next(({"id": one} for one, named in self._children if named == title and one not in others), None)


Parent = Callable[[], Awaitable[ParentPage | None]]


async def parent_of_accounts(client: AsyncClient, adapter: NotionCSMAdapter) -> ParentPage | None:
    """The page that contains the accounts database; None if the database is not inside a page."""
    database_id = adapter.reader.database_id(ACCOUNTS)
    database: dict[str, Any] = await adapter.caller.repeat(
        lambda: client.databases.retrieve(database_id)  # pyright: ignore[reportReturnType]
    )
    page_id = str(database["parent"].get("page_id") or "")
    return ParentPage(adapter, page_id) if page_id else None


class PlannedPages:
    """The pages of a kind in the ledger, and what publishing does with a target page."""

    def __init__(self, ledger: Ledger, kind: str) -> None:
        self.known = ledger.pages(kind)
        self._uncertain = ledger.interrupted(kind)

    def action(self, target: TitledPage) -> str:
        """Create, update or skip. A page in the trash has the action update, because a user may have restored it."""
        page = self.known.get(target.key)
        if page is None:
            return CREATE
        same = page.content_hash == target.content_hash and page.facts.get(_TITLE, target.title) == target.title
        return SKIP if same and self.is_certain(page) else UPDATE

    def is_certain(self, page: Page) -> bool:
        """Whether the content of a page is that of the ledger."""
        return page.state == WRITTEN and page.key not in self._uncertain

    def is_trashed(self, target: TitledPage) -> bool:
        """Whether the page was in the trash when it was last written."""
        page = self.known.get(target.key)
        return page is not None and page.state == TRASHED


class TitledPageWriter:
    """Writes target pages of one kind and reports on them."""

    def __init__(
        self, client: AsyncClient, adapter: NotionCSMAdapter, ledger: Ledger, kind: str, day: date, run_id: str
    ) -> None:
        self._client = client
        self._adapter = adapter
        self._ledger = ledger
        self._kind = kind
        self._day = day
        self._run_id = run_id
        self.planned = PlannedPages(ledger, kind)
        self._counts: Counter[str] = Counter()
        self._failures: list[Change] = []
        self._links: list[Link] = []
        self._notes: list[str] = []

    def intend(self, targets: Sequence[TitledPage]) -> None:
        """Record the intents of all pages that are to be written, before any request is sent."""
        self._ledger.intend(self._run_id, [self._intent(one) for one in targets if self.planned.action(one) != SKIP])

    def skip(self) -> None:
        """Count a page that is not written."""
        self._counts[_SKIPPED] += 1

    async def write(self, target: TitledPage, parent: Parent) -> None:
        """Create or update an intended page, if it changed. Without a parent page, it is not created."""
        action = self.planned.action(target)
        if action == SKIP:
            self.skip()
            return
        page = self.planned.known.get(target.key)
        self._ledger.sending(self._run_id, [self._intent(target)])
        try:
            # A page in the trash can be read and its blocks changed, so the page itself is read first.
            if page and await self._adapter.is_gone(page.page_id):
                self._store(target, replace(page, state=TRASHED))
                self._count(target, _TRASHED, page)
                return
            if page:
                await self._update(target, page)
            else:
                place = await parent()
                if place is None:
                    self._ledger.close_rejected(target.kind, [target.key])
                    self.skip()
                    return
                page = await self.find_or_create(target, place)
        except NotionError as error:
            change = Change(target.kind, target.key, "failed", page.page_id if page else None, str(error))
            self._failures.append(change)
            self._ledger.add_changes(self._run_id, [change])
            return
        self.store_written(target, page)
        action = _CREATED if action == CREATE else _UPDATED
        self._links.append(Link(target.kind, action, target.title, page.url))
        self._count(target, action, page)

    async def find_or_create(self, target: TitledPage, place: ParentPage) -> Page:
        """The page with the title of the target and its content, created if the parent page does not have it."""
        blocks = target.all_blocks
        # A page of another key is never taken over, even if its title is the same.
        others = {page.page_id for page in self.planned.known.values()}
        found = await place.find(target.title, others)
        if found is not None:
            page = self._begun(target, found)
            await self._adapter.blocks.revise(page.page_id, blocks, None)
            return page
        properties = {"title": {"title": target.title_runs}}
        first = next(requests_of(blocks, encoded_bytes(properties)), [])
        created = await self._adapter.caller.write_once(
            lambda: self._client.pages.create(  # pyright: ignore[reportArgumentType]
                parent={"type": "page_id", "page_id": place.page_id},
                properties=properties,
                icon={"type": "emoji", "emoji": target.icon},
                children=first,
            ),
            lambda: place.find(target.title, others, again=True),
            lambda body: {"id": body["committed_resource_id"]} if body.get("committed_resource_id") else None,
        )
        page = self._begun(target, created)
        await self._adapter.blocks.append_rest(page.page_id, blocks, len(first))
        return page

    def store_written(self, target: TitledPage, page: Page) -> None:
        """Store a page that was written completely."""
        marks, facts = marks_of(target.all_blocks), {_TITLE: target.title}
        written = replace(page, content_hash=target.content_hash, state=WRITTEN, marks=marks, facts=facts)
        self._store(target, written)

    async def _update(self, target: TitledPage, page: Page) -> None:
        if page.facts.get(_TITLE, target.title) != target.title:
            await self._adapter.caller.repeat(
                lambda: self._client.pages.update(  # pyright: ignore[reportReturnType]
                    page.page_id, properties={"title": {"title": target.title_runs}}
                )
            )
        marks = page.marks if self.planned.is_certain(page) else None
        await self._adapter.blocks.revise(page.page_id, target.all_blocks, marks)

    def _begun(self, target: TitledPage, found: dict[str, Any]) -> Page:
        page = Page(target.kind, target.key, str(found["id"]), "", PARTIAL, None, {}, str(found.get("url") or ""))
        self._store(target, page)
        return page

    def _store(self, target: TitledPage, page: Page) -> None:
        self._ledger.store(target.spec, [page])
        self.planned.known[page.key] = page

    def _count(self, target: TitledPage, action: str, page: Page) -> None:
        self._counts[action] += 1
        self._ledger.add_changes(self._run_id, [Change(target.kind, target.key, action, page.page_id, None)])

    def _intent(self, target: TitledPage) -> Intent:
        action = UPDATE if target.key in self.planned.known else CREATE
        return Intent(target.kind, target.key, action, target.day)

    def note(self, note: str) -> None:
        """Add a line to the report about what was left out."""
        self._notes.append(note)
        log.warning("publishing note", note=note, day=str(self._day))

    def report(self, seconds: float, requests: int) -> Report:
        """The report on what was written so far."""
        return Report(
            run_id=self._run_id,
            day=self._day,
            created={self._kind: self._counts[_CREATED]},
            updated={self._kind: self._counts[_UPDATED]},
            skipped={self._kind: self._counts[_SKIPPED]},
            orphans=0,
            trashed=self._counts[_TRASHED],
            failures=tuple(self._failures),
            requests=requests,
            seconds=seconds,
            links=tuple(self._links),
            notes=tuple(self._notes),
        )


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
