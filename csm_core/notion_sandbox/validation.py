"""Validates values of requests: types, sizes, ids and paging."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from csm_core.notion_sandbox.errors import MISSING, invalid_parameter

MAX_TEXT_UNITS = 2_000
MAX_RUNS = 100
MAX_CHILDREN = 100
MAX_BLOCKS = 1_000
MAX_PAYLOAD_BYTES = 500_000
MAX_PAGE_SIZE = 100
MAX_OPTION_NAME = 100
MAX_OPTIONS = 100
MAX_URL = 2_000
MAX_RELATED = 100
MAX_PEOPLE = 100
SHOWN_ITEMS = 25

COLORS = ("default", "gray", "brown", "orange", "yellow", "green", "blue", "purple", "pink", "red")
TEXT_COLORS = frozenset((*COLORS, *(f"{color}_background" for color in COLORS)))

_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\Z", re.IGNORECASE)


def as_id(value: Any, path: str) -> str:
    """An id in lower case with dashes; dashes are optional in requests."""
    if not isinstance(value, str) or not _UUID.match(value):
        raise invalid_parameter(path, "a valid uuid", value)
    bare = value.replace("-", "").lower()
    return f"{bare[:8]}-{bare[8:12]}-{bare[12:16]}-{bare[16:20]}-{bare[20:]}"


def as_object(value: Any, path: str, allowed: Collection[str] | None = None) -> dict[str, Any]:
    """A JSON object; raises an error for a key that is not allowed."""
    if value is MISSING:
        raise invalid_parameter(path, "defined, instead was `undefined`")
    if not isinstance(value, dict):
        raise invalid_parameter(path, "an object", value)
    if allowed is not None:
        for key, item in value.items():
            if key not in allowed:
                raise invalid_parameter(f"{path}.{key}", "not present", item)
    return value


def as_list(value: Any, path: str, maximum: int) -> list[Any]:
    """A JSON array of at most ``maximum`` items."""
    if value is MISSING:
        raise invalid_parameter(path, "defined, instead was `undefined`")
    if not isinstance(value, list):
        raise invalid_parameter(path, "an array", value)
    if len(value) > maximum:
        raise invalid_parameter(f"{path}.length", f"≤ `{maximum}`", len(value))
    return value


def as_text(value: Any, path: str, maximum: int | None = MAX_TEXT_UNITS) -> str:
    """A valid string of at most ``maximum`` UTF-16 units."""
    if not isinstance(value, str):
        raise invalid_parameter(path, "a string", value)
    try:
        units = len(value.encode("utf-16-le")) // 2
    except UnicodeEncodeError:
        raise invalid_parameter(path, "valid Unicode; it has half a surrogate pair") from None
    if "\x00" in value:
        raise invalid_parameter(path, "text without the character U+0000")
    if maximum is not None and units > maximum:
        raise invalid_parameter(f"{path}.length", f"≤ `{maximum}`", units)
    return value


def as_bool(value: Any, path: str) -> bool:
    """A boolean."""
    if not isinstance(value, bool):
        raise invalid_parameter(path, "a boolean", value)
    return value


def as_choice(value: Any, path: str, choices: Collection[str]) -> str:
    """One of a fixed set of values."""
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(f'`"{choice}"`' for choice in sorted(choices))
        raise invalid_parameter(path, listed, value)
    return value


def as_url(value: Any, path: str) -> str:
    """An http, https or mailto URL."""
    text = as_text(value, path, MAX_URL)
    try:
        parts = urlsplit(text)
    except ValueError:
        raise invalid_parameter(path, "a valid URL", text) from None
    reachable = (parts.scheme in {"http", "https"} and parts.netloc) or (parts.scheme == "mailto" and parts.path)
    if not reachable:
        raise invalid_parameter(path, "a valid URL", text)
    return text


def as_icon(value: Any, path: str) -> dict[str, Any] | None:
    """An icon: an emoji, an external image, or None."""
    if value is None:
        return None
    icon = as_object(value, path, ("type", "emoji", "external"))
    if "emoji" in icon:
        emoji = as_text(icon["emoji"], f"{path}.emoji", 40)
        symbol = any(unicodedata.category(char) in {"So", "Sm", "Sk"} or char in "#*0123456789" for char in emoji)
        if not emoji or not symbol or any(char.isspace() or char.isalpha() for char in emoji):
            raise invalid_parameter(f"{path}.emoji", "an emoji", emoji)
        return {"type": "emoji", "emoji": emoji}
    external = as_object(icon.get("external", MISSING), f"{path}.external", ("url",))
    return {"type": "external", "external": {"url": as_url(external.get("url"), f"{path}.external.url")}}


def as_page_size(value: Any, path: str, *, textual: bool = True) -> int:
    """The number of results per page: 1 to 100, by default 100. It is text in a query string and a number in a body."""
    if value is None or value is MISSING:
        return MAX_PAGE_SIZE
    if textual and isinstance(value, str) and value.isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise invalid_parameter(path, "a number", value)
    if value < 1:
        raise invalid_parameter(path, "≥ `1`", value)
    if value > MAX_PAGE_SIZE:
        raise invalid_parameter(path, f"≤ `{MAX_PAGE_SIZE}`", value)
    return value
