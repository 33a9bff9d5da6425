"""Notion's rich text: runs of at most 2,000 UTF-16 units, at most 100 per array. No text is dropped.

Only control characters, which Notion rejects, are removed and counted. The renderers define the text of the blocks.
Limits: https://developers.notion.com/reference/request-limits
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

RUN_UNITS = 2000
RUNS_PER_ARRAY = 100
OPTION_UNITS = 100
BLOCKS_PER_REQUEST = 100
# Notion counts the children of blocks in this limit.
ALL_BLOCKS_PER_REQUEST = 1000
CHILDREN_PER_BLOCK = 100
# Notion accepts 500,000 bytes per request, including the JSON around the blocks.
REQUEST_BYTES = 480_000
BLOCK_BYTES = 400_000

Block = dict[str, Any]
Run = dict[str, Any]


@dataclass(frozen=True)
class Cleaned:
    """Text without control characters, and the number of removed characters."""

    text: str
    removed: int


def clean(text: str) -> Cleaned:
    """Remove control characters except new lines and tabs, and unpaired surrogates."""
    if text.isprintable():
        return Cleaned(text, 0)
    kept = "".join(character for character in text if character in "\n\t" or not _is_rejected(character))
    return Cleaned(kept, len(text) - len(kept))


def units(text: str) -> int:
    """The length in UTF-16 units, which is how Notion counts. Most emoji count as two."""
    return len(text) + sum(1 for character in text if ord(character) > 0xFFFF)


def pieces(text: str, maximum: int = RUN_UNITS) -> Iterator[str]:
    """Split ``text`` into pieces of at most ``maximum`` units, without splitting a character."""
    start, length = 0, 0
    for position, character in enumerate(text):
        width = 2 if ord(character) > 0xFFFF else 1
        if length + width > maximum:
            yield text[start:position]
            start, length = position, 0
        length += width
    if start < len(text):
        yield text[start:]


def runs(text: str, **annotations: bool) -> list[Run]:
    """The runs of a text; ``annotations`` such as ``bold=True`` apply to all of them."""
    decorated = {"annotations": annotations} if annotations else {}
    return [{"type": "text", "text": {"content": piece}, **decorated} for piece in pieces(clean(text).text)]


def text_blocks(kind: str, text: str, *, bold: str = "", **more: Any) -> list[Block]:
    """One block of ``kind``, or several if the text exceeds 100 runs or the maximum size of a request.

    ``bold`` is bold text before ``text``.
    """
    arrays: list[list[Run]] = [[]]
    size_so_far = 0
    for run in [*(runs(bold, bold=True) if bold else []), *runs(text)]:
        size = encoded_bytes(run)
        if arrays[-1] and (len(arrays[-1]) == RUNS_PER_ARRAY or size_so_far + size > BLOCK_BYTES):
            arrays.append([])
            size_so_far = 0
        arrays[-1].append(run)
        size_so_far += size
    return [{"object": "block", "type": kind, kind: {"rich_text": array, **more}} for array in arrays]


def toggle_blocks(text: str, children: Sequence[Block]) -> list[Block]:
    """A toggle with ``text`` that contains ``children``; several, with numbers, if they exceed one request."""
    parts: list[list[Block]] = [[]]
    size_so_far = 0
    for child in children:
        size = encoded_bytes(child)
        if parts[-1] and (len(parts[-1]) == CHILDREN_PER_BLOCK or size_so_far + size > BLOCK_BYTES):
            parts.append([])
            size_so_far = 0
        parts[-1].append(child)
        size_so_far += size
    return [
        {
            "object": "block",
            "type": "toggle",
            "toggle": {
                "rich_text": runs(text if len(parts) == 1 else f"{text} ({number} of {len(parts)})", bold=True),
                "children": part,
            },
        }
        for number, part in enumerate(parts, 1)
    ]


def table_block(rows: Sequence[Sequence[str]]) -> Block:
    """A table; the first row has the names of the columns. At most 100 rows, each text at most 2,000 units."""
    children = [
        {"object": "block", "type": "table_row", "table_row": {"cells": [runs(cell) for cell in row]}} for row in rows
    ]
    return {
        "object": "block",
        "type": "table",
        "table": {
            "table_width": len(rows[0]),
            "has_column_header": True,
            "has_row_header": True,
            "children": children,
        },
    }


def children_of(block: Block) -> list[Block]:
    """The children of a block in the format of a request."""
    return block[block["type"]].get("children", [])


def requests_of(blocks: Sequence[Block], taken: int = 0) -> Iterator[list[Block]]:
    """Split ``blocks`` into lists that fit into one request: at most 100 blocks, 1,000 with their children, and at
    most ``REQUEST_BYTES``.

    ``taken`` is the number of bytes that the first request needs for other content, such as a page's properties.
    """
    part: list[Block] = []
    size_so_far, count_so_far = taken, 0
    for block in blocks:
        size, count = encoded_bytes(block), 1 + len(children_of(block))
        if (
            len(part) == BLOCKS_PER_REQUEST
            or count_so_far + count > ALL_BLOCKS_PER_REQUEST
            or (size_so_far + size > REQUEST_BYTES and (part or size_so_far))
        ):
            yield part
            part, size_so_far, count_so_far = [], 0, 0
        part.append(block)
        size_so_far += size
        count_so_far += count
    if part:
        yield part


def encoded_bytes(content: Any) -> int:
    """The number of bytes of ``content`` in the body of a request, including the comma."""
    return len(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()) + 1


def option_name(text: str) -> str:
    """A valid name of a select option: no commas, at most 100 units, no surrounding spaces; it may be empty."""
    name = clean(text).text.replace(",", " ").strip()
    return next(pieces(name, OPTION_UNITS), "").strip()


def plain(rich_text: Sequence[Run]) -> str:
    """The plain text of runs, in the format of a request or of an answer."""
    return "".join(run.get("plain_text", run.get("text", {}).get("content", "")) for run in rich_text)


def _is_rejected(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs")
