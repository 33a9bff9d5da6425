"""Writes a plan: the intent before each page, the page's id after it, a few pages at a time within the budget.

Killed at any instant and run again, it ends with the same pages as an undisturbed run: intents are durable before
anything is sent, and the next plan looks for what they may have made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from csm_core.errors import NotionError
from csm_core.notion.desired import HEALTH, SPECS, key_of_facts
from csm_core.notion.ledger import PARTIAL, TRASHED, Change, Ledger, Page
from csm_core.notion.plan import CREATE, TITLES, UPDATE, Plan, Step
from csm_core.notion.retry import Refused
from csm_core.notion_adapter import NotionCSMAdapter, mark

CONCURRENT = 6
BATCH = 60

OnProgress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Report:
    """How a publication ended: counts per kind and action, what failed, and where the pages can be seen."""

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
    pages: Sequence[str] = field(default_factory=tuple)

    def lines(self) -> list[str]:
        """The report for a person."""
        lines = [
            f"{'Notion' if first else '':<10} {TITLES[kind]:<18} created {self.created.get(kind, 0):>6,}   "
            f"updated {self.updated.get(kind, 0):>6,}   skipped {self.skipped.get(kind, 0):>6,}"
            for first, kind in ((number == 0, kind) for number, kind in enumerate(self.skipped))
        ]
        if self.trashed:
            lines.append(f"{'':<10} {self.trashed:,} pages were trashed by a person and are not made again")
        if self.orphans:
            lines.append(f"{'':<10} {self.orphans:,} account pages are not in the marts and were left alone")
        lines += [f"{'':<10} FAILED {change.kind} {change.key}: {change.error}" for change in self.failures]
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
            "failed": [{"kind": one.kind, "key": one.key, "error": one.error} for one in self.failures],
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
    on_progress: OnProgress | None = None,
) -> Report:
    """Write every step of the plan. A step that is refused is reported; the others go on.

    ``on_progress`` is called with the steps done, all steps, and the seconds that are left, about.
    """
    started = time.monotonic()
    started_at = datetime.now(UTC)
    writer = _Writer(adapter, ledger, run_id, len(plan.steps), on_progress)
    for start in range(0, len(plan.steps), BATCH):
        await writer.write(plan.steps[start : start + BATCH])
    for kind, key, said in plan.troubles:
        writer.changes.append(Change(kind, key, "failed", None, said))
    failures = [change for change in writer.changes if change.action == "failed"]
    if not failures:
        specs = {SPECS[kind].setting: SPECS[kind] for kind in plan.kinds}
        ledger.mark_read(specs.values(), datetime.now(UTC))
        for kind in plan.kinds:
            ledger.resolve(kind, ledger.unresolved(kind))
    trashed = len(plan.trashed) + sum(1 for change in writer.changes if change.action == "trashed")
    report = Report(
        run_id=run_id,
        day=plan.day,
        created=writer.counts(plan.kinds, "created"),
        updated=writer.counts(plan.kinds, "updated"),
        skipped=dict(plan.skipped),
        orphans=len(plan.orphans),
        trashed=trashed,
        failures=tuple(failures),
        requests=adapter.caller.sent,
        seconds=time.monotonic() - started,
        address=address,
        pages=tuple(change.page_id for change in writer.changes if change.page_id),
    )
    ledger.record_run(
        run_id,
        plan.day,
        started_at,
        {
            "created": sum(report.created.values()),
            "updated": sum(report.updated.values()),
            "skipped": sum(report.skipped.values()),
            "orphans": report.orphans,
            "trashed": report.trashed,
            "failed": len(failures),
            "requests": report.requests,
        },
        writer.changes,
    )
    return report


class _Writer:
    def __init__(
        self, adapter: NotionCSMAdapter, ledger: Ledger, run_id: str, steps: int, on_progress: OnProgress | None
    ) -> None:
        self._adapter = adapter
        self._ledger = ledger
        self._run_id = run_id
        self._steps = steps
        self._done = 0
        self._started = time.monotonic()
        self._on_progress = on_progress
        self._room = asyncio.Semaphore(CONCURRENT)
        self.changes: list[Change] = []

    def counts(self, kinds: Sequence[str], action: str) -> dict[str, int]:
        """Changes of an action, by kind."""
        return {
            kind: sum(1 for change in self.changes if change.kind == kind and change.action == action) for kind in kinds
        }

    async def write(self, steps: Sequence[Step]) -> None:
        """Write a batch: its intents are durable before the first request, its outcomes after the last."""
        self._ledger.intend(self._run_id, [(step.item.kind, step.item.key, step.action) for step in steps])
        tasks = [asyncio.create_task(self._step(step)) for step in steps]
        outcomes: list[Page] = []
        try:
            for task in asyncio.as_completed(tasks):
                page = await task
                if page:
                    outcomes.append(page)
        finally:
            # On Ctrl-C, too: what is written is known, and what is under way is cut off.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._store(steps, outcomes)

    def _store(self, steps: Sequence[Step], pages: Sequence[Page]) -> None:
        specs = {step.item.kind: step.item.spec for step in steps}
        for kind, spec in specs.items():
            self._ledger.store(spec, [page for page in pages if page.kind == kind])

    async def _step(self, step: Step) -> Page | None:
        async with self._room:
            try:
                page = await self._create(step) if step.action == CREATE else await self._update(step)
                action = "created" if step.action == CREATE else "updated"
                self.changes.append(Change(step.item.kind, step.item.key, action, page.page_id, None))
            except Refused as refused:
                page = self._refused(step, refused)
            except NotionError as error:
                self.changes.append(Change(step.item.kind, step.item.key, "failed", None, str(error)))
                page = None
            self._report_progress()
            return page

    async def _create(self, step: Step) -> Page:
        item = step.item
        properties = await item.properties(self._adapter)
        if item.kind == HEALTH:
            properties = await self._adapter.account_properties(item.account_id, item.label, properties)
        page_id = await self._adapter.create_page(
            item.spec, properties, item.blocks, lambda facts: key_of_facts(item.kind, facts) == item.key
        )
        return self._page(step, page_id)

    async def _update(self, step: Step) -> Page:
        item, known = step.item, step.page
        if known is None:
            message = f"an update of {item.key} without a page"
            raise NotionError(message)
        await self._adapter.update_page(known.page_id, await item.properties(self._adapter))
        if item.blocks and known.state == PARTIAL:
            await self._adapter.complete_blocks(known.page_id, item.blocks)
        elif item.blocks:
            await self._adapter.replace_blocks(known.page_id, known.marks, item.blocks)
        return self._page(step, known.page_id)

    def _page(self, step: Step, page_id: str) -> Page:
        item = step.item
        marks = tuple(mark(block) for block in item.blocks)
        return Page(item.kind, item.key, page_id, item.content_hash, marks=marks, facts=item.facts)

    def _refused(self, step: Step, refused: Refused) -> Page | None:
        item, known = step.item, step.page
        if step.action == UPDATE and known and refused.gone:
            self.changes.append(Change(item.kind, item.key, "trashed", known.page_id, str(refused)))
            return Page(item.kind, item.key, known.page_id, known.content_hash, TRASHED, known.marks, known.facts)
        self.changes.append(Change(item.kind, item.key, "failed", known.page_id if known else None, str(refused)))
        return None

    def _report_progress(self) -> None:
        self._done += 1
        if self._on_progress:
            spent = time.monotonic() - self._started
            self._on_progress(self._done, self._steps, spent / self._done * (self._steps - self._done))
