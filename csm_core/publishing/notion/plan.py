"""Plans publishing: compares the target pages of a day with the ledger and with the pages in Notion. Read-only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import duckdb

from csm_core.config import RoiMetric
from csm_core.publishing import opportunity_status, qbr
from csm_core.publishing.notion import day_pages, health_records, known_pages
from csm_core.publishing.notion.adapter import NotionCSMAdapter
from csm_core.publishing.notion.assessments import Status, statuses_of
from csm_core.publishing.notion.databases import (
    ACCOUNTS,
    EXPANSION,
    HEALTH,
    KINDS,
    NOTES,
    QBR,
    RECORD,
    SPECS,
)
from csm_core.publishing.notion.ledger import PARTIAL, TRASHED, UNRELATED, WRITTEN, Ledger, Page
from csm_core.publishing.notion.pulse_pages import PulseReading, readings_of
from csm_core.publishing.notion.target_pages import (
    TargetPage,
    account_of,
    is_current_hash,
    key_of_facts,
    opportunity_of,
    owner_email,
)
from csm_core.publishing.opportunity_status import DEFAULT_REOPEN_DAYS, OpportunityKey, OpportunityStatus
from csm_core.warehouse.day_status import require_counted

CREATE, UPDATE, SKIP = "create", "update", "skip"
# How many days later runs retry a review that could not be published.
LEFT_OVER_DAYS = 31


@dataclass(frozen=True)
class Step:
    """One page to write: the action, the target page, and the page in the ledger.

    With ``reset``, an update also sets properties that users own to their initial values.
    """

    action: str
    target: TargetPage
    page: Page | None = None
    reset: bool = False


@dataclass(frozen=True)
class Plan:
    """The changes that publishing ``day`` would make.

    ``orphans`` are pages in Notion without a row in the marts; they are not changed. ``trashed`` are pages that a user
    moved to the trash. ``changed_ids`` are known pages on which a user emptied or changed ``account_id``; they are
    updated for the accounts that they were created for. ``problems`` are pages that cannot be written (kind, key,
    reason), ``drift`` lists problems of the databases, ``statuses`` are the statuses that technical account
    managers selected on account pages, and ``pulses`` is what all account pages show of pulses. ``owner_emails`` are
    the e-mail addresses of the owners of all accounts.
    ``closed`` are opportunities that users closed, which are not updated, and ``opportunity_statuses`` are the statuses
    that users changed since the last run. ``portfolio_page`` is create, update or skip; empty if it is not published.
    ``noted_reviews`` are the reviews whose internal notes have a page of their own, and ``notes_actions`` counts these
    pages by action; None if internal notes have no pages of their own. ``chart_actions`` counts the images of scores by
    action; None if account pages have none.
    """

    day: date
    kinds: tuple[str, ...]
    steps: Sequence[Step]
    skipped: dict[str, int]
    orphans: Sequence[str] = ()
    trashed: Sequence[str] = ()
    changed_ids: Sequence[str] = ()
    problems: Sequence[tuple[str, str, str]] = ()
    drift: Sequence[str] = ()
    owner_emails: frozenset[str] = frozenset()
    removed_characters: int = 0
    statuses: Sequence[Status] = ()
    pulses: Sequence[PulseReading] = ()
    closed: Sequence[str] = ()
    opportunity_statuses: Sequence[OpportunityStatus] = ()
    portfolio_page: str = ""
    noted_reviews: Sequence[TargetPage] = ()
    notes_actions: Mapping[str, int] | None = None
    chart_actions: Mapping[str, int] | None = None

    def count(self, action: str, kind: str | None = None) -> int:
        """The number of steps with an action, of one kind or of all kinds."""
        return sum(1 for step in self.steps if step.action == action and kind in (None, step.target.kind))

    def as_dict(self) -> dict[str, Any]:
        """The plan for ``--json``."""
        return {
            "day": self.day.isoformat(),
            "steps": [
                {"action": step.action, "kind": step.target.kind, "key": step.target.key, "label": step.target.label}
                for step in self.steps
            ],
            "skipped": self.skipped,
            "orphans": list(self.orphans),
            "trashed": list(self.trashed),
            "changed_account_ids": list(self.changed_ids),
            "closed_opportunities": list(self.closed),
            "cannot_be_written": [{"kind": kind, "key": key, "reason": reason} for kind, key, reason in self.problems],
            "drift": list(self.drift),
            "portfolio_page": self.portfolio_page or None,
            "internal_notes": None if self.notes_actions is None else dict(self.notes_actions),
            "score_images": None if self.chart_actions is None else dict(self.chart_actions),
            "removed_characters": self.removed_characters,
        }


async def make_plan(
    connection: duckdb.DuckDBPyConnection,
    adapter: NotionCSMAdapter,
    ledger: Ledger,
    day: date,
    *,
    kinds: Sequence[str] = KINDS,
    create_missing_accounts: bool = True,
    reviews_since: date | None = None,
    reviews_until: date | None = None,
    reopen_days: int = DEFAULT_REOPEN_DAYS,
    qbr_internal: str = day_pages.TOGGLE,
    roi: Mapping[str, RoiMetric] = qbr.NO_METRICS,
) -> Plan:
    """Compare the marts of ``day`` with the ledger and one paginated read of each database. Writes no page.

    If a database was read before, only pages edited since then are read. Reviews of the days from ``reviews_since`` to
    ``reviews_until`` (default: ``day`` only) are planned, and reviews of the days before that an interrupted run did
    not publish. An opportunity that a user closed is opened again after ``reopen_days``. Raises InputError for a held
    or unfinished day, ConfigError for a database without an id, NotionError for a database that cannot be read.
    """
    require_counted(connection, day)
    targets = day_pages.load(connection, day, [kind for kind in kinds if kind not in (QBR, RECORD)])
    if QBR in kinds:
        targets[QBR] = _reviews(connection, ledger, reviews_since or day, reviews_until or day, qbr_internal, roi)
    builder = _Builder(ledger, create_missing_accounts, day, reopen_days)
    statuses: Sequence[Status] = ()
    pulses: Sequence[PulseReading] = ()
    status_changes: Sequence[OpportunityStatus] = ()
    for kind in kinds:
        await known_pages.resolve(adapter, ledger, SPECS[kind])
        remote = await known_pages.read(adapter, ledger, kind)
        remote, changed = known_pages.with_written_ids(kind, remote, ledger.pages(kind))
        builder.changed_ids += changed
        if kind == HEALTH:
            statuses = statuses_of(remote)
            pulses = readings_of(remote, adapter.reader.present_now(SPECS[kind]))
            present = await adapter.reader.present(SPECS[kind]) if targets[kind] else frozenset()
            targets[kind] = [target.limited_to(present) for target in targets[kind]]
            builder.add_accounts(targets[kind], ledger.pages(kind), remote)
        else:
            known = known_pages.adopt(ledger, kind, remote)
            not_due = 0
            if kind == RECORD:
                targets[kind], not_due = health_records.load_due(connection, day, known)
            elif kind == EXPANSION:
                recorded = opportunity_status.current(connection)
                status_changes = opportunity_status.changes(recorded, known_pages.statuses_found(remote, known), day)
                builder.opportunities = recorded | {one.key: one for one in status_changes}
            builder.add_pages(kind, targets[kind], known)
            builder.skipped[kind] += not_due
            if any(step.target.kind == kind for step in builder.steps):
                # Whether the database has the relation to accounts.
                await adapter.reader.present(SPECS[kind])
    return Plan(
        day=day,
        kinds=tuple(kinds),
        steps=tuple(builder.steps),
        skipped=builder.skipped,
        orphans=tuple(builder.orphans),
        trashed=tuple(builder.trashed),
        changed_ids=tuple(builder.changed_ids),
        problems=tuple(builder.problems),
        removed_characters=sum(step.target.removed for step in builder.steps),
        statuses=statuses,
        pulses=pulses,
        owner_emails=frozenset(email for target in targets.get(HEALTH, ()) if (email := owner_email(target))),
        closed=tuple(builder.closed),
        opportunity_statuses=tuple(status_changes),
        noted_reviews=tuple({one.key: one for one in reversed(targets.get(QBR, ())) if one.notes}.values()),
    )


def _reviews(
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    first: date,
    last: date,
    qbr_internal: str,
    roi: Mapping[str, RoiMetric],
) -> list[TargetPage]:
    """The reviews of some days and the unpublished reviews of earlier days; the latest review of each page.

    A review is also unpublished if the page of its internal notes is.
    """
    unpublished = ledger.left_over(QBR, last, LEFT_OVER_DAYS)
    if qbr_internal == day_pages.NOTES_PAGE:
        for of_day, keys in ledger.left_over(NOTES, last, LEFT_OVER_DAYS).items():
            unpublished[of_day] = unpublished.get(of_day, set()) | keys
    due = qbr.review_days(connection, first, last)
    reviews: list[TargetPage] = []
    seen: set[str] = set()
    for day in sorted({*due, *unpublished}, reverse=True):
        wanted = None if day in due else unpublished[day]
        targets = [
            target
            for target in day_pages.load(connection, day, [QBR], qbr_internal=qbr_internal, roi=roi)[QBR]
            if target.key not in seen and (wanted is None or target.key in wanted)
        ]
        reviews += targets
        seen.update(target.key for target in targets)
    return reviews


class _Builder:
    def __init__(self, ledger: Ledger, create_missing_accounts: bool, day: date, reopen_days: int) -> None:
        self._ledger = ledger
        self._create_missing = create_missing_accounts
        self._day = day
        self._reopen_days = reopen_days
        self.opportunities: Mapping[OpportunityKey, OpportunityStatus] = {}
        self.closed: list[str] = []
        self.steps: list[Step] = []
        self.skipped: dict[str, int] = {}
        self.orphans: list[str] = []
        self.trashed: list[str] = []
        self.changed_ids: list[str] = []
        self.problems: list[tuple[str, str, str]] = []

    def add_accounts(
        self, targets: Sequence[TargetPage], known: Mapping[str, Page], remote: Sequence[Mapping[str, Any]]
    ) -> None:
        """Add the health updates; ``remote`` are all account pages in Notion."""
        self.skipped[HEALTH] = 0
        present: dict[str, list[Mapping[str, Any]]] = {}
        for facts in remote:
            present.setdefault(key_of_facts(HEALTH, facts), []).append(facts)
        wanted = {target.key for target in targets}
        self.orphans += sorted(f"account {account_of(key)}" for key in present if account_of(key) and key not in wanted)
        adopted: list[Page] = []
        uncertain = self._ledger.interrupted(HEALTH)
        for target in self._once(targets):
            pages, page = present.get(target.key, []), known.get(target.key)
            if len(pages) > 1:
                ids = ", ".join(str(facts["id"]) for facts in pages)
                self.problems.append(
                    (target.kind, target.key, f"the account has {len(pages)} pages; keep one of them: {ids}")
                )
            elif pages:
                self._existing_account(target, None if target.key in uncertain else page, pages[0], adopted)
            elif page:
                # The read was complete, so a known page that is missing was trashed, or is no longer shared.
                self.trashed.append(target.label)
                if page.state != TRASHED:
                    adopted.append(replace(page, state=TRASHED))
            elif self._create_missing:
                self.steps.append(Step(CREATE, target))
            else:
                self.problems.append((target.kind, target.key, "the account has no page in Notion"))
        self._ledger.store(ACCOUNTS, adopted)

    def _existing_account(
        self, target: TargetPage, page: Page | None, facts: Mapping[str, Any], adopted: list[Page]
    ) -> None:
        known = page is not None and page.page_id == facts["id"] and page.state != TRASHED
        if page and known and is_current_hash(page.content_hash):
            same = page.content_hash == target.content_hash
        else:
            same = target.matches(facts)
            if same:
                adopted.append(_page(target, facts))
        if same:
            self.skipped[target.kind] += 1
        else:
            self.steps.append(Step(UPDATE, target, _page(target, facts)))

    def add_pages(self, kind: str, targets: Sequence[TargetPage], known: Mapping[str, Page]) -> None:
        """Add due records, reviews or opportunities; ``known`` are the pages of the ledger and the current read."""
        self.skipped[kind] = 0
        uncertain = self._ledger.interrupted(kind)
        to_relate = self._pages_to_relate(known)
        for target in self._once(targets):
            page = known.get(target.key)
            if page and target.key in uncertain and page.state == WRITTEN:
                page = replace(page, state=PARTIAL, marks=None)
            status = self._status(target.kind, target.key)
            if page and page.state == TRASHED:
                self.trashed.append(target.label)
            elif page and status and status.is_closed:
                if status.may_reopen(self._day, self._reopen_days):
                    self.steps.append(Step(UPDATE, target, page, reset=True))
                else:
                    self.closed.append(target.label)
                    self.skipped[kind] += 1
            elif page is None:
                self.steps.append(Step(CREATE, target))
            elif page.content_hash == target.content_hash and page.state == WRITTEN and page.key not in to_relate:
                self.skipped[kind] += 1
            else:
                self.steps.append(Step(UPDATE, target, page))
        if kind == EXPANSION:
            open_now = {target.key for target in targets}
            self.orphans += sorted(
                "opportunity " + " ".join(part for part in json.loads(key) if part)
                for key, page in known.items()
                if key not in open_now
                and page.state != TRASHED
                and not ((status := self._status(kind, key)) and status.is_closed)
            )

    def _pages_to_relate(self, known: Mapping[str, Page]) -> set[str]:
        """The keys of pages that were written before the page of their account existed, which exists now."""
        unrelated = [key for key, page in known.items() if page.facts.get(UNRELATED) is True]
        if not unrelated:
            return set()
        creates = [step for step in self.steps if step.target.kind == HEALTH and step.action == CREATE]
        accounts = self._ledger.account_page_ids().keys() | {account_of(step.target.key) for step in creates}
        return {key for key in unrelated if account_of(key) in accounts}

    def _status(self, kind: str, key: str) -> OpportunityStatus | None:
        return self.opportunities.get(opportunity_of(key)) if kind == EXPANSION else None

    def _once(self, targets: Sequence[TargetPage]) -> list[TargetPage]:
        first: dict[str, TargetPage] = {}
        for target in targets:
            if first.setdefault(target.key, target) is not target:
                self.problems.append((target.kind, target.key, "several rows of the marts have the key of this page"))
        return list(first.values())


def _page(target: TargetPage, facts: Mapping[str, Any]) -> Page:
    return Page(
        target.kind, target.key, facts["id"], target.content_hash, WRITTEN, None, target.facts, facts["url"] or ""
    )
