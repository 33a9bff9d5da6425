"""What has to be written: the day's items against the ledger and what is in Notion. Reads only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import duckdb

from csm_core.errors import InputError
from csm_core.notion import databases as names
from csm_core.notion import desired
from csm_core.notion.databases import ACCOUNTS, DatabaseSpec
from csm_core.notion.desired import EXPANSION, HEALTH, KINDS, QBR, RECORD, SPECS, Item, key_of_facts
from csm_core.notion.ledger import PARTIAL, TRASHED, WRITTEN, Ledger, Page
from csm_core.notion_adapter import NotionCSMAdapter

CREATE, UPDATE, SKIP = "create", "update", "skip"
TITLES = {HEALTH: "health updates", RECORD: "health records", QBR: "business reviews", EXPANSION: "expansion records"}


@dataclass(frozen=True)
class Step:
    """One page to write: the item, what to do, and the page as the ledger knows it."""

    action: str
    item: Item
    page: Page | None = None


@dataclass(frozen=True)
class Plan:
    """What publishing ``day`` would do. ``orphans`` are in Notion and not in the marts; nothing is done to them."""

    day: date
    kinds: tuple[str, ...]
    steps: Sequence[Step]
    skipped: dict[str, int]
    orphans: Sequence[str] = ()
    trashed: Sequence[str] = ()
    troubles: Sequence[tuple[str, str, str]] = ()
    read_at: datetime = field(default_factory=lambda: datetime.now(UTC))

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
            lines.append(f"  in Notion and not in the marts: {len(self.orphans):,} accounts, left alone")
        if self.trashed:
            lines.append(f"  trashed by a person, not made again: {len(self.trashed):,}")
        lines += [f"  cannot be written: {kind} {key}: {said}" for kind, key, said in self.troubles]
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
            "cannot_be_written": [{"kind": kind, "key": key, "reason": said} for kind, key, said in self.troubles],
        }


def newest_day(connection: duckdb.DuckDBPyConnection) -> date:
    """The newest scored day. Raises InputError if nothing is scored."""
    row = connection.execute("select max(as_of_date) from marts.csm_health_scores").fetchone()
    if not row or row[0] is None:
        message = "nothing is scored yet: `csm run` scores a day"
        raise InputError(message)
    return row[0]


async def make_plan(
    connection: duckdb.DuckDBPyConnection,
    adapter: NotionCSMAdapter,
    ledger: Ledger,
    day: date,
    *,
    kinds: Sequence[str] = KINDS,
    create_missing_accounts: bool = True,
) -> Plan:
    """Compare the marts of ``day`` with the ledger and one paginated read of each database. Writes no page."""
    items = desired.load(connection, day, kinds)
    started = datetime.now(UTC)
    builder = _Builder(ledger, create_missing_accounts)
    for kind in kinds:
        spec = SPECS[kind]
        await _resolve(adapter, ledger, spec)
        remote = await _read(adapter, ledger, spec)
        if spec is not ACCOUNTS:
            remote += await _look_for_unresolved(adapter, ledger, kind)
        known = _adopt(ledger, kind, remote)
        builder.add(kind, items[kind], known, remote if spec is ACCOUNTS else None)
    return Plan(
        day=day,
        kinds=tuple(kinds),
        steps=tuple(builder.steps),
        skipped=builder.skipped,
        orphans=tuple(builder.orphans),
        trashed=tuple(builder.trashed),
        troubles=tuple(builder.troubles),
        read_at=started,
    )


class _Builder:
    def __init__(self, ledger: Ledger, create_missing_accounts: bool) -> None:
        self._ledger = ledger
        self._create_missing = create_missing_accounts
        self.steps: list[Step] = []
        self.skipped: dict[str, int] = {}
        self.orphans: list[str] = []
        self.trashed: list[str] = []
        self.troubles: list[tuple[str, str, str]] = []

    def add(
        self, kind: str, items: Sequence[Item], known: dict[str, Page], remote: list[dict[str, Any]] | None
    ) -> None:
        self.skipped[kind] = 0
        present = self._accounts(items, remote) if remote is not None else None
        latest = _latest_records(known) if kind == RECORD else {}
        for item in items:
            page = known.get(item.key)
            if page and page.state == TRASHED:
                self.trashed.append(item.label)
            elif present is not None:
                self._account_step(item, page, present.get(item.account_id, []))
            elif page is None:
                if kind == RECORD and not _is_news(item, latest.get(item.account_id)):
                    self.skipped[kind] += 1
                else:
                    self.steps.append(Step(CREATE, item))
            elif page.content_hash == item.content_hash and page.state == WRITTEN:
                self.skipped[kind] += 1
            else:
                self.steps.append(Step(UPDATE, item, page))

    def _accounts(self, items: Sequence[Item], remote: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
        present: dict[str, list[dict[str, Any]]] = {}
        for facts in remote:
            present.setdefault(facts[names.ACCOUNT_ID] or "", []).append(facts)
        wanted = {item.account_id for item in items}
        self.orphans += sorted(account_id for account_id in present if account_id and account_id not in wanted)
        return present

    def _account_step(self, item: Item, page: Page | None, found: list[dict[str, Any]]) -> None:
        if len(found) > 1:
            ids = ", ".join(facts["id"] for facts in found)
            self.troubles.append((item.kind, item.key, f"the account has {len(found)} pages, keep one: {ids}"))
        elif not found and page:
            # The read was complete, so a page that we know and that is not in it was trashed or taken away.
            self.trashed.append(item.label)
        elif not found:
            if self._create_missing:
                self.steps.append(Step(CREATE, item))
            else:
                self.troubles.append((item.kind, item.key, "the account has no page in Notion"))
        else:
            self._existing_account(item, page, found[0])

    def _existing_account(self, item: Item, page: Page | None, facts: dict[str, Any]) -> None:
        if page and page.page_id == facts["id"]:
            same = page.content_hash == item.content_hash
        else:
            same = (facts[names.CSM_HEALTH_SCORE], facts[names.CSM_HEALTH_RAG]) == (
                item.facts["score"],
                item.facts["rag"],
            )
            if same:
                self._ledger.store(item.spec, [_page(item, facts)])
        if same:
            self.skipped[item.kind] += 1
        else:
            self.steps.append(Step(UPDATE, item, _page(item, facts)))


async def _resolve(adapter: NotionCSMAdapter, ledger: Ledger, spec: DatabaseSpec) -> None:
    known = ledger.source(spec, adapter.database_id(spec))
    if known:
        adapter.remember(spec, known)
    else:
        ledger.remember_source(spec, await adapter.source(spec))


async def _read(adapter: NotionCSMAdapter, ledger: Ledger, spec: DatabaseSpec) -> list[dict[str, Any]]:
    """Every account page; of the other databases what was edited since they were last read completely."""
    until = None if spec is ACCOUNTS else ledger.read_until(spec)
    condition = (
        {
            "timestamp": "last_edited_time",
            "last_edited_time": {"after": until.replace(tzinfo=UTC).isoformat(timespec="seconds")},
        }
        if until
        else None
    )
    return [adapter.facts(spec, page) for page in await adapter.query_all(spec, condition)]


async def _look_for_unresolved(adapter: NotionCSMAdapter, ledger: Ledger, kind: str) -> list[dict[str, Any]]:
    """Pages that a run which was cut short may have created: asked for one by one, by their account."""
    unresolved = ledger.unresolved(kind)
    found: list[dict[str, Any]] = []
    for account_id in sorted({json.loads(key)[0] for key in unresolved}):
        pages = [adapter.facts(SPECS[kind], page) for page in await adapter.find(SPECS[kind], account_id)]
        found += [facts for facts in pages if key_of_facts(kind, facts) in unresolved]
    return found


def _adopt(ledger: Ledger, kind: str, remote: list[dict[str, Any]]) -> dict[str, Page]:
    """The ledger's pages of a kind, and pages found in Notion that it did not have: a lost ledger, a run cut short.

    A page of ours that the ledger does not know may be half written, so it is adopted as partial and completed.
    """
    known = ledger.pages(kind)
    if kind == HEALTH:
        return known
    fresh: list[Page] = []
    for facts in remote:
        key = key_of_facts(kind, facts)
        if key not in known:
            page = Page(kind, key, facts["id"], "", PARTIAL, (), _record_facts(facts), facts["url"] or "")
            known[key] = page
            fresh.append(page)
    ledger.store(SPECS[kind], fresh)
    return known


def _record_facts(facts: dict[str, Any]) -> dict[str, Any]:
    wanted = (names.AS_OF_DATE, names.RAG, names.CHURN_RISK_LEVEL)
    return {name: facts[name] for name in wanted if name in facts}


def _page(item: Item, facts: dict[str, Any]) -> Page:
    return Page(item.kind, item.key, facts["id"], item.content_hash, WRITTEN, (), item.facts, facts["url"] or "")


def _latest_records(known: dict[str, Page]) -> dict[str, dict[str, Any]]:
    latest: dict[str, dict[str, Any]] = {}
    for key, page in known.items():
        account_id = json.loads(key)[0]
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
