"""Writes a plan: the intent before each page, the page's id after it, a few pages at a time within the budget.

Killed at any instant and run again, it ends with the same pages as an undisturbed run: intents are durable before
anything is sent, and the next plan looks for what they may have made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from csm_core.errors import NotionError
from csm_core.logging import get_logger
from csm_core.publishing.notion.adapter import NotionCSMAdapter
from csm_core.publishing.notion.assessments import ReadBack
from csm_core.publishing.notion.databases import HEALTH, SPECS
from csm_core.publishing.notion.ledger import DONE, INTERRUPTED, PARTIAL, TRASHED, Change, Intent, Ledger, Page
from csm_core.publishing.notion.page_blocks import mark
from csm_core.publishing.notion.plan import CREATE, TITLES, UPDATE, Plan, Step, changed_id_lines
from csm_core.publishing.notion.retry import Refused
from csm_core.publishing.notion.target_pages import key_of_facts
from csm_core.system.terminal import printable

CONCURRENT = 6
# So many pages are marked as being sent at a time: after a kill, so many at most are looked for one by one.
SEND_AHEAD = 60
# Outcomes are committed so many at a time.
FLUSH = 25
# After Ctrl-C requests that are under way may end for so long; what did not is looked for by the next run.
GRACE_SECONDS = 3.0

OnProgress = Callable[[int, int, float], None]

log = get_logger(__name__)


@dataclass(frozen=True)
class Link:
    """A page that was created or updated, for people: what it is, and where it can be seen."""

    kind: str
    action: str
    label: str
    url: str


@dataclass(frozen=True)
class Report:
    """How a publication ended: counts per kind and action, what failed, and where the pages can be seen.

    ``databases`` are addresses by kind, of those that people can open.
    """

    run_id: str
    day: Any
    created: dict[str, int]
    updated: dict[str, int]
    skipped: dict[str, int]
    orphans: int
    trashed: int
    failures: Sequence[Change]
    requests: int
    seconds: float
    address: str = ""
    links: Sequence[Link] = ()
    databases: Mapping[str, str] = field(default_factory=dict[str, str])
    removed_characters: int = 0
    read_back: ReadBack | None = None
    changed_ids: Sequence[str] = ()

    def lines(self) -> list[str]:
        """The report for a person."""
        lines = [
            f"{'Notion' if number == 0 else '':<10} {TITLES[kind]:<18} created {self.created.get(kind, 0):>6,}   "
            f"updated {self.updated.get(kind, 0):>6,}   skipped {self.skipped.get(kind, 0):>6,}"
            for number, kind in enumerate(self.skipped)
        ]
        if self.trashed:
            lines.append(f"{'':<10} {_pages(self.trashed, 'was', 'were')} trashed by a person: not made again")
        if self.orphans:
            lines.append(f"{'':<10} {_pages(self.orphans, 'is', 'are')} not in the marts (any more): left alone")
        lines += changed_id_lines(self.changed_ids, f"{'':<10} ")
        if self.removed_characters:
            lines.append(f"{'':<10} {self.removed_characters:,} control characters were left out of the texts")
        lines += [f"{'':<10} {said}" for said in _read_lines(self.read_back)]
        lines += [
            f"{'':<10} FAILED {change.kind} {printable(change.key, 200)}: {printable(change.error or '', 600)}"
            for change in self.failures
        ]
        return lines

    def as_dict(self) -> dict[str, Any]:
        """The report for ``--json``."""
        return {
            "run_id": self.run_id,
            "day": str(self.day),
            "created": self.created,
            "updated": self.updated,
            "skipped": self.skipped,
            "orphans": self.orphans,
            "trashed": self.trashed,
            "changed_account_ids": list(self.changed_ids),
            "failed": [{"kind": one.kind, "key": one.key, "error": one.error} for one in self.failures],
            "removed_characters": self.removed_characters,
            "assessments": self.read_back.as_dict() if self.read_back else None,
            "requests": self.requests,
            "seconds": round(self.seconds, 3),
            "address": self.address,
        }


async def apply_plan(
    plan: Plan,
    adapter: NotionCSMAdapter,
    ledger: Ledger,
    *,
    run_id: str,
    address: str = "",
    databases: Mapping[str, str] | None = None,
    on_progress: OnProgress | None = None,
    read_back: ReadBack | None = None,
) -> Report:
    """Write every step of the plan. A step that is refused is reported; the others go on.

    ``on_progress`` is called with the steps done, all steps, and the seconds that are left, about. Cancelled (Ctrl-C),
    it lets what is under way end, notes what was written, and leaves the rest to the next run.
    """
    started = time.monotonic()
    writer = _Writer(plan, adapter, ledger, run_id, on_progress)
    ledger.begin_run(run_id, plan.day, datetime.now(UTC))
    status = INTERRUPTED
    try:
        await writer.write()
        status = DONE
    finally:
        report = writer.report(time.monotonic() - started, address, databases or {}, read_back)
        ledger.end_run(run_id, _counts(report), status)
    if not report.failures:
        ledger.settle(plan.kinds)
    for spec in {spec.setting: spec for spec in map(SPECS.__getitem__, plan.kinds)}.values():
        ledger.remember_windows(spec, adapter.windows(spec))
    # What is not in the ledger by now is in the journal, and looked for by its key.
    ledger.mark_read({spec.setting: spec for spec in map(SPECS.__getitem__, plan.kinds)}.values(), datetime.now(UTC))
    if report.removed_characters:
        log.warning("control characters left out", characters=report.removed_characters, day=str(plan.day))
    return report


def _pages(count: int, one: str, many: str) -> str:
    return f"1 page {one}" if count == 1 else f"{count:,} pages {many}"


def _read_lines(found: ReadBack | None) -> list[str]:
    if found is None:
        return []
    lines = [f"{found.new:,} new assessments by technical account managers were read"] if found.new else []
    if found.confirmed:
        lines.append(f"{found.confirmed:,} assessments by technical account managers still stand and were confirmed")
    lines += [
        f"Health Status {printable(said)!r} on {pages:,} pages is none of GREEN, AMBER, RED and was ignored"
        for said, pages in found.unknown.items()
    ]
    if found.unplaced:
        lines.append(f"Health Status of {found.unplaced:,} pages is of no known account, or of one with several pages")
    return lines


def _counts(report: Report) -> dict[str, int]:
    return {
        "created": sum(report.created.values()),
        "updated": sum(report.updated.values()),
        "skipped": sum(report.skipped.values()),
        "orphans": report.orphans,
        "trashed": report.trashed,
        "failed": len(report.failures),
        "requests": report.requests,
    }


class _Writer:
    def __init__(
        self, plan: Plan, adapter: NotionCSMAdapter, ledger: Ledger, run_id: str, on_progress: OnProgress | None
    ) -> None:
        self._plan = plan
        self._adapter = adapter
        self._ledger = ledger
        self._run_id = run_id
        self._steps = plan.steps
        self._on_progress = on_progress
        self._started = time.monotonic()
        self._next = 0
        self._announced = 0
        self._done = 0
        self._stopping = False
        self._pages: list[Page] = []
        self._begun: set[tuple[str, str]] = set()
        self._refusals: list[tuple[str, str]] = []
        self._unwritten: list[Change] = []
        self._changes: list[Change] = []
        self._links: list[Link] = []

    async def write(self) -> None:
        """Write all steps: intents are durable before the first request, outcomes soon after each."""
        self._ledger.intend(self._run_id, [_intent(step) for step in self._steps])
        for kind, key, said in self._plan.troubles:
            self._change(Change(kind, key, "failed", None, said))
        tasks = [asyncio.create_task(self._work()) for _ in range(min(CONCURRENT, len(self._steps)))]
        try:
            if tasks:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
        except BaseException:
            self._stopping = True
            await asyncio.wait(tasks, timeout=GRACE_SECONDS)
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._flush()

    async def _work(self) -> None:
        while self._next < len(self._steps) and not self._stopping:
            position = self._next
            self._next += 1
            if position >= self._announced:
                ahead = self._steps[position : position + SEND_AHEAD]
                self._ledger.sending(self._run_id, [_intent(step) for step in ahead])
                self._announced = position + len(ahead)
            await self._step(self._steps[position])
            if len(self._unwritten) >= FLUSH:
                self._flush()

    def _flush(self) -> None:
        pages, changes, refusals = self._pages, self._unwritten, self._refusals
        self._pages, self._unwritten, self._refusals = [], [], []
        for kind in sorted({page.kind for page in pages}):
            self._ledger.store(SPECS[kind], [page for page in pages if page.kind == kind])
        for kind in sorted({kind for kind, _ in refusals}):
            self._ledger.refused(kind, [key for of, key in refusals if of == kind])
        self._ledger.add_changes(self._run_id, changes)

    async def _step(self, step: Step) -> None:
        try:
            page = await self._create(step) if step.action == CREATE else await self._update(step)
        except Refused as refused:
            await self._refused(step, refused)
        except NotionError as error:
            self._change(_failed(step, str(error)))
        else:
            action = "created" if step.action == CREATE else "updated"
            self._pages.append(page)
            self._links.append(Link(step.item.kind, action, step.item.label, page.url))
            self._change(Change(step.item.kind, step.item.key, action, page.page_id, None))
        self._report_progress()

    async def _create(self, step: Step) -> Page:
        item = step.item
        properties = await item.properties(self._adapter)
        if item.kind == HEALTH:
            properties = await self._adapter.account_properties(item.account_id, item.label, properties)

        def on_begun(page: dict[str, Any]) -> None:
            self._begun.add((item.kind, item.key))
            url = page.get("url") or ""
            self._pages.append(Page(item.kind, item.key, str(page["id"]), "", PARTIAL, None, item.facts, url))

        page = await self._adapter.new_page(
            item.spec,
            properties,
            item.blocks,
            lambda facts: key_of_facts(item.kind, facts) == item.key,
            on_begun,
        )
        return _page(step, str(page["id"]), page.get("url") or "")

    async def _update(self, step: Step) -> Page:
        item, known = step.item, step.page
        if known is None:
            message = f"an update of {item.key} without a page"
            raise NotionError(message)
        await self._adapter.update_page(known.page_id, await item.properties(self._adapter))
        if item.blocks:
            await self._adapter.blocks.revise(known.page_id, item.blocks, known.marks)
        return _page(step, known.page_id, known.url)

    async def _refused(self, step: Step, refused: Refused) -> None:
        """Final for this record, unless the page turns out to be in the trash: that is a person's wish."""
        item, known = step.item, step.page
        if step.action == UPDATE and known and refused.status in (400, 404):
            try:
                gone = await self._adapter.is_gone(known.page_id)
            except NotionError:
                gone = False
            if gone:
                self._pages.append(
                    Page(item.kind, item.key, known.page_id, known.content_hash, TRASHED, known.marks, known.facts)
                )
                self._change(Change(item.kind, item.key, "trashed", known.page_id, None))
                return
        if step.action == CREATE and (item.kind, item.key) not in self._begun:
            self._refusals.append((item.kind, item.key))
        self._change(_failed(step, str(refused)))

    def _change(self, change: Change) -> None:
        self._changes.append(change)
        self._unwritten.append(change)

    def _report_progress(self) -> None:
        self._done += 1
        if self._on_progress:
            left = len(self._steps) - self._done
            by_pace = (time.monotonic() - self._started) / self._done * left
            self._on_progress(self._done, len(self._steps), max(by_pace, self._adapter.caller.budget.seconds_for(left)))

    def report(self, seconds: float, address: str, databases: Mapping[str, str], read_back: ReadBack | None) -> Report:
        """What was done until now."""
        kinds = self._plan.kinds
        return Report(
            run_id=self._run_id,
            day=self._plan.day,
            created={kind: self._count(kind, "created") for kind in kinds},
            updated={kind: self._count(kind, "updated") for kind in kinds},
            skipped=dict(self._plan.skipped),
            orphans=len(self._plan.orphans),
            trashed=len(self._plan.trashed) + sum(self._count(kind, "trashed") for kind in kinds),
            failures=tuple(change for change in self._changes if change.action == "failed"),
            requests=self._adapter.caller.sent,
            seconds=seconds,
            address=address,
            links=tuple(self._links),
            databases=databases,
            removed_characters=self._plan.removed_characters,
            read_back=read_back,
            changed_ids=tuple(self._plan.changed_ids),
        )

    def _count(self, kind: str, action: str) -> int:
        return sum(1 for change in self._changes if (change.kind, change.action) == (kind, action))


def _intent(step: Step) -> Intent:
    return Intent(step.item.kind, step.item.key, step.action, step.item.day)


def _failed(step: Step, said: str) -> Change:
    return Change(step.item.kind, step.item.key, "failed", step.page.page_id if step.page else None, said)


def _page(step: Step, page_id: str, url: str) -> Page:
    item = step.item
    marks = tuple(mark(block) for block in item.blocks)
    return Page(item.kind, item.key, page_id, item.content_hash, marks=marks, facts=item.facts, url=url)
