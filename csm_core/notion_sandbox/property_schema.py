"""Changes the schema of a data source: adds, changes, renames and removes properties and options."""

from __future__ import annotations

import hashlib
from typing import Any

from csm_core.notion_sandbox.errors import invalid, invalid_parameter
from csm_core.notion_sandbox.properties import OPTION_CONFIGS, PROPERTY_TYPES, TITLE_ID, Schema, find_property
from csm_core.notion_sandbox.relation_schema import clean_relation_config
from csm_core.notion_sandbox.validation import (
    COLORS,
    MAX_OPTION_NAME,
    MAX_OPTIONS,
    as_choice,
    as_list,
    as_object,
    as_text,
)

NUMBER_FORMATS = (
    "number",
    "number_with_commas",
    "percent",
    "dollar",
    "euro",
    "pound",
    "yen",
    "canadian_dollar",
    "australian_dollar",
    "franc",
)
_COLOR_RING = ("blue", "green", "orange", "purple", "pink", "yellow", "brown", "gray", "red", "default")


def default_schema() -> Schema:
    """The default schema of a data source: a title property with the name Name."""
    return {"Name": {"id": TITLE_ID, "name": "Name", "description": None, "type": "title", "title": {}}}


def clean_schema(value: Any, path: str) -> Schema:
    """The schema of a new data source; exactly one property must be the title."""
    schema: Schema = {}
    for name, raw in as_object(value, path).items():
        schema[name] = _clean_config(name, raw, f"{path}.{name}", None, new_property_id(name, schema))
    _check_one_title(schema)
    return schema


def update_schema(schema: Schema, value: Any, path: str) -> Schema:
    """The schema after an update, which adds, changes or renames properties; null removes a property."""
    updated = {name: dict(config) for name, config in schema.items()}
    for key, raw in as_object(value, path).items():
        old = find_property(updated, key)
        place = f"{path}.{key}"
        if raw is None:
            if old is None:
                raise invalid(f"{key} is not a property that exists.")
            if old["type"] == "title":
                raise invalid("Cannot delete the title property.")
            del updated[old["name"]]
            continue
        asked = as_object(raw, place)
        name = as_text(asked.get("name", old["name"] if old else key), f"{place}.name")
        if old is None:
            updated[name] = _clean_config(name, asked, place, None, new_property_id(name, updated))
            continue
        if name != old["name"] and name in updated:
            raise invalid(f"Property name {name} is taken.")
        config = _clean_config(name, asked, place, old, old["id"])
        updated = {(name if kept == old["name"] else kept): entry for kept, entry in updated.items()}
        updated[name] = config
    _check_one_title(updated)
    return updated


def as_option_name(value: Any, path: str) -> str:
    """The name of an option: 1 to 100 characters, no comma."""
    name = as_text(value, path, MAX_OPTION_NAME)
    if not name:
        raise invalid_parameter(f"{path}.length", "≥ `1`", 0)
    if "," in name:
        raise invalid(f"Invalid select option, commas not allowed: {name}")
    return name


def option_id_of(name: str) -> str:
    """The id of a new option."""
    return hashlib.sha256(f"option/{name}".encode()).hexdigest()[:8]


def next_color(options: list[dict[str, Any]]) -> str:
    """The color of a new option without a color, after existing options."""
    return _COLOR_RING[len(options) % len(_COLOR_RING)]


def _check_one_title(schema: Schema) -> None:
    titles = [name for name, config in schema.items() if config["type"] == "title"]
    if not titles:
        raise invalid("Title is not provided.")
    if len(titles) > 1:
        raise invalid(f"A data source has exactly one title property; these are titles: {', '.join(titles)}.")


def new_property_id(name: str, schema: Schema) -> str:
    """The id of a new property of a schema."""
    taken = {config["id"] for config in schema.values()}
    for salt in range(1_000):
        identifier = hashlib.sha256(f"{name}/{salt}".encode()).hexdigest()[:4]
        if identifier not in taken:
            return identifier
    raise invalid("Too many properties.")


def _clean_config(name: str, raw: Any, path: str, old: dict[str, Any] | None, identifier: str) -> dict[str, Any]:
    asked = as_object(raw, path)
    named = [key for key in asked if key in PROPERTY_TYPES]
    if old is not None and not named:
        kept = dict(old)
        kept["name"] = name
        return kept
    if len(named) != 1:
        listed = ", ".join(f"`{kind}`" for kind in PROPERTY_TYPES)
        raise invalid(f"body failed validation: {path} should have exactly one of {listed}.")
    kind = named[0]
    as_object(asked, path, ("id", "name", "description", "type", kind))
    if asked.get("type", kind) != kind:
        raise invalid_parameter(f"{path}.type", f'`"{kind}"`', asked["type"])
    if old is not None and (old["type"] == "title") != (kind == "title"):
        raise invalid("Cannot change the type of the title property, or make another property the title.")
    config = as_object(asked[kind], f"{path}.{kind}")
    same = old if old is not None and old["type"] == kind else None
    if kind in OPTION_CONFIGS:
        cleaned = _clean_options(config, f"{path}.{kind}", same[kind]["options"] if same else [])
    elif kind == "number":
        as_object(config, f"{path}.number", ("format",))
        present = same["number"]["format"] if same else "number"
        cleaned = {"format": as_choice(config.get("format", present), f"{path}.number.format", NUMBER_FORMATS)}
    elif kind == "relation":
        cleaned = clean_relation_config(config, f"{path}.relation", same["relation"] if same else None)
    else:
        cleaned = as_object(config, f"{path}.{kind}", ())
    present = old["description"] if old else None
    return {
        "id": TITLE_ID if kind == "title" else identifier,
        "name": as_text(name, f"{path}.name"),
        "description": asked.get("description", present),
        "type": kind,
        kind: cleaned,
    }


def _clean_options(config: dict[str, Any], path: str, old: list[dict[str, Any]]) -> dict[str, Any]:
    as_object(config, path, ("options",))
    if "options" not in config:
        return {"options": old}
    options: list[dict[str, Any]] = []
    for position, item in enumerate(as_list(config["options"], f"{path}.options", MAX_OPTIONS)):
        place = f"{path}.options[{position}]"
        raw = as_object(item, place, ("id", "name", "color", "description"))
        existing = next((option for option in old if option["id"] == raw.get("id")), None)
        if existing is None and "name" in raw:
            existing = next((option for option in old if option["name"] == raw["name"]), None)
        name = as_option_name(raw.get("name", existing["name"] if existing else None), f"{place}.name")
        if any(option["name"] == name for option in options):
            raise invalid(f"{path}.options has the name {name} twice.")
        color = as_choice(
            raw.get("color", existing["color"] if existing else next_color(options)), f"{place}.color", COLORS
        )
        if existing is not None and color != existing["color"]:
            raise invalid(f"Cannot update color of select with name: {name}.")
        identifier = existing["id"] if existing else option_id_of(name)
        options.append({"id": identifier, "name": name, "color": color, "description": raw.get("description")})
    return {"options": options}
