"""Text as Notion takes it: runs of at most 2,000 UTF-16 units, at most 100 to an array, and nothing ever dropped.

Control characters, which Notion refuses, are the one thing that is taken out; how many is counted.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

RUN_UNITS = 2000
RUNS_PER_ARRAY = 100
OPTION_CHARACTERS = 100

Block = dict[str, Any]
Run = dict[str, Any]


@dataclass(frozen=True)
class Cleaned:
    """Text without control characters, and how many were taken out."""

    text: str
    removed: int


def clean(text: str) -> Cleaned:
    """Take out control characters but for new lines and tabs, and halves of surrogate pairs."""
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


def text_blocks(kind: str, text: str, **more: Any) -> list[Block]:
    """One block of ``kind``, and further ones where the text needs more than 100 runs."""
    found = runs(text)
    arrays = [found[start : start + RUNS_PER_ARRAY] for start in range(0, len(found), RUNS_PER_ARRAY)] or [[]]
    return [{"object": "block", "type": kind, kind: {"rich_text": array, **more}} for array in arrays]


def option_name(text: str) -> str:
    """A select option's name: no commas, at most 100 characters."""
    return clean(text).text.replace(",", " ").strip()[:OPTION_CHARACTERS]


def plain(rich_text: list[Run]) -> str:
    """The text of runs as they come back."""
    return "".join(run.get("plain_text", run.get("text", {}).get("content", "")) for run in rich_text)


def _refused(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs")
