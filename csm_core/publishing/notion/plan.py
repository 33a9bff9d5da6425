"""Plans publishing: compares the target pages of a day with the ledger and with the pages in Notion. Read-only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date
from typing import Any

import duckdb

from csm_core.config import RoiMetric
from csm_core.publishing import qbr
from csm_core.publishing.notion import databases as names
from csm_core.publishing.notion import day_pages
from csm_core.publishing.notion.adapter import NotionCSMAdapter
from csm_core.publishing.notion.assessments import Status, statuses_of
from csm_core.publishing.notion.database_reader import page_facts, same_id
from csm_core.publishing.notion.databases import ACCOUNTS, EXPANSION, HEALTH, KINDS, QBR, RECORD, SPECS, DatabaseSpec
from csm_core.publishing.notion.ledger import PARTIAL, TRASHED, WRITTEN, Ledger, Page
from csm_core.publishing.notion.target_pages import TargetPage, account_of, is_current_hash, key_of_facts
from csm_core.warehouse.day_status import require_counted

CREATE, UPDATE, SKIP = "create", "update", "skip"
# How many days later runs retry a review that could not be published.
LEFT_OVER_DAYS = 31
# With more accounts than this, one read of the whole database is cheaper than one query per account.
MANY_LOOK_UPS = 20


@dataclass(frozen=True)
class Step:
    """One page to write: the action, the target page, and the page in the ledger."""

    action: str
    target: TargetPage
    page: Page | None = None


@dataclass(frozen=True)
class Plan:
    """The changes that publishing ``day`` would make.

    ``orphans`` are pages in Notion without a row in the marts; they are not changed. ``trashed`` are pages that a user
    moved to the trash. ``changed_ids`` are known pages on which a user emptied or changed ``account_id``; they are
    updated for the accounts that they were created for. ``problems`` are pages that cannot be written (kind, key,
    reason), ``drift`` lists problems of the databases, and ``statuses`` are the statuses that technical account
    managers selected on account pages.
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
    removed_characters: int = 0
    statuses: Sequence[Status] = ()

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
            "cannot_be_written": [{"kind": kind, "key": key, "reason": reason} for kind, key, reason in self.problems],
            "drift": list(self.drift),
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
    qbr_internal: str = day_pages.TOGGLE,
    roi: Mapping[str, RoiMetric] = qbr.NO_METRICS,
) -> Plan:
    """Compare the marts of ``day`` with the ledger and one paginated read of each database. Writes no page.

    If a database was read before, only pages edited since then are read. Reviews of the days from ``reviews_since`` to
    ``reviews_until`` (default: ``day`` only) are planned, and reviews of the days before that an interrupted run did
    not publish. Raises InputError for a held or unfinished day, ConfigError for a database without an id, NotionError
    for a database that cannot be read.
    """
    require_counted(connection, day)
    targets = day_pages.load(connection, day, [kind for kind in kinds if kind != QBR])
    if QBR in kinds:
        targets[QBR] = _reviews(connection, ledger, reviews_since or day, reviews_until or day, qbr_internal, roi)
    builder = _Builder(ledger, create_missing_accounts)
    statuses: Sequence[Status] = ()
    for kind in kinds:
        await _resolve(adapter, ledger, SPECS[kind])
        remote = await _read(adapter, ledger, kind)
        remote, changed = _with_written_ids(kind, remote, ledger.pages(kind))
        builder.changed_ids += changed
        if kind == HEALTH:
            statuses = statuses_of(remote)
            builder.add_accounts(targets[kind], ledger.pages(kind), remote)
        else:
            builder.add_pages(kind, targets[kind], _adopt(ledger, kind, remote))
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
    )


def _reviews(
    connection: duckdb.DuckDBPyConnection,
    ledger: Ledger,
    first: date,
    last: date,
    qbr_internal: str,
    roi: Mapping[str, RoiMetric],
) -> list[TargetPage]:
    """The reviews of some days and the unpublished reviews of earlier days; the latest review of each page."""
    unpublished = ledger.left_over(QBR, last, LEFT_OVER_DAYS)
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
    def __init__(self, ledger: Ledger, create_missing_accounts: bool) -> None:
        self._ledger = ledger
        self._create_missing = create_missing_accounts
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
            same = (facts[names.CSM_HEALTH_SCORE], facts[names.CSM_HEALTH_RAG]) == (
                target.facts["score"],
                target.facts["rag"],
            )
            if same:
                adopted.append(_page(target, facts))
        if same:
            self.skipped[target.kind] += 1
        else:
            self.steps.append(Step(UPDATE, target, _page(target, facts)))

    def add_pages(self, kind: str, targets: Sequence[TargetPage], known: Mapping[str, Page]) -> None:
        """Add health records, reviews or opportunities; ``known`` are the pages of the ledger and the current read."""
        self.skipped[kind] = 0
        latest = _latest_records(known) if kind == RECORD else {}
        uncertain = self._ledger.interrupted(kind)
        for target in self._once(targets):
            page = known.get(target.key)
            if page and target.key in uncertain and page.state == WRITTEN:
                page = replace(page, state=PARTIAL, marks=None)
            if page and page.state == TRASHED:
                self.trashed.append(target.label)
            elif page is None:
                if kind == RECORD and not _is_change(target, latest.get(account_of(target.key))):
                    self.skipped[kind] += 1
                else:
                    self.steps.append(Step(CREATE, target))
            elif page.content_hash == target.content_hash and page.state == WRITTEN:
                self.skipped[kind] += 1
            else:
                self.steps.append(Step(UPDATE, target, page))
        if kind == EXPANSION:
            open_now = {target.key for target in targets}
            self.orphans += sorted(
                "opportunity " + " ".join(part for part in json.loads(key) if part)
                for key, page in known.items()
                if key not in open_now and page.state != TRASHED
            )

    def _once(self, targets: Sequence[TargetPage]) -> list[TargetPage]:
        first: dict[str, TargetPage] = {}
        for target in targets:
            if first.setdefault(target.key, target) is not target:
                self.problems.append((target.kind, target.key, "several rows of the marts have the key of this page"))
        return list(first.values())


async def _resolve(adapter: NotionCSMAdapter, ledger: Ledger, spec: DatabaseSpec) -> None:
    known = ledger.source(spec, adapter.reader.database_id(spec))
    chosen = adapter.reader.chosen_source(spec)
    if known and (not chosen or same_id(known.data_source_id, chosen)):
        adapter.reader.remember(spec, known, ledger.windows(spec))
    else:
        ledger.remember_source(spec, await adapter.reader.source(spec))


async def _read(adapter: NotionCSMAdapter, ledger: Ledger, kind: str) -> list[dict[str, Any]]:
    """All account pages; for the other databases, the pages that are not yet in the ledger.

    Those are pages edited since the last read, and pages that an interrupted run may have created.
    """
    spec = SPECS[kind]
    if kind == HEALTH:
        pages_found = [page_facts(spec, page) for page in await adapter.reader.query_all(spec)]
        # Stored here because this process may only plan.
        ledger.remember_windows(spec, adapter.reader.windows(spec))
        return pages_found
    until = ledger.read_until(spec)
    unresolved = ledger.unresolved(kind)
    accounts = sorted({account_of(key) for key in unresolved})
    if until is None or len(accounts) > MANY_LOOK_UPS:
        return [page_facts(spec, page) for page in await adapter.reader.query_all(spec)]
    after = until.replace(tzinfo=UTC).isoformat(timespec="seconds")
    edited = {"timestamp": "last_edited_time", "last_edited_time": {"after": after}}
    pages_found = [page_facts(spec, page) for page in await adapter.reader.query_all(spec, edited)]
    for account_id in accounts:
        pages = [page_facts(spec, page) for page in await adapter.reader.find(spec, account_id)]
        pages_found += [facts for facts in pages if key_of_facts(kind, facts) in unresolved]
    return pages_found


def _adopt(ledger: Ledger, kind: str, remote: Sequence[Mapping[str, Any]]) -> dict[str, Page]:
    """The ledger's pages of a kind, and pages in Notion that the ledger lacks (lost ledger, interrupted run).

    Such a page may be incomplete or outdated, so it is adopted as partial and updated when it is due. This includes
    pages that a user restored from the trash.
    """
    known = ledger.pages(kind)
    adopted: dict[str, Page] = {}
    for facts in remote:
        key = key_of_facts(kind, facts)
        page = known.get(key)
        back = page is not None and page.state == TRASHED and page.page_id == facts["id"]
        if account_of(key) and key not in adopted and (page is None or back):
            marks = page.marks if page else None
            adopted[key] = Page(kind, key, facts["id"], "", PARTIAL, marks, _record_facts(facts), facts["url"] or "")
    ledger.store(SPECS[kind], list(adopted.values()))
    return {**known, **adopted}


def _with_written_ids(
    kind: str, remote: Sequence[Mapping[str, Any]], known: Mapping[str, Page]
) -> tuple[list[Mapping[str, Any]], list[str]]:
    """The pages with their original account ids, and a line for each account id that a user changed.

    The ledger identifies a page by its page id. If another page now has the account id, for example because a user
    swapped two ids, the value in Notion is used.
    """
    written = {page.page_id: key for key, page in known.items()}
    present = {key_of_facts(kind, facts) for facts in remote}
    pages: list[Mapping[str, Any]] = []
    changed: list[str] = []
    for facts in remote:
        key = written.get(facts["id"])
        account_id, expected = account_of(key_of_facts(kind, facts)), account_of(key) if key else ""
        if not expected or account_id == expected or key in present:
            pages.append(facts)
            continue
        pages.append({**facts, names.ACCOUNT_ID: expected})
        current = f"is {account_id!r}" if account_id else "is empty"
        where = f" ({facts['url']})" if facts["url"] else ""
        changed.append(f"{facts['name'] or expected}{where}: account_id {current}, expected {expected!r}")
    return pages, changed


def _record_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    wanted = (names.AS_OF_DATE, names.RAG, names.CHURN_RISK_LEVEL)
    return {name: facts[name] for name in wanted if name in facts}


def _page(target: TargetPage, facts: Mapping[str, Any]) -> Page:
    return Page(
        target.kind, target.key, facts["id"], target.content_hash, WRITTEN, None, target.facts, facts["url"] or ""
    )


def _latest_records(known: Mapping[str, Page]) -> dict[str, dict[str, Any]]:
    latest: dict[str, dict[str, Any]] = {}
    for key, page in known.items():
        account_id = account_of(key)
        previous = latest.get(account_id)
        if previous is None or page.facts.get(names.AS_OF_DATE, "") > previous.get(names.AS_OF_DATE, ""):
            latest[account_id] = page.facts
    return latest


def _is_change(target: TargetPage, latest: dict[str, Any] | None) -> bool:
    """Whether a health record is due: RAG or churn risk differ from the previous record, or there is none."""
    if latest is None:
        return True
    if latest.get(names.AS_OF_DATE, "") > target.facts["as_of_date"]:
        return False
    return (latest.get(names.RAG), latest.get(names.CHURN_RISK_LEVEL)) != (
        target.facts["rag"],
        target.facts["churn_risk_level"],
    )
