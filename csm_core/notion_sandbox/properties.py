"""The schema of a data source and the property values of its pages.

A schema maps the name of a property to its configuration (``id``, ``name``, ``type`` and the fields of the type).
Values are stored by property id in the format of responses, so that a renamed property keeps its values.
``property_schema`` changes schemas, ``property_values`` validates values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from csm_core.notion_sandbox.rich_text import plain
from csm_core.notion_sandbox.validation import SHOWN_ITEMS

Schema = dict[str, dict[str, Any]]
Values = dict[str, Any]

TITLE_ID = "title"
SELECTS = ("select", "status")
TEXTS = ("title", "rich_text")
COMPUTED = ("created_time", "last_edited_time")
EMPTY_CONFIGS = (
    "title",
    "rich_text",
    "date",
    "checkbox",
    "url",
    "email",
    "phone_number",
    "people",
    "files",
    "created_time",
    "last_edited_time",
)
OPTION_CONFIGS = ("select", "multi_select", "status")
PROPERTY_TYPES = (*EMPTY_CONFIGS, *OPTION_CONFIGS, "number", "relation")
DATE = re.compile(r"\d{4}-\d{2}-\d{2}\Z")


@dataclass(frozen=True)
class Cell:
    """The text or number of a property value that filters and sorts use."""

    property_id: str
    text: str | None
    number: float | None


def find_property(schema: Schema, key: str) -> dict[str, Any] | None:
    """A property by its name, or else by its id."""
    if key in schema:
        return schema[key]
    return next((config for config in schema.values() if config["id"] == key), None)


def empty_value(config: dict[str, Any]) -> Any:
    """The value of a property that is not set."""
    kind = config["type"]
    if kind in (*TEXTS, "multi_select", "relation", "people", "files"):
        return []
    return False if kind == "checkbox" else None


def shown_value(config: dict[str, Any], values: Values, times: tuple[str, str]) -> dict[str, Any]:
    """A property of a page in a response: at most 25 runs, relations or people; options with their current names.

    ``times`` are the created and last edited times of the page, for the properties of these types.
    """
    kind = config["type"]
    value = values.get(config["id"], empty_value(config))
    shown: dict[str, Any] = {"id": config["id"], "type": kind}
    if kind in COMPUTED:
        value = times[COMPUTED.index(kind)]
    elif kind in SELECTS:
        value = None if value is None else option_by_id(config, value)
    elif kind == "multi_select":
        value = [option for option in (option_by_id(config, item) for item in value) if option is not None]
    elif kind in TEXTS:
        value = value[:SHOWN_ITEMS]
    elif kind == "relation":
        shown["has_more"] = len(value) > SHOWN_ITEMS
        value = value[:SHOWN_ITEMS]
    elif kind == "people":
        value = [{"object": "user", **item} for item in value[:SHOWN_ITEMS]]
    shown[kind] = value
    return shown


def option_by_id(config: dict[str, Any], option_id: str) -> dict[str, Any] | None:
    """An option in the format of a page, or None if it was removed."""
    for option in config[config["type"]]["options"]:
        if option["id"] == option_id:
            return {"id": option["id"], "name": option["name"], "color": option["color"]}
    return None


def cells(schema: Schema, values: Values) -> list[Cell]:
    """The cells of property values for filters and sorts; empty values have none."""
    found: list[Cell] = []
    for config in schema.values():
        if config["id"] in values:
            found.extend(_cells(config, values[config["id"]]))
    return found


def title_of(schema: Schema, values: Values) -> str:
    """The text of the title property, found by its type."""
    for config in schema.values():
        if config["type"] == "title":
            return plain(values.get(config["id"], []))
    return ""


def moment(text: str) -> datetime | None:
    """The instant of an ISO 8601 text, in UTC if it has no time zone; None for other text."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant


def comparable(text: str) -> str:
    """A date or time as a sortable text, in minutes and UTC; a date is its first minute."""
    if DATE.match(text):
        return f"{text}T00:00"
    instant = moment(text)
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M") if instant else text


def _cells(config: dict[str, Any], value: Any) -> list[Cell]:
    kind, key = config["type"], config["id"]
    if value is None or value == []:
        return []
    if kind in TEXTS:
        return [Cell(key, plain(value), None)]
    if kind == "number":
        return [Cell(key, None, float(value))]
    if kind == "checkbox":
        return [Cell(key, None, float(value))]
    if kind == "date":
        return [Cell(key, comparable(value["start"]), None)]
    if kind in ("multi_select", "relation", "people", "files"):
        items = [item["id"] if isinstance(item, dict) else item for item in value]
        return [Cell(key, str(item), None) for item in items]
    return [Cell(key, str(value), None)]
