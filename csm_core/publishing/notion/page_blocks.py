"""The blocks of a page: written, completed after a cut, and revised without touching what people wrote.

A block of ours is known by its mark, its kind and its text: what a person has edited no longer has it. Not here: what
the blocks say (the renderers), and properties. See https://developers.notion.com/reference/patch-block-children
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

from notion_client import AsyncClient

from csm_core.errors import NotionError
from csm_core.publishing.notion.retry import Caller, Refused
from csm_core.publishing.notion.rich_text import Block, plain, requests_of
from csm_core.system.paging import Paging

PAGE_SIZE = 100


def mark(block: Mapping[str, Any]) -> str:
    """What tells one of our blocks from a person's: its kind and its text."""
    kind = str(block["type"])
    return f"{kind}:{plain(block.get(kind, {}).get('rich_text', []))}"


@dataclass
class _Insert:
    """Blocks to write behind the block ``after``; at the end of the page if it is None."""

    after: str | None
    blocks: list[Block] = field(default_factory=list[Block])


@dataclass
class Revision:
    """What makes a page say something else: blocks to change where they stand, to insert, and to delete."""

    updates: list[tuple[str, Block]] = field(default_factory=list[tuple[str, Block]])
    inserts: list[_Insert] = field(default_factory=list[_Insert])
    deletions: list[str] = field(default_factory=list[str])


def revision(
    present: Sequence[Mapping[str, Any]], wanted: Sequence[Block], ours: Sequence[str] | None, author: str = ""
) -> Revision:
    """What turns the ``present`` blocks of a page into the ``wanted`` ones.

    ``ours`` are the marks of the blocks as we last wrote them. Only blocks that still have such a mark are changed or
    deleted; a wanted block that we had written and that is not there any more was edited or deleted by a person, and is
    not written again. With ``ours`` None (a lost ledger, a run cut short) the blocks that ``author`` made and that
    nobody else edited are ours.
    """
    found = Revision()
    marks = [mark(block) for block in present]
    meant = [mark(block) for block in wanted]
    steps = _steps(marks, meant)
    written = Counter(ours or ())
    not_there_any_more = written - Counter(marks)
    still_ours = written & Counter(marks)
    still_ours.subtract(one for tag, i1, i2, _, _ in steps if tag == "equal" for one in marks[i1:i2])
    anchor: str | None = None
    for tag, i1, i2, j1, j2 in steps:
        if tag == "equal":
            anchor = str(present[i2 - 1]["id"])
            continue
        if ours is None:
            free = [block for block in present[i1:i2] if _only_by(block, author)]
        else:
            free = [block for block in present[i1:i2] if _take(still_ours, mark(block))]
        insert = _Insert(str(present[i1]["id"]) if anchor is None and i1 < i2 else anchor)
        for block in wanted[j1:j2]:
            stood = next((one for one in free if one["type"] == block["type"]), None)
            if stood is not None:
                # What stood before it has no place in the new order.
                position = free.index(stood)
                found.deletions += [str(one["id"]) for one in free[:position]]
                del free[: position + 1]
                found.updates.append((str(stood["id"]), block))
                insert = _kept(found, insert, str(stood["id"]))
            elif not _take(not_there_any_more, mark(block)):
                insert.blocks.append(block)
        _kept(found, insert, None)
        found.deletions += [str(one["id"]) for one in free]
        if i1 < i2 and anchor is None:
            anchor = str(present[i2 - 1]["id"])
    return found


def _steps(marks: Sequence[str], meant: Sequence[str]) -> list[tuple[str, int, int, int, int]]:
    # Nothing can be written before a page's first block, so what begins alike stays as the beginning.
    alike = 0
    while alike < min(len(marks), len(meant)) and marks[alike] == meant[alike]:
        alike += 1
    rest = SequenceMatcher(None, marks[alike:], meant[alike:], autojunk=False).get_opcodes()
    begins = [("equal", 0, alike, 0, alike)] if alike else []
    return [
        *begins,
        *((tag, i1 + alike, i2 + alike, j1 + alike, j2 + alike) for tag, i1, i2, j1, j2 in rest),
    ]


def _only_by(block: Mapping[str, Any], author: str) -> bool:
    people = {str(block.get(role, {}).get("id", "")) for role in ("created_by", "last_edited_by")}
    return people == {author}


def _kept(found: Revision, insert: _Insert, after: str | None) -> _Insert:
    if insert.blocks:
        found.inserts.append(insert)
    return _Insert(after)


def _take(counted: Counter[str], one: str) -> bool:
    if counted[one] <= 0:
        return False
    counted[one] -= 1
    return True


class PageBlocks:
    """Reads and writes the blocks of pages, by the retry policy of ``caller``."""

    def __init__(self, client: AsyncClient, caller: Caller) -> None:
        self._client = client
        self._caller = caller
        self._me = ""

    async def children(self, page_id: str) -> list[dict[str, Any]]:
        """Every block of a page."""
        found: list[dict[str, Any]] = []
        more: dict[str, Any] = {"page_size": PAGE_SIZE}
        paging = Paging(f"the blocks of Notion's page {page_id}", NotionError)
        while True:
            answer = await self._caller.repeat(
                lambda: self._client.blocks.children.list(page_id, **more)  # pyright: ignore[reportReturnType]
            )
            found += answer["results"]
            if not answer.get("has_more"):
                return found
            paging.follow(answer.get("next_cursor"), [block["id"] for block in answer["results"]])
            more["start_cursor"] = answer["next_cursor"]

    async def append_rest(self, page_id: str, blocks: Sequence[Block], start: int) -> None:
        """Append ``blocks[start:]`` to a page that we have just made and that holds those before."""
        while start < len(blocks):
            part = next(requests_of(blocks[start:]))

            async def look(start: int = start) -> dict[str, Any] | None:
                held = _held(await self.children(page_id), blocks)
                return {"count": held - start} if held > start else None

            answer = await self._caller.write_once(
                lambda part=part: self._client.blocks.children.append(page_id, children=part),  # pyright: ignore[reportArgumentType]
                look,
                _committed,
            )
            start += answer.get("count", len(part))

    async def revise(self, page_id: str, blocks: Sequence[Block], ours: Sequence[str] | None) -> None:
        """Make a page say ``blocks``, see ``revision``. Cut short anywhere, and done again, it ends the same."""
        present = await self.children(page_id)
        needed = revision(present, blocks, ours, await self._author() if ours is None and present else "")
        for block_id, block in needed.updates:
            content = {block["type"]: block[block["type"]]}
            await self._caller.repeat(
                lambda block_id=block_id, content=content: self._client.blocks.update(block_id, **content)  # pyright: ignore[reportArgumentType]
            )
        known = {str(block["id"]) for block in present}
        for insert in needed.inserts:
            await self._insert(page_id, insert, known)
        for block_id in needed.deletions:
            await self._delete(block_id)

    async def _insert(self, page_id: str, insert: _Insert, known: set[str]) -> None:
        after, rest = insert.after, list(insert.blocks)
        while rest:
            part = next(requests_of(rest))
            place = {"after": after} if after else {}

            async def look(part: list[Block] = part, after: str | None = after) -> dict[str, Any] | None:
                new = _new_behind(await self.children(page_id), part, after, known)
                return {"ids": new} if new else None

            answer = await self._caller.write_once(
                lambda part=part, place=place: self._client.blocks.children.append(page_id, children=part, **place),  # pyright: ignore[reportArgumentType]
                look,
                lambda body: {"ids": body["committed_child_ids"]} if body.get("committed_child_ids") else None,
            )
            ids = answer.get("ids") or [str(block["id"]) for block in answer.get("results", [])]
            if len(ids) > len(part) or not ids:
                # Some answers list what follows as well.
                ids = _new_behind(await self.children(page_id), part, after, known)
            known.update(ids)
            after, rest = ids[-1], rest[len(ids) :]

    async def _author(self) -> str:
        if not self._me:
            answer = await self._caller.repeat(lambda: self._client.users.me())  # pyright: ignore[reportReturnType]
            self._me = str(answer["id"])
        return self._me

    async def _delete(self, block_id: str) -> None:
        try:
            await self._caller.repeat(lambda: self._client.blocks.delete(block_id))  # pyright: ignore[reportReturnType]
        except Refused as refused:
            if not refused.gone:
                raise


def _committed(body: dict[str, Any]) -> dict[str, Any] | None:
    ids = body.get("committed_child_ids")
    return {"count": len(ids)} if ids else None


def _held(present: Sequence[Mapping[str, Any]], blocks: Sequence[Block]) -> int:
    """How many of ``blocks`` a page holds from the first on; what people put between them does not count."""
    marks, meant = [mark(block) for block in present], [mark(block) for block in blocks]
    matching = SequenceMatcher(None, marks, meant, autojunk=False).get_matching_blocks()
    return max((match.b + match.size for match in matching if match.size), default=0)


def _new_behind(
    present: Sequence[Mapping[str, Any]], part: Sequence[Block], after: str | None, known: set[str]
) -> list[str]:
    """The ids of those of ``part`` that now stand behind ``after`` and did not before."""
    ids = [str(block["id"]) for block in present]
    start = (
        ids.index(after) + 1 if after in ids else next((n for n, one in enumerate(ids) if one not in known), len(ids))
    )
    new: list[str] = []
    for block, wanted in zip(present[start:], part, strict=False):
        if str(block["id"]) in known or mark(block) != mark(wanted):
            break
        new.append(str(block["id"]))
    return new
