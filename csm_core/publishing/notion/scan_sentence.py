"""The sentence in the description of the accounts database that states which day its scores are of.

It is written once per published day. Other text in the description belongs to users and is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from csm_core.publishing.notion.rich_text import Run, plain, runs

_SENTENCE = re.compile(r" ?Scores of (\d{4}-\d{2}-\d{2}), scanned \d{4}-\d{2}-\d{2} \d{2}:\d{2} UTC\.")


def scan_sentence(day: date, scanned_at: datetime) -> str:
    """The sentence for a published day."""
    return f"Scores of {day}, scanned {scanned_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC."


def described_day(description: Sequence[Mapping[str, Any]]) -> date | None:
    """The day that a description states; None if it has no such sentence."""
    found = _SENTENCE.search(plain([dict(run) for run in description]))
    return date.fromisoformat(found[1]) if found else None


def with_sentence(description: Sequence[Mapping[str, Any]], sentence: str) -> list[Run]:
    """The description with the sentence at its end, in place of the one for another day; all other text is kept."""
    kept: list[Run] = []
    for run in description:
        if run["type"] != "text":
            # A mention or an equation has its content under its own type.
            kept.append({"type": run["type"], run["type"]: run[run["type"]], "annotations": run["annotations"]})
            continue
        content = _SENTENCE.sub("", run["text"]["content"])
        if content:
            text = {"content": content, "link": run["text"].get("link")}
            kept.append({"type": "text", "text": text, "annotations": run["annotations"]})
    return [*kept, *runs(f" {sentence}" if kept else sentence)]
