"""Images of the score over 90 days on account pages (``notion.score_chart``).

The ledger has the block of each image with a hash of what it shows: an equal image is neither drawn nor uploaded again.
A block that a user deleted is not created again.
See https://developers.notion.com/guides/data-apis/working-with-files-and-media
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
from notion_client import AsyncClient

from csm_core.analysts.drawing import score_png
from csm_core.errors import NotionError
from csm_core.publishing.notion.adapter import NotionCSMAdapter
from csm_core.publishing.notion.apply import Report
from csm_core.publishing.notion.databases import ACCOUNTS, CHART
from csm_core.publishing.notion.ledger import DONE, INTERRUPTED, TRASHED, WRITTEN, Change, Ledger, Page
from csm_core.publishing.notion.plan import CREATE, SKIP, UPDATE
from csm_core.publishing.notion.retry import RequestRejected
from csm_core.publishing.notion.rich_text import Block, plain, runs
from csm_core.publishing.notion.target_pages import key_of

DAYS = 90
# How many images are drawn and uploaded at a time.
CONCURRENT = 4
# The beginning of the caption identifies the block if the ledger was lost.
_CAPTION = "CSM Health Score from "
_HASH_VERSION = "1:"
_FILE, _TYPE = "score.png", "image/png"


@dataclass(frozen=True)
class ScoreChart:
    """The scores of an account up to a day, oldest first; days without a score are left out."""

    account_id: str
    days: tuple[date, ...]
    scores: tuple[float, ...]
    green_threshold: float
    amber_threshold: float

    @property
    def key(self) -> str:
        """The key in the ledger."""
        return key_of(self.account_id)

    @property
    def caption(self) -> str:
        """The text below the image, which is also its alternative text."""
        return (
            f"{_CAPTION}{self.days[0]} ({self.scores[0]:.1f}) to {self.days[-1]} ({self.scores[-1]:.1f}), "
            f"lowest {min(self.scores):.1f}, highest {max(self.scores):.1f}."
        )

    @property
    def content_hash(self) -> str:
        """A hash of what the image shows."""
        levels = [self.green_threshold, self.amber_threshold]
        content = json.dumps([[str(day) for day in self.days], self.scores, levels])
        return _HASH_VERSION + hashlib.sha256(content.encode()).hexdigest()

    def draw(self) -> bytes:
        """The image as PNG; equal charts have equal bytes."""
        levels = {
            f"GREEN from {self.green_threshold:g}": self.green_threshold,
            f"AMBER from {self.amber_threshold:g}": self.amber_threshold,
        }
        return score_png(self.days, self.scores, levels)


def load_charts(connection: duckdb.DuckDBPyConnection, day: date) -> list[ScoreChart]:
    """The charts of the accounts that have a score on ``day``, ordered by account."""
    rows = connection.execute(
        "select account_id, list(as_of_date order by as_of_date), list(round(score, 1) order by as_of_date), "
        "max_by(green_threshold, as_of_date), max_by(amber_threshold, as_of_date) "
        "from marts.csm_health_scores where as_of_date between $first and $day "
        "group by account_id having max(as_of_date) = $day order by account_id",
        {"first": day - timedelta(days=DAYS - 1), "day": day},
    ).fetchall()
    return [
        ScoreChart(account_id, tuple(days), tuple(scores), float(green), float(amber))
        for account_id, days, scores, green, amber in rows
    ]


def planned_actions(ledger: Ledger, charts: Sequence[ScoreChart], created_accounts: Collection[str]) -> dict[str, int]:
    """The number of images that publishing would create, update and skip.

    ``created_accounts`` are the accounts whose pages it would create before.
    """
    pages, known = ledger.account_page_ids(), ledger.pages(CHART)
    actions: Counter[str] = Counter()
    for chart in charts:
        page_id = pages.get(chart.account_id)
        own = _known_on(known, chart, page_id)
        if page_id is None:
            actions[CREATE if chart.account_id in created_accounts else SKIP] += 1
        elif own is None:
            actions[CREATE] += 1
        else:
            actions[UPDATE if _is_changed(own, chart) else SKIP] += 1
    return {action: actions[action] for action in (CREATE, UPDATE, SKIP)}


def _known_on(known: Mapping[str, Page], chart: ScoreChart, page_id: str | None) -> Page | None:
    """The image of an account in the ledger, if it is on this page."""
    own = known.get(chart.key)
    return own if own and own.facts.get("page_id") == page_id else None


def _is_changed(own: Page, chart: ScoreChart) -> bool:
    return own.state != TRASHED and own.content_hash != chart.content_hash


class ChartPublication:
    """Puts the charts of a day on the pages of the accounts, after these pages are written."""

    def __init__(self, client: AsyncClient, adapter: NotionCSMAdapter, ledger: Ledger, day: date, run_id: str) -> None:
        self._client = client
        self._adapter = adapter
        self._ledger = ledger
        self._day = day
        self._run_id = run_id
        self._pages = ledger.account_page_ids()
        self._known = ledger.pages(CHART)

    async def publish(self, charts: Sequence[ScoreChart]) -> Report:
        """Write the images that changed. If nothing changed, no request is sent."""
        started, sent_before = time.monotonic(), self._adapter.caller.sent
        due = [chart for chart in charts if self._is_due(chart)]
        changes: list[Change] = []
        limit = asyncio.Semaphore(CONCURRENT)

        async def write(chart: ScoreChart) -> None:
            async with limit:
                changes.append(await self._written(chart))

        def report() -> Report:
            count = Counter(change.action for change in changes)
            return Report(
                run_id=self._run_id,
                day=self._day,
                created={CHART: count["created"]},
                updated={CHART: count["updated"]},
                skipped={CHART: len(charts) - len(due)},
                orphans=0,
                trashed=0,
                failures=[change for change in changes if change.action == "failed"],
                requests=self._adapter.caller.sent - sent_before,
                seconds=time.monotonic() - started,
            )

        if not due:
            return report()
        self._ledger.begin_run(self._run_id, self._day, datetime.now(UTC))
        status = INTERRUPTED
        try:
            await asyncio.gather(*map(write, due))
            status = DONE
        finally:
            self._ledger.add_changes(self._run_id, changes)
            self._ledger.end_run(self._run_id, report().counts(), status)
        return report()

    async def _written(self, chart: ScoreChart) -> Change:
        """Write one image; returns what was done."""
        page_id = self._pages[chart.account_id]
        try:
            page = await self._write(chart, page_id)
        except NotionError as error:
            return Change(CHART, chart.key, "failed", page_id, str(error))
        self._ledger.store(ACCOUNTS, [page])
        if page.state == TRASHED:
            return Change(CHART, chart.key, "trashed", page_id, None)
        is_known = _known_on(self._known, chart, page_id) is not None
        return Change(CHART, chart.key, "updated" if is_known else "created", page_id, None)

    def _is_due(self, chart: ScoreChart) -> bool:
        page_id = self._pages.get(chart.account_id)
        known = _known_on(self._known, chart, page_id)
        return bool(page_id) and (known is None or _is_changed(known, chart))

    async def _write(self, chart: ScoreChart, page_id: str) -> Page:
        known = _known_on(self._known, chart, page_id)
        block_id = known.page_id if known else await self._find(page_id)
        page = Page(CHART, chart.key, block_id or "", chart.content_hash, WRITTEN, facts={"page_id": page_id})
        image = {"file_upload": {"id": await self._upload(chart)}, "caption": runs(chart.caption)}
        if block_id:
            try:
                await self._adapter.caller.repeat(
                    lambda: self._client.blocks.update(block_id, image=image)  # pyright: ignore[reportReturnType]
                )
            except RequestRejected as rejected:
                if not rejected.gone:
                    raise
                return replace(page, state=TRASHED)
            return page
        return replace(page, page_id=await self._append(page_id, {"type": "image", "image": image}))

    async def _upload(self, chart: ScoreChart) -> str:
        """Upload the image; returns the id of the upload. Notion deletes an upload that is not attached in an hour."""
        content = await asyncio.to_thread(chart.draw)
        upload = await self._adapter.caller.repeat(
            lambda: self._client.file_uploads.create(filename=_FILE, content_type=_TYPE)  # pyright: ignore[reportReturnType]
        )
        upload_id = str(upload["id"])

        async def find_sent() -> dict[str, Any] | None:
            found = await self._adapter.caller.repeat(
                lambda: self._client.file_uploads.retrieve(upload_id)  # pyright: ignore[reportReturnType]
            )
            return found if found.get("status") == "uploaded" else None

        await self._adapter.caller.write_once(
            lambda: self._client.file_uploads.send(upload_id, file=(_FILE, content, _TYPE)),  # pyright: ignore[reportArgumentType]
            find_sent,
            lambda _: None,
        )
        return upload_id

    async def _append(self, page_id: str, block: Block) -> str:
        async def find_written() -> dict[str, Any] | None:
            block_id = await self._find(page_id)
            return {"results": [{"id": block_id}]} if block_id else None

        answer = await self._adapter.caller.write_once(
            lambda: self._client.blocks.children.append(page_id, children=[block]),  # pyright: ignore[reportArgumentType]
            find_written,
            lambda body: (
                {"results": [{"id": one} for one in body.get("committed_child_ids", ())]}
                if body.get("committed_child_ids")
                else None
            ),
        )
        return str(answer["results"][0]["id"])

    async def _find(self, page_id: str) -> str | None:
        """The image that an earlier run put on a page and did not record."""
        for block in await self._adapter.blocks.children(page_id):
            if block["type"] == "image" and plain(block["image"].get("caption", [])).startswith(_CAPTION):
                return str(block["id"])
        return None
