"""Prepares values and blocks for the browser view: styled runs, formatted dates, list items grouped into lists."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any

from csm_core.notion_sandbox.properties import moment
from csm_core.notion_sandbox.store import Store
from csm_core.notion_sandbox.store_file import Row

Values = dict[str, Any]

_LISTS = {"bulleted_list_item": "ul", "numbered_list_item": "ol"}
_FLAGS = ("bold", "italic", "strikethrough", "underline", "code")


def read_value(shown: Values) -> Values:
    """A value with the kind of its display: runs, chips, text, number, moment, check or empty."""
    kind = shown["type"]
    value = shown[kind]
    if kind == "checkbox":
        return {"kind": "check", "on": value}
    if value is None or value == []:
        return {"kind": "empty"}
    if kind in ("title", "rich_text"):
        return {"kind": "runs", "runs": read_runs(value)}
    if kind in ("select", "status"):
        return {"kind": "chips", "chips": [value]}
    if kind == "multi_select":
        return {"kind": "chips", "chips": value}
    if kind == "number":
        return {"kind": "number", "text": f"{value:,}"}
    if kind == "date":
        text = read_moment(value["start"])
        return {"kind": "moment", "text": f"{text} → {read_moment(value['end'])}" if value["end"] else text}
    if kind in ("created_time", "last_edited_time"):
        return {"kind": "moment", "text": read_moment(value)}
    return {"kind": "text", "text": str(value)}


def read_moment(text: str) -> str:
    """A formatted date or time; times are in UTC."""
    instant = moment(text)
    if instant is None:
        return text
    if len(text) == 10:
        return f"{instant.day} {instant:%B %Y}"
    instant = instant.astimezone(UTC)
    return f"{instant.day} {instant:%B %Y, %H:%M} UTC"


def read_runs(runs: list[Values]) -> list[Values]:
    """Runs of text with their CSS classes."""
    return [
        {
            "text": run["plain_text"],
            "classes": " ".join(
                [flag for flag in _FLAGS if run["annotations"][flag]] + _color(run["annotations"]["color"])
            ),
            "href": run["href"],
        }
        for run in runs
    ]


def block_tree(store: Store, rows: list[Row]) -> list[Values]:
    """Blocks with their children; adjacent list items become one list."""
    shown: list[Values] = []
    for row in rows:
        block = _block(store, row)
        tag = _LISTS.get(row["type"])
        if tag is None:
            shown.append(block)
        elif shown and shown[-1]["type"] == tag:
            shown[-1]["items"].append(block)
        else:
            shown.append({"type": tag, "items": [block]})
    return shown


def _block(store: Store, row: Row) -> Values:
    content = json.loads(row["content"])
    block: Values = {
        "type": row["type"],
        "runs": read_runs(content.get("rich_text", [])),
        "classes": " ".join(_color(content.get("color", "default"))),
    }
    if row["type"] in ("child_page", "child_database"):
        return {**block, "link": "/" + row["id"].replace("-", ""), "title": content["title"]}
    if row["type"] == "callout":
        block["icon"] = (content["icon"] or {}).get("emoji", "")
    elif row["type"] == "to_do":
        block["checked"] = content["checked"]
    elif row["type"] == "image":
        block["url"] = f"/_files/{content['file']['id']}" if "file" in content else content["external"]["url"]
        block["caption"] = "".join(run["plain_text"] for run in content["caption"])
    elif row["type"] == "bookmark":
        block["url"] = content["url"]
    elif row["type"] == "table":
        rows = [json.loads(child["content"])["cells"] for child in store.blocks.children(row["id"])]
        block["rows"] = [[read_runs(cell) for cell in cells] for cells in rows]
        block["column_header"] = content["has_column_header"]
        block["row_header"] = content["has_row_header"]
        return block
    block["children"] = block_tree(store, store.blocks.children(row["id"]))
    return block


def _color(color: str) -> list[str]:
    return [] if color == "default" else [f"tone-{color.replace('_', '-')}"]
