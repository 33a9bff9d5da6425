"""The pages of an account in Notion, from the ledger, and moving them to the trash."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from csm_core.config import Config
from csm_core.publishing.notion.publish import new_caller, open_existing
from csm_core.publishing.notion.retry import RequestRejected
from csm_core.warehouse.catalog import table_exists

LEDGER = "sync.notion_pages"


@dataclass(frozen=True)
class LedgerPage:
    """A page in the ledger: its kind, its id, and its address, which is null in the ledger of an earlier version."""

    kind: str
    page_id: str
    url: str | None


def pages_of(connection: duckdb.DuckDBPyConnection, account_id: str) -> list[LedgerPage]:
    """Return the pages about an account that were published and are not known to be in the trash.

    The image of its score is on one of them.
    """
    if not table_exists(connection, LEDGER):
        return []
    rows = connection.execute(
        f"select kind, page_id, url from {LEDGER} where state <> 'trashed' and page_id <> '' and kind <> 'chart' "
        "and (account_id = $account or case when json_valid(key) then json_extract_string(key, '$[0]') = $account end) "
        "order by kind, page_id",
        {"account": account_id},
    ).fetchall()
    return [LedgerPage(*row) for row in rows]


def trash(config: Config, pages: Sequence[LedgerPage]) -> int:
    """Move pages to the trash of Notion; returns their number. A page that is there already, or is gone, is left."""

    async def run() -> int:
        moved = 0
        async with open_existing(config) as (client, settings):
            caller = new_caller(settings)
            for page in pages:
                try:
                    await caller.repeat(
                        lambda page_id=page.page_id: client.pages.update(page_id, in_trash=True)  # pyright: ignore
                    )
                except RequestRejected as rejected:
                    if not rejected.gone:
                        raise
                else:
                    moved += 1
        return moved

    return asyncio.run(run()) if pages else 0
