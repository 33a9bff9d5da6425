"""Writes, completes and revises the blocks of a page without changing the blocks that users wrote.

A mark (kind and text) identifies a block that we wrote; a block that a user edited no longer matches its mark. Tables
and toggles have children, which are revised one by one, so that a note of a user in a toggle is kept. The renderers
define the text of the blocks. See https://developers.notion.com/reference/patch-block-children
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

from notion_client import AsyncClient

from csm_core.errors import NotionError
from csm_core.publishing.notion.api_versions import place_after
from csm_core.publishing.notion.retry import Caller, RequestRejected
from csm_core.publishing.notion.rich_text import Block, children_of, plain, requests_of
from csm_core.system.paging import Paging

PAGE_SIZE = 100
# Between the mark of a block and the mark of its child. Notion rejects this character in texts.
_CHILD = "\x1f"


def mark(block: Mapping[str, Any]) -> str:
    """The kind and text of a block, which distinguish our blocks from the blocks of users."""
    kind = str(block["type"])
    content = block.get(kind, {})
    # A row of a table has cells.
    text = (
        "\t".join(plain(cell) for cell in content["cells"])
        if "cells" in content
        else plain(content.get("rich_text", []))
    )
    return f"{kind}:{text}"


def marks_of(blocks: Sequence[Block]) -> tuple[str, ...]:
    """The marks of blocks and, after each, of its children."""
    return tuple(
        one
        for block in blocks
        for one in (mark(block), *(f"{mark(block)}{_CHILD}{mark(child)}" for child in children_of(block)))
    )


def _marks_below(block: Mapping[str, Any], ours: Sequence[str] | None) -> list[str] | None:
    """The marks of the children of a block in the marks of a page."""
    prefix = f"{mark(block)}{_CHILD}"
    return None if ours is None else [one.removeprefix(prefix) for one in ours if one.startswith(prefix)]


@dataclass
class _Insert:
    """Blocks to insert after the block ``after``; at the end of the page if it is None."""

    after: str | None
    blocks: list[Block] = field(default_factory=list[Block])


@dataclass
class Revision:
    """The changes to a page: blocks to update in place, to insert and to delete, and ``parents`` of other blocks."""

    updates: list[tuple[str, Block]] = field(default_factory=list[tuple[str, Block]])
    inserts: list[_Insert] = field(default_factory=list[_Insert])
    deletions: list[str] = field(default_factory=list[str])
    parents: list[tuple[str, Block]] = field(default_factory=list[tuple[str, Block]])


def revision(
    present: Sequence[Mapping[str, Any]],
    wanted: Sequence[Block],
    ours: Sequence[str] | None,
    author: str = "",
    kept: Sequence[str] = (),
) -> Revision:
    """The changes that turn the ``present`` blocks of a page into the ``wanted`` blocks.

    ``ours`` are the marks of the blocks that we wrote last. Only blocks that still match such a mark are changed or
    deleted. If a wanted block was written before and no longer exists, a user edited or deleted it; it is not written
    again. If ``ours`` is None (lost ledger, interrupted run), our blocks are those that ``author`` created and nobody
    else edited, except the first block of each mark in ``kept``: a template has these blocks.
    """
    result = Revision()
    of_template = Counter(kept)
    others = {str(block["id"]) for block in present if _take(of_template, mark(block))}
    marks = [mark(block) for block in present]
    wanted_marks = [mark(block) for block in wanted]
    steps = _steps(marks, wanted_marks)
    written = Counter(one for one in ours or () if _CHILD not in one)
    removed_by_users = written - Counter(marks)
    still_ours = written & Counter(marks)
    still_ours.subtract(one for tag, i1, i2, _, _ in steps if tag == "equal" for one in marks[i1:i2])
    anchor: str | None = None
    for tag, i1, i2, j1, j2 in steps:
        if tag == "equal":
            anchor = str(present[i2 - 1]["id"])
            result.parents += [
                (str(old["id"]), new)
                for old, new in zip(present[i1:i2], wanted[j1:j2], strict=True)
                if children_of(new)
            ]
            continue
        if ours is None:
            free = [block for block in present[i1:i2] if _only_by(block, author) and str(block["id"]) not in others]
        else:
            free = [block for block in present[i1:i2] if _take(still_ours, mark(block))]
        insert = _Insert(str(present[i1]["id"]) if anchor is None and i1 < i2 else anchor)
        for block in wanted[j1:j2]:
            # A block with children is written as a whole: an update cannot change its children.
            replaced = None if children_of(block) else next((one for one in free if one["type"] == block["type"]), None)
            if replaced is not None:
                # Earlier free blocks do not fit into the new order.
                position = free.index(replaced)
                result.deletions += [str(one["id"]) for one in free[:position]]
                del free[: position + 1]
                result.updates.append((str(replaced["id"]), block))
                insert = _kept(result, insert, str(replaced["id"]))
            elif not _take(removed_by_users, mark(block)):
                insert.blocks.append(block)
        _kept(result, insert, None)
        result.deletions += [str(one["id"]) for one in free]
        if i1 < i2 and anchor is None:
            anchor = str(present[i2 - 1]["id"])
    return result


def _steps(marks: Sequence[str], wanted_marks: Sequence[str]) -> list[tuple[str, int, int, int, int]]:
    # Notion cannot insert before the first block of a page, so a common beginning is kept.
    common = 0
    while common < min(len(marks), len(wanted_marks)) and marks[common] == wanted_marks[common]:
        common += 1
    rest = SequenceMatcher(None, marks[common:], wanted_marks[common:], autojunk=False).get_opcodes()
    begins = [("equal", 0, common, 0, common)] if common else []
    return [
        *begins,
        *((tag, i1 + common, i2 + common, j1 + common, j2 + common) for tag, i1, i2, j1, j2 in rest),
    ]


def _only_by(block: Mapping[str, Any], author: str) -> bool:
    editors = {str(block.get(role, {}).get("id", "")) for role in ("created_by", "last_edited_by")}
    return editors == {author}


def _kept(revision: Revision, insert: _Insert, after: str | None) -> _Insert:
    if insert.blocks:
        revision.inserts.append(insert)
    return _Insert(after)


def _take(counted: Counter[str], one: str) -> bool:
    if counted[one] <= 0:
        return False
    counted[one] -= 1
    return True


class PageBlocks:
    """Reads and writes the blocks of pages with the retry policy of ``caller``."""

    def __init__(self, client: AsyncClient, caller: Caller) -> None:
        self._client = client
        self._caller = caller
        self._me = ""

    async def children(self, page_id: str) -> list[dict[str, Any]]:
        """All blocks of a page."""
        blocks: list[dict[str, Any]] = []
        more: dict[str, Any] = {"page_size": PAGE_SIZE}
        paging = Paging(f"the blocks of Notion's page {page_id}", NotionError)
        while True:
            answer = await self._caller.repeat(
                lambda: self._client.blocks.children.list(page_id, **more)  # pyright: ignore[reportReturnType]
            )
            blocks += answer["results"]
            if not answer.get("has_more"):
                return blocks
            paging.follow(answer.get("next_cursor"), [block["id"] for block in answer["results"]])
            more["start_cursor"] = answer["next_cursor"]

    async def append_rest(
        self, page_id: str, blocks: Sequence[Block], start: int, others: Collection[str] = ()
    ) -> None:
        """Append ``blocks[start:]`` to a new page that already has the blocks before ``start``.

        ``others`` are the ids of blocks of the page that are not ours.
        """
        while start < len(blocks):
            part = next(requests_of(blocks[start:]))

            async def find_written(start: int = start) -> dict[str, Any] | None:
                present = [block for block in await self.children(page_id) if block["id"] not in others]
                written = _count_written(present, blocks)
                return {"count": written - start} if written > start else None

            answer = await self._caller.write_once(
                lambda part=part: self._client.blocks.children.append(page_id, children=part),  # pyright: ignore[reportArgumentType]
                find_written,
                _committed,
            )
            start += answer.get("count", len(part))

    async def revise(
        self, page_id: str, blocks: Sequence[Block], ours: Sequence[str] | None, kept: Sequence[str] = ()
    ) -> None:
        """Change the content of a page to ``blocks``; see ``revision``. It can be repeated after an interruption."""
        present = await self.children(page_id)
        needed = revision(present, blocks, ours, await self._author() if ours is None and present else "", kept)
        by_id = {str(block["id"]): block for block in present}
        for block_id, block in needed.updates:
            content = {block["type"]: block[block["type"]]}
            await self._caller.repeat(
                lambda block_id=block_id, content=content: self._client.blocks.update(block_id, **content)  # pyright: ignore[reportArgumentType]
            )
        known_ids = set(by_id)
        for insert in needed.inserts:
            await self._insert(page_id, insert, known_ids)
        for block_id, block in needed.parents:
            await self.revise(block_id, children_of(block), _marks_below(block, ours))
        for block_id in needed.deletions:
            block = by_id[block_id]
            if block.get("has_children") and not await self._has_only_ours(block, ours):
                # A user wrote below this block: only our children are deleted.
                await self.revise(block_id, [], _marks_below(block, ours))
            else:
                await self._delete(block_id)

    async def _has_only_ours(self, block: Mapping[str, Any], ours: Sequence[str] | None) -> bool:
        """Whether we wrote all children of a block."""
        below = _marks_below(block, ours)
        author = await self._author() if below is None else ""
        written = Counter(below or ())
        return all(
            _only_by(child, author) if below is None else _take(written, mark(child))
            for child in await self.children(str(block["id"]))
        )

    async def _insert(self, page_id: str, insert: _Insert, known_ids: set[str]) -> None:
        after, rest = insert.after, list(insert.blocks)
        while rest:
            part = next(requests_of(rest))
            place = place_after(self._client, after) if after else {}

            async def find_inserted(part: list[Block] = part, after: str | None = after) -> dict[str, Any] | None:
                new = _new_ids_after(await self.children(page_id), part, after, known_ids)
                return {"ids": new} if new else None

            answer = await self._caller.write_once(
                lambda part=part, place=place: self._client.blocks.children.append(page_id, children=part, **place),  # pyright: ignore[reportArgumentType]
                find_inserted,
                lambda body: {"ids": body["committed_child_ids"]} if body.get("committed_child_ids") else None,
            )
            ids = answer.get("ids") or [str(block["id"]) for block in answer.get("results", [])]
            if len(ids) > len(part) or not ids:
                # Some answers also list the blocks that follow.
                ids = _new_ids_after(await self.children(page_id), part, after, known_ids)
            known_ids.update(ids)
            after, rest = ids[-1], rest[len(ids) :]

    async def _author(self) -> str:
        if not self._me:
            answer = await self._caller.repeat(lambda: self._client.users.me())  # pyright: ignore[reportReturnType]
            self._me = str(answer["id"])
        return self._me

    async def _delete(self, block_id: str) -> None:
        try:
            await self._caller.repeat(lambda: self._client.blocks.delete(block_id))  # pyright: ignore[reportReturnType]
        except RequestRejected as rejected:
            if not rejected.gone:
                raise


def _committed(body: dict[str, Any]) -> dict[str, Any] | None:
    ids = body.get("committed_child_ids")
    return {"count": len(ids)} if ids else None


def _count_written(present: Sequence[Mapping[str, Any]], blocks: Sequence[Block]) -> int:
    """The number of leading ``blocks`` that are on a page; blocks that users inserted between them are ignored."""
    marks, wanted_marks = [mark(block) for block in present], [mark(block) for block in blocks]
    matching = SequenceMatcher(None, marks, wanted_marks, autojunk=False).get_matching_blocks()
    return max((match.b + match.size for match in matching if match.size), default=0)


def _new_ids_after(
    present: Sequence[Mapping[str, Any]], part: Sequence[Block], after: str | None, known_ids: set[str]
) -> list[str]:
    """The ids of the blocks of ``part`` that follow ``after`` now and are new."""
    ids = [str(block["id"]) for block in present]
    start = (
        ids.index(after) + 1
        if after in ids
        else next((n for n, one in enumerate(ids) if one not in known_ids), len(ids))
    )
    new: list[str] = []
    for block, wanted in zip(present[start:], part, strict=False):
        if str(block["id"]) in known_ids or mark(block) != mark(wanted):
            break
        new.append(str(block["id"]))
    return new
