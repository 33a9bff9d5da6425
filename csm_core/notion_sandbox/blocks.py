"""The types of blocks, their content, and the limits of one request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from csm_core.notion_sandbox.errors import MISSING, invalid, invalid_parameter
from csm_core.notion_sandbox.rich_text import clean_rich_text
from csm_core.notion_sandbox.validation import (
    MAX_BLOCKS,
    MAX_CHILDREN,
    TEXT_COLORS,
    as_bool,
    as_choice,
    as_icon,
    as_id,
    as_list,
    as_object,
    as_text,
    as_url,
)

MAX_DEPTH = 2
MAX_TABLE_WIDTH = 100

_HEADINGS = ("heading_1", "heading_2", "heading_3")
_TEXT_TYPES = (
    *_HEADINGS,
    "paragraph",
    "bulleted_list_item",
    "numbered_list_item",
    "quote",
    "toggle",
    "to_do",
    "callout",
)
_EMPTY_TYPES = ("divider", "breadcrumb")
_TYPES = (*_TEXT_TYPES, *_EMPTY_TYPES, "code", "bookmark", "image", "table_of_contents", "table", "table_row")
_PARENTS = frozenset(
    ("paragraph", "bulleted_list_item", "numbered_list_item", "quote", "toggle", "to_do", "callout", "table")
)
_FRAME = ("object", "type", "id")


@dataclass
class NewBlock:
    """A validated block without an id."""

    type: str
    content: dict[str, Any]
    children: list[NewBlock] = field(default_factory=list["NewBlock"])


def clean_children(value: Any, path: str) -> list[NewBlock]:
    """The blocks of one request.

    Raises a 400 for more than 100 blocks in an array or 1,000 in total, more than two levels, or an unknown type.
    """
    blocks = _clean_array(value, path, depth=1)
    total = _count(blocks)
    if total > MAX_BLOCKS:
        raise invalid_parameter(f"{path}.length", f"≤ `{MAX_BLOCKS}` blocks in all", total)
    return blocks


def may_have_children(block_type: str) -> bool:
    """Whether blocks can be appended under a block of this type."""
    return block_type in _PARENTS or block_type == "child_page"


def clean_content(block_type: str, raw: dict[str, Any], path: str) -> dict[str, Any]:
    """The content of a block of this type in the format of responses, without children."""
    if block_type in _TEXT_TYPES:
        return _clean_text_block(block_type, raw, path)
    if block_type in _EMPTY_TYPES:
        as_object(raw, path, ())
        return {}
    return _OTHERS[block_type](raw, path)


def merge_content(block_type: str, old: dict[str, Any], raw: dict[str, Any], path: str) -> dict[str, Any]:
    """The content of a block after an update; fields that are not in the update are unchanged."""
    return clean_content(block_type, {**old, **raw}, path)


def type_of(block: dict[str, Any], path: str) -> str:
    """The type that the keys of a block name."""
    named = [key for key in block if key in _TYPES]
    if len(named) != 1:
        listed = ", ".join(f"`{block_type}`" for block_type in _TYPES)
        raise invalid(f"body failed validation: {path} should have exactly one of {listed}.")
    if block.get("type", named[0]) != named[0]:
        raise invalid_parameter(f"{path}.type", f'`"{named[0]}"`', block["type"])
    return named[0]


def _clean_array(value: Any, path: str, depth: int) -> list[NewBlock]:
    items = as_list(value, path, MAX_CHILDREN)
    return [_clean_block(item, f"{path}[{position}]", depth) for position, item in enumerate(items)]


def _clean_block(item: Any, path: str, depth: int) -> NewBlock:
    block = as_object(item, path)
    block_type = type_of(block, path)
    as_object(block, path, (*_FRAME, block_type))
    as_choice(block.get("object", "block"), f"{path}.object", ("block",))
    place = f"{path}.{block_type}"
    raw = dict(as_object(block[block_type], place))
    children: list[NewBlock] = []
    if "children" in raw:
        if depth >= MAX_DEPTH or block_type not in _PARENTS:
            raise invalid_parameter(f"{place}.children", "not present", raw["children"])
        children = _clean_array(raw.pop("children"), f"{place}.children", depth + 1)
    content = clean_content(block_type, raw, place)
    if block_type == "table":
        _check_table(content, children, place)
    return NewBlock(block_type, content, children)


def _clean_text_block(block_type: str, raw: dict[str, Any], path: str) -> dict[str, Any]:
    allowed = ["rich_text", "color"]
    if block_type in _HEADINGS:
        allowed.append("is_toggleable")
    elif block_type == "to_do":
        allowed.append("checked")
    elif block_type == "callout":
        allowed.append("icon")
    as_object(raw, path, allowed)
    content: dict[str, Any] = {
        "rich_text": clean_rich_text(raw.get("rich_text", MISSING), f"{path}.rich_text"),
        "color": as_choice(raw.get("color", "default"), f"{path}.color", TEXT_COLORS),
    }
    if block_type in _HEADINGS:
        content["is_toggleable"] = as_bool(raw.get("is_toggleable", False), f"{path}.is_toggleable")
    elif block_type == "to_do":
        content["checked"] = as_bool(raw.get("checked", False), f"{path}.checked")
    elif block_type == "callout":
        content["icon"] = as_icon(raw.get("icon", {"emoji": "💡"}), f"{path}.icon")
    return content


def _clean_code(raw: dict[str, Any], path: str) -> dict[str, Any]:
    as_object(raw, path, ("rich_text", "caption", "language"))
    return {
        "caption": clean_rich_text(raw.get("caption", []), f"{path}.caption"),
        "rich_text": clean_rich_text(raw.get("rich_text", MISSING), f"{path}.rich_text"),
        "language": as_text(raw.get("language"), f"{path}.language", 40),
    }


def _clean_bookmark(raw: dict[str, Any], path: str) -> dict[str, Any]:
    as_object(raw, path, ("url", "caption"))
    return {
        "caption": clean_rich_text(raw.get("caption", []), f"{path}.caption"),
        "url": as_url(raw.get("url"), f"{path}.url"),
    }


def _clean_image(raw: dict[str, Any], path: str) -> dict[str, Any]:
    as_object(raw, path, ("type", "file_upload", "external", "file", "caption"))
    caption = clean_rich_text(raw.get("caption", []), f"{path}.caption")
    if "external" in raw:
        external = as_object(raw["external"], f"{path}.external", ("url",))
        return {
            "caption": caption,
            "type": "external",
            "external": {"url": as_url(external.get("url"), f"{path}.external.url")},
        }
    if "file_upload" in raw:
        upload = as_object(raw["file_upload"], f"{path}.file_upload", ("id",))
        return {
            "caption": caption,
            "type": "file",
            "file": {"id": as_id(upload.get("id"), f"{path}.file_upload.id")},
        }
    # An update that does not name a file keeps the present one.
    stored = as_object(raw.get("file", MISSING), f"{path}.file_upload", ("id",))
    return {"caption": caption, "type": "file", "file": stored}


def _clean_contents(raw: dict[str, Any], path: str) -> dict[str, Any]:
    as_object(raw, path, ("color",))
    return {"color": as_choice(raw.get("color", "gray"), f"{path}.color", TEXT_COLORS)}


def _clean_table(raw: dict[str, Any], path: str) -> dict[str, Any]:
    as_object(raw, path, ("table_width", "has_column_header", "has_row_header"))
    width = raw.get("table_width")
    if not isinstance(width, int) or isinstance(width, bool) or not 1 <= width <= MAX_TABLE_WIDTH:
        raise invalid_parameter(f"{path}.table_width", f"a number from 1 to {MAX_TABLE_WIDTH}", width)
    return {
        "table_width": width,
        "has_column_header": as_bool(raw.get("has_column_header", False), f"{path}.has_column_header"),
        "has_row_header": as_bool(raw.get("has_row_header", False), f"{path}.has_row_header"),
    }


def _clean_row(raw: dict[str, Any], path: str) -> dict[str, Any]:
    as_object(raw, path, ("cells",))
    cells = as_list(raw.get("cells", MISSING), f"{path}.cells", MAX_TABLE_WIDTH)
    return {"cells": [clean_rich_text(cell, f"{path}.cells[{position}]") for position, cell in enumerate(cells)]}


def _check_table(content: dict[str, Any], rows: list[NewBlock], path: str) -> None:
    if not rows:
        raise invalid_parameter(f"{path}.children", "defined, instead was `undefined`")
    for position, row in enumerate(rows):
        if row.type != "table_row":
            raise invalid_parameter(f"{path}.children[{position}].type", '`"table_row"`', row.type)
        if len(row.content["cells"]) != content["table_width"]:
            raise invalid(
                "Content creation Failed. Fix the following: Number of cells in table row must match table width."
            )


def _count(blocks: list[NewBlock]) -> int:
    return sum(1 + _count(block.children) for block in blocks)


_OTHERS = {
    "code": _clean_code,
    "bookmark": _clean_bookmark,
    "image": _clean_image,
    "table_of_contents": _clean_contents,
    "table": _clean_table,
    "table_row": _clean_row,
}
