"""Validates rich text of requests; in responses, adjacent runs of one style are merged and empty runs are removed."""

from __future__ import annotations

from typing import Any

from csm_core.notion_sandbox.errors import MISSING, invalid
from csm_core.notion_sandbox.validation import (
    MAX_RUNS,
    TEXT_COLORS,
    as_bool,
    as_choice,
    as_list,
    as_object,
    as_text,
    as_url,
)

_FLAGS = ("bold", "italic", "strikethrough", "underline", "code")


def clean_rich_text(value: Any, path: str) -> list[dict[str, Any]]:
    """The runs in the format of responses.

    Raises a 400 for more than 100 runs, more than 2,000 UTF-16 units in a run, or another type than text.
    """
    runs = [_clean_run(item, f"{path}[{position}]") for position, item in enumerate(as_list(value, path, MAX_RUNS))]
    merged: list[dict[str, Any]] = []
    for run in runs:
        if not run["plain_text"]:
            continue
        if merged and _style(merged[-1]) == _style(run):
            joined = merged[-1]["plain_text"] + run["plain_text"]
            merged[-1]["text"]["content"] = joined
            merged[-1]["plain_text"] = joined
        else:
            merged.append(run)
    return merged


def plain(runs: list[dict[str, Any]]) -> str:
    """The text without styles."""
    return "".join(run["plain_text"] for run in runs)


def _style(run: dict[str, Any]) -> tuple[Any, Any]:
    return run["annotations"], run["href"]


def _clean_run(item: Any, path: str) -> dict[str, Any]:
    run = as_object(item, path, ("type", "text", "annotations", "plain_text", "href", "mention", "equation"))
    if run.get("type", "text") != "text" or "mention" in run or "equation" in run:
        raise invalid(f"{path}: the sandbox only supports rich text of the type text.")
    text = as_object(run.get("text", MISSING), f"{path}.text", ("content", "link"))
    content = as_text(text.get("content"), f"{path}.text.content")
    link = text.get("link")
    if link is not None:
        link = {"url": as_url(as_object(link, f"{path}.text.link").get("url"), f"{path}.text.link.url")}
    return {
        "type": "text",
        "text": {"content": content, "link": link},
        "annotations": _clean_annotations(run.get("annotations", {}), f"{path}.annotations"),
        "plain_text": content,
        "href": link["url"] if link else None,
    }


def _clean_annotations(value: Any, path: str) -> dict[str, Any]:
    raw = as_object(value, path, (*_FLAGS, "color"))
    cleaned: dict[str, Any] = {flag: as_bool(raw.get(flag, False), f"{path}.{flag}") for flag in _FLAGS}
    cleaned["color"] = as_choice(raw.get("color", "default"), f"{path}.color", TEXT_COLORS)
    return cleaned
