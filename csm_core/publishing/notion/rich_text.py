"""Text as Notion takes it: runs of at most 2,000 UTF-16 units, at most 100 to an array, and nothing ever dropped.

Control characters, which Notion refuses, are the one thing that is taken out; how many is counted. Not here: what the
blocks say. Limits: https://developers.notion.com/reference/request-limits
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
# Notion takes 500,000 bytes to a request; what is around the blocks needs some of them.
REQUEST_BYTES = 480_000
BLOCK_BYTES = 400_000

Block = dict[str, Any]
Run = dict[str, Any]


@dataclass(frozen=True)
class Cleaned:
    """Text without control characters, and how many were taken out."""

    text: str
    removed: int


def clean(text: str) -> Cleaned:
    """Take out control characters but for new lines and tabs, and halves of surrogate pairs."""
    if text.isprintable():
        return Cleaned(text, 0)
    kept = "".join(character for character in text if character in "\n\t" or not _refused(character))
    return Cleaned(kept, len(text) - len(kept))


def units(text: str) -> int:
    """Length as Notion counts it: UTF-16 units, so that most emoji count two."""
    return len(text) + sum(1 for character in text if ord(character) > 0xFFFF)


def pieces(text: str, most: int = RUN_UNITS) -> Iterator[str]:
    """``text`` in pieces of at most ``most`` units, none of which ends within a character."""
    start, length = 0, 0
    for position, character in enumerate(text):
        width = 2 if ord(character) > 0xFFFF else 1
        if length + width > most:
            yield text[start:position]
            start, length = position, 0
        length += width
    if start < len(text):
        yield text[start:]


def runs(text: str, **annotations: bool) -> list[Run]:
    """The runs of a text, however many; ``annotations`` such as ``bold=True`` apply to all of them."""
    decorated = {"annotations": annotations} if annotations else {}
    return [{"type": "text", "text": {"content": piece}, **decorated} for piece in pieces(clean(text).text)]


def text_blocks(kind: str, text: str, *, bold: str = "", **more: Any) -> list[Block]:
    """One block of ``kind``, and further ones where the text needs more than 100 runs or than a request can carry.

    ``bold`` is text that stands before ``text``, in bold.
    """
    arrays: list[list[Run]] = [[]]
    held = 0
    for run in [*(runs(bold, bold=True) if bold else []), *runs(text)]:
        size = encoded_bytes(run)
        if arrays[-1] and (len(arrays[-1]) == RUNS_PER_ARRAY or held + size > BLOCK_BYTES):
            arrays.append([])
            held = 0
        arrays[-1].append(run)
        held += size
    return [{"object": "block", "type": kind, kind: {"rich_text": array, **more}} for array in arrays]


def requests_of(blocks: Sequence[Block], taken: int = 0) -> Iterator[list[Block]]:
    """``blocks`` in lists that one request can carry: at most 100, and few enough bytes.

    ``taken`` bytes of the first request are needed for something else, such as a page's properties.
    """
    part: list[Block] = []
    held = taken
    for block in blocks:
        size = encoded_bytes(block)
        if len(part) == BLOCKS_PER_REQUEST or (held + size > REQUEST_BYTES and (part or held)):
            yield part
            part, held = [], 0
        part.append(block)
        held += size
    if part:
        yield part


def encoded_bytes(content: Any) -> int:
    """Bytes that ``content`` takes in the body of a request, its comma included."""
    return len(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()) + 1


def option_name(text: str) -> str:
    """A select option's name: no commas, at most 100 units, nothing around it; empty where nothing is left."""
    name = clean(text).text.replace(",", " ").strip()
    return next(pieces(name, OPTION_UNITS), "").strip()


def plain(rich_text: Sequence[Run]) -> str:
    """The text of runs as they come back, or as they are sent."""
    return "".join(run.get("plain_text", run.get("text", {}).get("content", "")) for run in rich_text)


def _refused(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs")
