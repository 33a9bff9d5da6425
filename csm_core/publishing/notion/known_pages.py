"""Reads the pages in Notion and joins them with the pages of the ledger: what is known before a plan is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any

from csm_core.publishing import opportunity_status
from csm_core.publishing.notion import databases as names
from csm_core.publishing.notion.adapter import NotionCSMAdapter
from csm_core.publishing.notion.database_reader import edit_facts, page_facts
from csm_core.publishing.notion.databases import EXPANSION, HEALTH, SPECS, DatabaseSpec, same_id
from csm_core.publishing.notion.ledger import PARTIAL, TRASHED, Ledger, Page
from csm_core.publishing.notion.target_pages import account_of, key_of_facts, opportunity_of
from csm_core.publishing.opportunity_status import OpportunityKey

# With more accounts than this, one read of the whole database is cheaper than one query per account.
MANY_LOOK_UPS = 20


async def resolve(adapter: NotionCSMAdapter, ledger: Ledger, spec: DatabaseSpec) -> None:
    """Make the data source of a database known to the adapter: from the ledger, or from Notion."""
    known = ledger.sources.source(spec, adapter.reader.database_id(spec))
    chosen = adapter.reader.chosen_source(spec)
    if known and (not chosen or same_id(known.data_source_id, chosen)):
        adapter.reader.remember(spec, known, ledger.sources.windows(spec))
    else:
        ledger.sources.remember_source(spec, await adapter.reader.source(spec))


async def read(adapter: NotionCSMAdapter, ledger: Ledger, kind: str) -> list[dict[str, Any]]:
    """All account pages, with their last edit; for the other databases, the pages that are not yet in the ledger.

    Those are pages edited since the last read, and pages that an interrupted run may have created.
    """
    spec = SPECS[kind]
    if kind == HEALTH:
        found = await adapter.reader.query_all(spec)
        pages_found = [page_facts(spec, page) | edit_facts(page) for page in found]
        # Stored here because this process may only plan.
        ledger.sources.remember_windows(spec, adapter.reader.windows(spec))
        return pages_found
    until = ledger.sources.read_until(spec)
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


def adopt(ledger: Ledger, kind: str, remote: Sequence[Mapping[str, Any]]) -> dict[str, Page]:
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


def with_written_ids(
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


def statuses_found(remote: Sequence[Mapping[str, Any]], known: Mapping[str, Page]) -> Mapping[OpportunityKey, str]:
    """The statuses on the pages that were read; of several pages with a key, that of the page in the ledger."""
    return {
        opportunity_of(key): opportunity_status.status_of(facts[names.CSM_STATUS])
        for facts in remote
        if (page := known.get(key := key_of_facts(EXPANSION, facts))) and same_id(page.page_id, facts["id"])
    }


def _record_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    wanted = (names.AS_OF_DATE, names.SCORE, names.RAG, names.CHURN_RISK_LEVEL)
    return {name: facts[name] for name in wanted if name in facts}
