"""Publishes the internal notes of business reviews on pages of their own.

Sharing a page in Notion shares its child pages, so these pages are not below the reviews: they are in the page "CSM
internal notes", which is beside the databases.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime

from notion_client import AsyncClient

from csm_core.errors import NotionError
from csm_core.publishing.notion.adapter import NotionCSMAdapter
from csm_core.publishing.notion.apply import Report
from csm_core.publishing.notion.databases import NOTES, QBR, QBRS
from csm_core.publishing.notion.ledger import DONE, INTERRUPTED, TRASHED, Ledger, Page
from csm_core.publishing.notion.plan import CREATE, SKIP, UPDATE
from csm_core.publishing.notion.rich_text import RUNS_PER_ARRAY, Block, runs, text_blocks
from csm_core.publishing.notion.target_pages import TargetPage, key_of
from csm_core.publishing.notion.titled_page_writer import (
    ParentPage,
    PlannedPages,
    TitledPageWriter,
    parent_of_accounts,
)
from csm_core.publishing.notion.titled_pages import TitledPage

FOLDER = "CSM internal notes"
_FOLDER_KEY = key_of("")
_FOLDER_TEXT = "The internal notes of business reviews. Do not share this page with customers."


def planned_actions(ledger: Ledger, reviews: Sequence[TargetPage]) -> dict[str, int]:
    """The number of pages that publishing would create, update and skip."""
    planned, known = PlannedPages(ledger, NOTES), ledger.pages(QBR)
    actions = Counter(
        SKIP if planned.is_trashed(one) or _is_trashed(known.get(one.key)) else planned.action(one)
        for review in reviews
        if (one := review.notes)
    )
    return {action: actions[action] for action in (CREATE, UPDATE, SKIP)}


class NotesPublication:
    """Writes the pages of internal notes of one run, after the pages of their reviews."""

    def __init__(
        self,
        client: AsyncClient,
        adapter: NotionCSMAdapter,
        ledger: Ledger,
        reviews: Sequence[TargetPage],
        day: date,
        run_id: str,
    ) -> None:
        self._client = client
        self._adapter = adapter
        self._ledger = ledger
        self._day = day
        self._run_id = run_id
        self._writer = TitledPageWriter(client, adapter, ledger, NOTES, day, run_id)
        known = ledger.pages(QBR)
        self._titles = {review.key: str(review.content["title"]) for review in reviews}
        targets = [one.notes for one in reviews if one.notes and not _is_trashed(known.get(one.key))]
        self._due = [one for one in targets if self._writer.planned.action(one) != SKIP]
        self._left_out = len(reviews) - len(self._due)
        self._place: ParentPage | None = None
        self._is_opened = False
        self._failure = ""

    def intend(self) -> None:
        """Record the intents before any page of the run is written, so that a killed run is continued."""
        self._writer.intend(self._due)

    async def publish(self) -> Report:
        """Create and update the pages whose content changed. If nothing changed, no request is sent.

        The notes of a review without a page are written when the review is; those of a review in the trash are not.
        """
        started, sent_before = time.monotonic(), self._adapter.caller.sent
        for _ in range(self._left_out):
            self._writer.skip()
        if not self._due:
            return self._writer.report(time.monotonic() - started, 0)
        self._ledger.begin_run(self._run_id, self._day, datetime.now(UTC))
        status, reviews = INTERRUPTED, self._ledger.pages(QBR)
        try:
            for target in self._due:
                review = reviews.get(target.key)
                if review is None or _is_trashed(review):
                    self._writer.skip()
                else:
                    await self._writer.write(
                        replace(target, lead=_link_to(review, self._titles[review.key])), self._open_folder
                    )
            status = DONE
        finally:
            report = self._writer.report(time.monotonic() - started, self._adapter.caller.sent - sent_before)
            self._ledger.end_run(self._run_id, report.counts(), status)
        return report

    async def _open_folder(self) -> ParentPage | None:
        """The page that contains the pages of internal notes, created if there is none; opened once in a run."""
        if self._failure:
            raise NotionError(self._failure)
        if not self._is_opened:
            try:
                self._place = await self._folder()
            except NotionError as error:
                self._failure = f'The page "{FOLDER}" could not be opened: {error}'
                raise NotionError(self._failure) from error
            self._is_opened = True
        return self._place

    async def _folder(self) -> ParentPage | None:
        page = self._writer.planned.known.get(_FOLDER_KEY)
        if page is None:
            place = await parent_of_accounts(self._client, self._adapter)
            if place is None:
                self._writer.note("No internal notes were created, because the accounts database is not inside a page.")
                return None
            target = TitledPage(
                NOTES, _FOLDER_KEY, FOLDER, "🔒", QBRS, self._day, text_blocks("paragraph", _FOLDER_TEXT)
            )
            page = await self._writer.find_or_create(target, place)
            self._writer.store_written(target, page)
        elif await self._adapter.is_gone(page.page_id):
            self._writer.note(
                f'No internal notes were created, because the page "{FOLDER}" is in the trash. Restore it.'
            )
            return None
        return ParentPage(self._adapter, page.page_id)


def _is_trashed(page: Page | None) -> bool:
    return page is not None and page.state == TRASHED


def _link_to(review: Page, title: str) -> list[Block]:
    """The first line of the page: a link to the review, and whom the page is for."""
    address = review.url or f"https://www.notion.so/{review.page_id.replace('-', '')}"
    linked = runs(title)[: RUNS_PER_ARRAY - 2]
    for run in linked:
        run["text"]["link"] = {"url": address}
    text = [*linked, *runs(". Do not share this page with the customer.")]
    return [{"object": "block", "type": "paragraph", "paragraph": {"rich_text": text}}]
