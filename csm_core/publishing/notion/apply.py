"""Applies a plan: writes the intent before each page and the page id after it, a few pages at a time.

If a run is killed and repeated, the result is the same as without the interruption: intents are committed before any
request is sent, and the next plan searches for pages that an interrupted run may have created.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from csm_core.errors import NotionError
from csm_core.logging import get_logger
from csm_core.publishing.notion.adapter import NotionCSMAdapter
from csm_core.publishing.notion.assessments import ReadBack
from csm_core.publishing.notion.databases import ACCOUNT, HEALTH, SPECS
from csm_core.publishing.notion.ledger import (
    DONE,
    INTERRUPTED,
    PARTIAL,
    TRASHED,
    UNRELATED,
    Change,
    Intent,
    Ledger,
    Page,
)
from csm_core.publishing.notion.page_blocks import marks_of
from csm_core.publishing.notion.plan import CREATE, UPDATE, Plan, Step
from csm_core.publishing.notion.pulse_pages import PulsesRead
from csm_core.publishing.notion.retry import RequestRejected
from csm_core.publishing.notion.target_pages import TargetPage, account_of, opportunity_of, owner_email
from csm_core.publishing.opportunity_status import OPEN, OpportunityStatus

CONCURRENT = 6
# The number of pages marked as sent at a time, and the maximum number of pages to search for after a kill.
SEND_AHEAD = 60
# The number of outcomes per commit.
FLUSH = 25
# After Ctrl-C, requests in progress have this long to finish; the next run checks those that did not.
GRACE_SECONDS = 3.0
# How long the users that were read are used.
USERS_AGE = timedelta(days=1)

OnProgress = Callable[[int, int, float], None]

log = get_logger(__name__)


@dataclass(frozen=True)
class Link:
    """A link to a page that was created or updated."""

    kind: str
    action: str
    label: str
    url: str


@dataclass(frozen=True)
class Report:
    """The result of publishing: counts per kind and action, failures, and links to the pages.

    ``databases`` maps each kind to the address of its database, if users can open it in a browser. ``notes`` state what
    was left out although all pages were written. ``closed`` counts the opportunities that are not updated because users
    closed them; ``reopened`` are those opened again.
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
    pulses: PulsesRead | None = None
    changed_ids: Sequence[str] = ()
    notes: Sequence[str] = ()
    closed: int = 0
    reopened: Sequence[OpportunityStatus] = ()

    def counts(self) -> dict[str, int]:
        """The counts of all kinds, for ``sync.notion_runs``."""
        return {
            "created": sum(self.created.values()),
            "updated": sum(self.updated.values()),
            "skipped": sum(self.skipped.values()),
            "orphans": self.orphans,
            "trashed": self.trashed,
            "failed": len(self.failures),
            "requests": self.requests,
        }

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
            "closed_opportunities": self.closed,
            "reopened_opportunities": len(self.reopened),
            "failed": [{"kind": one.kind, "key": one.key, "error": one.error} for one in self.failures],
            "notes": list(self.notes),
            "removed_characters": self.removed_characters,
            "assessments": self.read_back.as_dict() if self.read_back else None,
            "pulses": self.pulses.as_dict() if self.pulses else None,
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
    """Write every step of the plan. If Notion rejects a step, the step is reported and the others continue.

    ``on_progress`` is called with the completed steps, all steps, and the estimated remaining seconds. If it is
    cancelled (Ctrl-C), it waits for requests in progress, records the written pages, and leaves the rest to the next
    run.
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
        ledger.end_run(run_id, report.counts(), status)
    if not report.failures:
        ledger.settle(plan.kinds)
    for spec in {spec.setting: spec for spec in map(SPECS.__getitem__, plan.kinds)}.values():
        ledger.sources.remember_windows(spec, adapter.reader.windows(spec))
    # A page that is not in the ledger now is in the journal; the next run searches for it by key.
    ledger.sources.mark_read(
        {spec.setting: spec for spec in map(SPECS.__getitem__, plan.kinds)}.values(), datetime.now(UTC)
    )
    if report.removed_characters:
        log.warning("control characters removed", characters=report.removed_characters, day=str(plan.day))
    return report


class _Writer:
    def __init__(
        self, plan: Plan, adapter: NotionCSMAdapter, ledger: Ledger, run_id: str, on_progress: OnProgress | None
    ) -> None:
        self._plan = plan
        self._adapter = adapter
        self._ledger = ledger
        self._run_id = run_id
        self._steps = sorted(plan.steps, key=lambda step: step.target.kind != HEALTH)
        self._accounts = plan.count(CREATE, HEALTH) + plan.count(UPDATE, HEALTH)
        self._end = 0
        self._account_page_ids: Mapping[str, str] = {}
        self._notes: list[str] = []
        self._on_progress = on_progress
        self._started = time.monotonic()
        self._next = 0
        self._announced = 0
        self._done = 0
        self._stopping = False
        self._pages: list[Page] = []
        self._begun: set[tuple[str, str]] = set()
        self._rejected_creates: list[tuple[str, str]] = []
        self._unwritten: list[Change] = []
        self._changes: list[Change] = []
        self._links: list[Link] = []
        self._reopened: list[OpportunityStatus] = []

    async def write(self) -> None:
        """Write all steps: intents are committed before the first request, outcomes in small batches."""
        self._ledger.intend(self._run_id, [_intent(step) for step in self._steps])
        for kind, key, message in self._plan.problems:
            self._change(Change(kind, key, "failed", None, message))
        try:
            await self._read_users()
            # The other pages are related to the pages of accounts.
            for end in (self._accounts, len(self._steps)):
                await self._write_until(end)
                self._flush()
                self._account_page_ids = self._ledger.account_page_ids() if end < len(self._steps) else {}
        finally:
            self._flush()

    async def _write_until(self, end: int) -> None:
        self._end = end
        tasks = [asyncio.create_task(self._work()) for _ in range(min(CONCURRENT, end - self._next))]
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

    async def _work(self) -> None:
        while self._next < self._end and not self._stopping:
            position = self._next
            self._next += 1
            if position >= self._announced:
                ahead = self._steps[position : min(position + SEND_AHEAD, self._end)]
                self._ledger.sending(self._run_id, [_intent(step) for step in ahead])
                self._announced = position + len(ahead)
            await self._step(self._steps[position])
            if len(self._unwritten) >= FLUSH:
                self._flush()

    def _flush(self) -> None:
        pages, changes, rejected = self._pages, self._unwritten, self._rejected_creates
        self._pages, self._unwritten, self._rejected_creates = [], [], []
        for kind in sorted({page.kind for page in pages}):
            self._ledger.store(SPECS[kind], [page for page in pages if page.kind == kind])
        for kind in sorted({kind for kind, _ in rejected}):
            self._ledger.close_rejected(kind, [key for record_kind, key in rejected if record_kind == kind])
        self._ledger.add_changes(self._run_id, changes)

    async def _step(self, step: Step) -> None:
        try:
            page = await self._create(step) if step.action == CREATE else await self._update(step)
        except RequestRejected as rejection:
            await self._record_rejection(step, rejection)
        except NotionError as error:
            self._change(_failed(step, str(error)))
        else:
            action = "created" if step.action == CREATE else "updated"
            self._pages.append(page)
            if step.reset:
                self._reopened.append(OpportunityStatus(opportunity_of(step.target.key), OPEN, step.target.day))
            self._links.append(Link(step.target.kind, action, step.target.label, page.url))
            self._change(Change(step.target.kind, step.target.key, action, page.page_id, None))
        self._report_progress()

    async def _create(self, step: Step) -> Page:
        target = step.target

        def on_begun(page: dict[str, Any]) -> None:
            self._begun.add((target.kind, target.key))
            url = page.get("url") or ""
            self._pages.append(Page(target.kind, target.key, str(page["id"]), "", PARTIAL, None, target.facts, url))

        page = await self._adapter.create(target, on_begun, account_page_id=self._account_page_of(target))
        return self._page(target, str(page["id"]), page.get("url") or "")

    async def _update(self, step: Step) -> Page:
        target, page = step.target, step.page
        if page is None:
            message = f"cannot update {target.key}: its page is unknown"
            raise NotionError(message)
        account_page_id = self._account_page_of(target)
        await self._adapter.update(target, page.page_id, page.marks, account_page_id=account_page_id, reset=step.reset)
        return self._page(target, page.page_id, page.url)

    def _page(self, target: TargetPage, page_id: str, url: str) -> Page:
        """A page that was written completely, for the ledger."""
        related = self._account_page_of(target) or ACCOUNT not in self._adapter.reader.present_now(target.spec)
        facts = target.facts if related else {**target.facts, UNRELATED: True}
        marks = marks_of(target.blocks)
        return Page(target.kind, target.key, page_id, target.content_hash, marks=marks, facts=facts, url=url)

    def _account_page_of(self, target: TargetPage) -> str:
        """The page of the account that a page is about; empty for the page of an account, and if there is none."""
        return self._account_page_ids.get(account_of(target.key), "")

    async def _read_users(self) -> None:
        """Read the users if a page to be written shows its owner, from the ledger if they were read in the last day."""
        if not any(owner_email(step.target) for step in self._steps):
            return
        users = self._ledger.sources.users(self._plan.owner_emails, datetime.now(UTC) - USERS_AGE)
        if users is None:
            try:
                read = await self._adapter.read_users()
            except NotionError as error:
                self._note(f"The owners are not shown as persons, because the users cannot be read: {error}")
                return
            if not read:
                self._note("The owners are not shown as persons, because the integration cannot read e-mail addresses")
                return
            users = {email: read[email] for email in self._plan.owner_emails if email in read}
            self._ledger.sources.remember_users(self._plan.owner_emails, users, datetime.now(UTC))
        self._adapter.users = users

    def _note(self, note: str) -> None:
        self._notes.append(note)
        log.warning("publishing note", note=note, day=str(self._plan.day))

    async def _record_rejection(self, step: Step, rejection: RequestRejected) -> None:
        """Record a failure, or a trashed page if a user moved the page to the trash."""
        target, page = step.target, step.page
        if step.action == UPDATE and page and rejection.status in (400, 404):
            try:
                gone = await self._adapter.is_gone(page.page_id)
            except NotionError:
                gone = False
            if gone:
                self._pages.append(
                    Page(target.kind, target.key, page.page_id, page.content_hash, TRASHED, page.marks, page.facts)
                )
                self._change(Change(target.kind, target.key, "trashed", page.page_id, None))
                return
        if step.action == CREATE and (target.kind, target.key) not in self._begun:
            self._rejected_creates.append((target.kind, target.key))
        self._change(_failed(step, str(rejection)))

    def _change(self, change: Change) -> None:
        self._changes.append(change)
        self._unwritten.append(change)

    def _report_progress(self) -> None:
        self._done += 1
        if self._on_progress:
            left = len(self._steps) - self._done
            by_pace = (time.monotonic() - self._started) / self._done * left
            self._on_progress(
                self._done, len(self._steps), max(by_pace, self._adapter.caller.limiter.seconds_for(left))
            )

    def report(self, seconds: float, address: str, databases: Mapping[str, str], read_back: ReadBack | None) -> Report:
        """The report on the steps completed so far."""
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
            links=tuple(sorted(self._links, key=lambda link: kinds.index(link.kind))),
            databases=databases,
            removed_characters=self._plan.removed_characters,
            read_back=read_back,
            changed_ids=tuple(self._plan.changed_ids),
            notes=tuple(self._notes),
            closed=len(self._plan.closed),
            reopened=tuple(self._reopened),
        )

    def _count(self, kind: str, action: str) -> int:
        return sum(1 for change in self._changes if (change.kind, change.action) == (kind, action))


def _intent(step: Step) -> Intent:
    return Intent(step.target.kind, step.target.key, step.action, step.target.day)


def _failed(step: Step, message: str) -> Change:
    return Change(step.target.kind, step.target.key, "failed", step.page.page_id if step.page else None, message)
