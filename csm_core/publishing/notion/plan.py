"""What has to be written: the day's items against the ledger and what is in Notion. Reads only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date
from typing import Any

import duckdb

from csm_core.publishing import qbr
from csm_core.publishing.notion import databases as names
from csm_core.publishing.notion import target_pages
from csm_core.publishing.notion.adapter import NotionCSMAdapter, same_id
from csm_core.publishing.notion.assessments import Status, statuses_of
from csm_core.publishing.notion.databases import ACCOUNTS, EXPANSION, HEALTH, KINDS, QBR, RECORD, SPECS, DatabaseSpec
from csm_core.publishing.notion.ledger import PARTIAL, TRASHED, WRITTEN, Ledger, Page
from csm_core.publishing.notion.target_pages import Item, account_of, key_of_facts
from csm_core.system.terminal import printable
from csm_core.warehouse.day_status import require_counted

CREATE, UPDATE, SKIP = "create", "update", "skip"
# How long a review that could not be published is tried again by the runs of later days.
LEFT_OVER_DAYS = 31
# From so many accounts on, one read of the whole database is cheaper than to ask for each.
MANY_LOOK_UPS = 20
TITLES = {HEALTH: "health updates", RECORD: "health records", QBR: "business reviews", EXPANSION: "expansion records"}


@dataclass(frozen=True)
class Step:
    """One page to write: the item, what to do, and the page as the ledger knows it."""

    action: str
    item: Item
    page: Page | None = None


@dataclass(frozen=True)
class Plan:
    """What publishing ``day`` would do.

    ``orphans`` are pages in Notion that the marts do not have (any more): nothing is done to them. ``trashed`` are
    those that a person moved to the trash. ``changed_ids`` are known pages whose account_id a person emptied or
    changed: they are updated as the pages of the accounts that they were written for. ``troubles`` is what cannot be
    written (kind, key, why), ``drift`` what is wrong with the databases; ``statuses`` is what technical account
    managers chose on account pages.
    """

    day: date
    kinds: tuple[str, ...]
    steps: Sequence[Step]
    skipped: dict[str, int]
    orphans: Sequence[str] = ()
    trashed: Sequence[str] = ()
    changed_ids: Sequence[str] = ()
    troubles: Sequence[tuple[str, str, str]] = ()
    drift: Sequence[str] = ()
    removed_characters: int = 0
    statuses: Sequence[Status] = ()

    def count(self, action: str, kind: str | None = None) -> int:
        """Steps of an action, of one kind or of all."""
        return sum(1 for step in self.steps if step.action == action and kind in (None, step.item.kind))

    def lines(self) -> list[str]:
        """The plan for a person."""
        lines = [f"Plan for {self.day}"]
        lines += [
            f"  {TITLES[kind]:<18} create {self.count(CREATE, kind):>6,}   update {self.count(UPDATE, kind):>6,}   "
            f"skip {self.skipped.get(kind, 0):>6,}"
            for kind in self.kinds
        ]
        if self.orphans:
            lines.append(f"  in Notion and not in the marts, left alone: {_some(self.orphans)}")
        if self.trashed:
            lines.append(f"  trashed by a person, not made again: {_some(self.trashed)}")
        lines += changed_id_lines(self.changed_ids, "  ")
        if self.removed_characters:
            lines.append(f"  control characters that are left out: {self.removed_characters:,}")
        lines += [
            f"  cannot be written: {kind} {printable(key, 200)}: {printable(said, 400)}"
            for kind, key, said in self.troubles
        ]
        lines += [f"  database: {printable(said, 400)}" for said in self.drift]
        return lines

    def as_dict(self) -> dict[str, Any]:
        """The plan for ``--json``."""
        return {
            "day": self.day.isoformat(),
            "steps": [
                {"action": step.action, "kind": step.item.kind, "key": step.item.key, "label": step.item.label}
                for step in self.steps
            ],
            "skipped": self.skipped,
            "orphans": list(self.orphans),
            "trashed": list(self.trashed),
            "changed_account_ids": list(self.changed_ids),
            "cannot_be_written": [{"kind": kind, "key": key, "reason": said} for kind, key, said in self.troubles],
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
) -> Plan:
    """Compare the marts of ``day`` with the ledger and one paginated read of each database. Writes no page.

    Of databases that were read before, only what was edited since is read. Reviews are those of the days from
    ``reviews_since`` to ``reviews_until`` (by default ``day`` alone), and of the last days before what a run was cut
    short at. Raises InputError for a held or unfinished day, ConfigError for a database that is not set, NotionError
    for one that cannot be read.
    """
    require_counted(connection, day)
    items = target_pages.load(connection, day, [kind for kind in kinds if kind != QBR])
    if QBR in kinds:
        items[QBR] = _reviews(connection, ledger, reviews_since or day, reviews_until or day)
    builder = _Builder(ledger, create_missing_accounts)
    statuses: Sequence[Status] = ()
    for kind in kinds:
        await _resolve(adapter, ledger, SPECS[kind])
        remote = await _read(adapter, ledger, kind)
        remote, changed = _with_written_ids(kind, remote, ledger.pages(kind))
        builder.changed_ids += changed
        if kind == HEALTH:
            statuses = statuses_of(remote)
            builder.add_accounts(items[kind], ledger.pages(kind), remote)
        else:
            builder.add_pages(kind, items[kind], _adopt(ledger, kind, remote))
    return Plan(
        day=day,
        kinds=tuple(kinds),
        steps=tuple(builder.steps),
        skipped=builder.skipped,
        orphans=tuple(builder.orphans),
        trashed=tuple(builder.trashed),
        changed_ids=tuple(builder.changed_ids),
        troubles=tuple(builder.troubles),
        removed_characters=sum(step.item.removed for step in builder.steps),
        statuses=statuses,
    )


def _reviews(connection: duckdb.DuckDBPyConnection, ledger: Ledger, first: date, last: date) -> list[Item]:
    """The reviews of some days, then those left over from days before; of a page that several days name the latest."""
    left_over = ledger.left_over(QBR, last, LEFT_OVER_DAYS)
    due = qbr.review_days(connection, first, last)
    found: list[Item] = []
    seen: set[str] = set()
    for day in sorted({*due, *left_over}, reverse=True):
        wanted = None if day in due else left_over[day]
        items = [
            item
            for item in target_pages.load(connection, day, [QBR])[QBR]
            if item.key not in seen and (wanted is None or item.key in wanted)
        ]
        found += items
        seen.update(item.key for item in items)
    return found


class _Builder:
    def __init__(self, ledger: Ledger, create_missing_accounts: bool) -> None:
        self._ledger = ledger
        self._create_missing = create_missing_accounts
        self.steps: list[Step] = []
        self.skipped: dict[str, int] = {}
        self.orphans: list[str] = []
        self.trashed: list[str] = []
        self.changed_ids: list[str] = []
        self.troubles: list[tuple[str, str, str]] = []

    def add_accounts(
        self, items: Sequence[Item], known: Mapping[str, Page], remote: Sequence[Mapping[str, Any]]
    ) -> None:
        """Health updates; ``remote`` is every account page that there is."""
        self.skipped[HEALTH] = 0
        present: dict[str, list[Mapping[str, Any]]] = {}
        for facts in remote:
            present.setdefault(key_of_facts(HEALTH, facts), []).append(facts)
        wanted = {item.key for item in items}
        self.orphans += sorted(f"account {account_of(key)}" for key in present if account_of(key) and key not in wanted)
        adopted: list[Page] = []
        uncertain = self._ledger.cut_short(HEALTH)
        for item in self._once(items):
            found, page = present.get(item.key, []), known.get(item.key)
            if len(found) > 1:
                ids = ", ".join(str(facts["id"]) for facts in found)
                self.troubles.append((item.kind, item.key, f"the account has {len(found)} pages, keep one: {ids}"))
            elif found:
                self._existing_account(item, None if item.key in uncertain else page, found[0], adopted)
            elif page:
                # The read was complete, so a page that we know and that is not in it was trashed or taken away.
                self.trashed.append(item.label)
            elif self._create_missing:
                self.steps.append(Step(CREATE, item))
            else:
                self.troubles.append((item.kind, item.key, "the account has no page in Notion"))
        self._ledger.store(ACCOUNTS, adopted)

    def _existing_account(self, item: Item, page: Page | None, facts: Mapping[str, Any], adopted: list[Page]) -> None:
        if page and page.page_id == facts["id"] and page.state != TRASHED:
            same = page.content_hash == item.content_hash
        else:
            same = (facts[names.CSM_HEALTH_SCORE], facts[names.CSM_HEALTH_RAG]) == (
                item.facts["score"],
                item.facts["rag"],
            )
            if same:
                adopted.append(_page(item, facts))
        if same:
            self.skipped[item.kind] += 1
        else:
            self.steps.append(Step(UPDATE, item, _page(item, facts)))

    def add_pages(self, kind: str, items: Sequence[Item], known: Mapping[str, Page]) -> None:
        """Health records, reviews or opportunities; ``known`` is all that the ledger has, with what was just read."""
        self.skipped[kind] = 0
        latest = _latest_records(known) if kind == RECORD else {}
        uncertain = self._ledger.cut_short(kind)
        for item in self._once(items):
            page = known.get(item.key)
            if page and item.key in uncertain and page.state == WRITTEN:
                page = replace(page, state=PARTIAL, marks=None)
            if page and page.state == TRASHED:
                self.trashed.append(item.label)
            elif page is None:
                if kind == RECORD and not _is_news(item, latest.get(account_of(item.key))):
                    self.skipped[kind] += 1
                else:
                    self.steps.append(Step(CREATE, item))
            elif page.content_hash == item.content_hash and page.state == WRITTEN:
                self.skipped[kind] += 1
            else:
                self.steps.append(Step(UPDATE, item, page))
        if kind == EXPANSION:
            open_now = {item.key for item in items}
            self.orphans += sorted(
                "opportunity " + " ".join(part for part in json.loads(key) if part)
                for key, page in known.items()
                if key not in open_now and page.state != TRASHED
            )

    def _once(self, items: Sequence[Item]) -> list[Item]:
        first: dict[str, Item] = {}
        for item in items:
            if first.setdefault(item.key, item) is not item:
                self.troubles.append((item.kind, item.key, "two rows of the marts are about this page"))
        return list(first.values())


async def _resolve(adapter: NotionCSMAdapter, ledger: Ledger, spec: DatabaseSpec) -> None:
    known = ledger.source(spec, adapter.database_id(spec))
    chosen = adapter.chosen_source(spec)
    if known and (not chosen or same_id(known.data_source_id, chosen)):
        adapter.remember(spec, known, ledger.windows(spec))
    else:
        ledger.remember_source(spec, await adapter.source(spec))


async def _read(adapter: NotionCSMAdapter, ledger: Ledger, kind: str) -> list[dict[str, Any]]:
    """Every account page; of the other databases what is not in the ledger yet.

    That is what was edited since they were last read, and pages that a run which was cut short may have created.
    """
    spec = SPECS[kind]
    if kind == HEALTH:
        found = [adapter.facts(spec, page) for page in await adapter.query_all(spec)]
        # A plan alone may be all that this process does; what its reading learned is kept for the next.
        ledger.remember_windows(spec, adapter.windows(spec))
        return found
    until = ledger.read_until(spec)
    unresolved = ledger.unresolved(kind)
    accounts = sorted({account_of(key) for key in unresolved})
    if until is None or len(accounts) > MANY_LOOK_UPS:
        return [adapter.facts(spec, page) for page in await adapter.query_all(spec)]
    after = until.replace(tzinfo=UTC).isoformat(timespec="seconds")
    edited = {"timestamp": "last_edited_time", "last_edited_time": {"after": after}}
    found = [adapter.facts(spec, page) for page in await adapter.query_all(spec, edited)]
    for account_id in accounts:
        pages = [adapter.facts(spec, page) for page in await adapter.find(spec, account_id)]
        found += [facts for facts in pages if key_of_facts(kind, facts) in unresolved]
    return found


def _adopt(ledger: Ledger, kind: str, remote: Sequence[Mapping[str, Any]]) -> dict[str, Page]:
    """The ledger's pages of a kind, with those found in Notion that it did not have: a lost ledger, a run cut short.

    Such a page may be half written, or from another time, so it is adopted as partial and put right when it is due. A
    page that was thrown away and is back is one of them.
    """
    known = ledger.pages(kind)
    fresh: dict[str, Page] = {}
    for facts in remote:
        key = key_of_facts(kind, facts)
        page = known.get(key)
        back = page is not None and page.state == TRASHED and page.page_id == facts["id"]
        if account_of(key) and key not in fresh and (page is None or back):
            marks = page.marks if page else None
            fresh[key] = Page(kind, key, facts["id"], "", PARTIAL, marks, _record_facts(facts), facts["url"] or "")
    ledger.store(SPECS[kind], list(fresh.values()))
    return {**known, **fresh}


def _with_written_ids(
    kind: str, remote: Sequence[Mapping[str, Any]], known: Mapping[str, Page]
) -> tuple[list[Mapping[str, Any]], list[str]]:
    """The pages with the account ids that they were written with, and what people made of those, a line each.

    The ledger knows a page by the page's own id. Where another page now has the account's id, as after two ids were
    exchanged, what Notion says counts.
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
        found = f"is {account_id!r}" if account_id else "is empty"
        where = f" ({facts['url']})" if facts["url"] else ""
        changed.append(f"{facts['name'] or expected}{where}: account_id {found}, expected {expected!r}")
    return pages, changed


def changed_id_lines(changed: Sequence[str], indent: str, shown: int = 5) -> list[str]:
    """Pages whose account_id people emptied or changed, a line each, with what to do."""
    if not changed:
        return []
    more = [f"{indent}  … ({len(changed):,} in all)"] if len(changed) > shown else []
    return [
        f"{indent}account_id emptied or changed by a person; updated all the same, correct the account_id in Notion:",
        *(f"{indent}  {printable(line, 300)}" for line in changed[:shown]),
        *more,
    ]


def _record_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    wanted = (names.AS_OF_DATE, names.RAG, names.CHURN_RISK_LEVEL)
    return {name: facts[name] for name in wanted if name in facts}


def _page(item: Item, facts: Mapping[str, Any]) -> Page:
    return Page(item.kind, item.key, facts["id"], item.content_hash, WRITTEN, None, item.facts, facts["url"] or "")


def _some(labels: Sequence[str], shown: int = 5) -> str:
    more = f", … ({len(labels):,} in all)" if len(labels) > shown else ""
    return ", ".join(printable(label) for label in labels[:shown]) + more


def _latest_records(known: Mapping[str, Page]) -> dict[str, dict[str, Any]]:
    latest: dict[str, dict[str, Any]] = {}
    for key, page in known.items():
        account_id = account_of(key)
        held = latest.get(account_id)
        if held is None or page.facts.get(names.AS_OF_DATE, "") > held.get(names.AS_OF_DATE, ""):
            latest[account_id] = page.facts
    return latest


def _is_news(item: Item, latest: dict[str, Any] | None) -> bool:
    """A health record is written when RAG or risk changed since the last one before that day, or there is none."""
    if latest is None:
        return True
    if latest.get(names.AS_OF_DATE, "") > item.facts["as_of_date"]:
        return False
    return (latest.get(names.RAG), latest.get(names.CHURN_RISK_LEVEL)) != (
        item.facts["rag"],
        item.facts["churn_risk_level"],
    )
