"""The template of the team that new business reviews start from (``notion.qbr_template``).

Notion answers the creation of a page before it applies the template, so publishing waits for the blocks of the template
and appends its own after them. See https://developers.notion.com/guides/data-apis/creating-pages-from-templates
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from notion_client import AsyncClient

from csm_core.errors import NotionError
from csm_core.publishing.notion.page_blocks import PAGE_SIZE, PageBlocks, mark
from csm_core.publishing.notion.retry import Caller
from csm_core.publishing.notion.rich_text import Block
from csm_core.system.paging import Paging

Object = dict[str, Any]

# How often, and how long, the page is read until it has the blocks of the template.
POLL_SECONDS = 1.0
POLLS = 60


class PageTemplate:
    """A template of a data source, found by its name when the first page needs it."""

    def __init__(self, client: AsyncClient, caller: Caller, blocks: PageBlocks, name: str) -> None:
        self._client = client
        self._caller = caller
        self._blocks = blocks
        self._name = name
        self._lock = asyncio.Lock()
        self._id = ""
        self._marks: tuple[str, ...] = ()

    async def beginning(self, data_source_id: str) -> Object:
        """The parent and the template of a new page, in the API's format."""
        template = {"type": "template_id", "template_id": await self._resolve(data_source_id)}
        return {"parent": {"type": "data_source_id", "data_source_id": data_source_id}, "template": template}

    async def append(self, page_id: str, blocks: Sequence[Block]) -> None:
        """Append our blocks to a new page after those of the template."""
        present = await self._applied(page_id)
        await self._blocks.append_rest(page_id, blocks, 0, {str(block["id"]) for block in present})

    async def complete(self, page_id: str, blocks: Sequence[Block], data_source_id: str) -> None:
        """Write our blocks to a page of which it is unknown how far it was written, without changing the template's."""
        await self._resolve(data_source_id)
        present = await self._blocks.children(page_id)
        wanted = {mark(block) for block in blocks}
        others = Counter(mark(block) for block in present) - Counter(self._marks)
        if wanted.isdisjoint(others):
            # A page that was created without a template has at least one of our blocks.
            await self.append(page_id, blocks)
        else:
            await self._blocks.revise(page_id, blocks, None, self._marks)

    async def _resolve(self, data_source_id: str) -> str:
        """The id of the template. Raises NotionError if the data source does not have exactly one of this name."""
        async with self._lock:
            if not self._id:
                names = await self._listed(data_source_id)
                ids = [template_id for template_id, name in names if name == self._name]
                if len(ids) != 1:
                    listed = ", ".join(sorted({name for _, name in names})) or "none"
                    raise NotionError(
                        f"notion.qbr_template is {self._name!r}, but {len(ids)} templates of the business reviews have "
                        f"this name (found: {listed}). Set it to the name of one template, and check that the "
                        "integration can read it."
                    )
                self._marks = tuple(mark(block) for block in await self._blocks.children(ids[0]))
                self._id = ids[0]
        return self._id

    async def _applied(self, page_id: str) -> list[Mapping[str, Any]]:
        """Wait until a page has the blocks of the template; returns the blocks of the page.

        Raises NotionError if Notion does not apply the template in time; the next run tries again.
        """
        for _ in range(POLLS):
            present = await self._blocks.children(page_id)
            if len(present) >= len(self._marks):
                return list(present)
            await self._caller.sleep(POLL_SECONDS)
        message = f"Notion did not apply the template {self._name!r} within {POLLS * POLL_SECONDS:.0f} seconds"
        raise NotionError(message)

    async def _listed(self, data_source_id: str) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        more: Object = {"page_size": PAGE_SIZE}
        paging = Paging(f"the templates of Notion's data source {data_source_id}", NotionError)
        while True:
            answer = await self._caller.repeat(
                lambda: self._client.data_sources.list_templates(data_source_id, **more)  # pyright: ignore[reportReturnType]
            )
            found += [(str(one["id"]), str(one["name"])) for one in answer["templates"]]
            if not answer.get("has_more"):
                return found
            paging.follow(answer.get("next_cursor"), [one["id"] for one in answer["templates"]])
            more["start_cursor"] = answer["next_cursor"]
