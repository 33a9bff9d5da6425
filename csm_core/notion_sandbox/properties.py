"""Properties: the schema of a data source, and values of pages checked against it.

A schema maps a property's name to its configuration (``id``, ``name``, ``type`` and what the type needs). Values are
kept by property id in the shape in which they are read, so that a renamed property keeps its values.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from csm_core.notion_sandbox.errors import invalid, misfit
from csm_core.notion_sandbox.rich_text import clean_rich_text, plain
from csm_core.notion_sandbox.validation import (
    COLORS,
    MAX_OPTION_NAME,
    MAX_OPTIONS,
    MAX_RUNS,
    SHOWN_ITEMS,
    as_bool,
    as_choice,
    as_id,
    as_list,
    as_object,
    as_text,
    as_url,
)

Schema = dict[str, dict[str, Any]]
Values = dict[str, Any]

TITLE_ID = "title"
SELECTS = ("select", "status")
TEXTS = ("title", "rich_text")
COMPUTED = ("created_time", "last_edited_time")

_EMPTY_CONFIGS = (
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
_OPTION_CONFIGS = ("select", "multi_select", "status")
PROPERTY_TYPES = (*_EMPTY_CONFIGS, *_OPTION_CONFIGS, "number", "relation")
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

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}\Z")
_COLOR_RING = ("blue", "green", "orange", "purple", "pink", "yellow", "brown", "gray", "red", "default")


@dataclass(frozen=True)
class Cell:
    """What a filter or a sort looks at: the text or the number that a value amounts to."""

    property_id: str
    text: str | None
    number: float | None


def default_schema() -> Schema:
    """What a data source has when nothing is asked for: a title named Name."""
    return {"Name": {"id": TITLE_ID, "name": "Name", "description": None, "type": "title", "title": {}}}


def clean_schema(value: Any, path: str) -> Schema:
    """The schema of a new data source; exactly one property must be the title."""
    schema: Schema = {}
    for name, given in as_object(value, path).items():
        schema[name] = _clean_config(name, given, f"{path}.{name}", None, _new_id(name, schema))
    _check_one_title(schema)
    return schema


def update_schema(schema: Schema, value: Any, path: str) -> Schema:
    """The schema after an update: named properties are added, changed, renamed, or with null removed."""
    updated = {name: dict(config) for name, config in schema.items()}
    for key, given in as_object(value, path).items():
        old = find_property(updated, key)
        place = f"{path}.{key}"
        if given is None:
            if old is None:
                raise invalid(f"{key} is not a property that exists.")
            if old["type"] == "title":
                raise invalid("Cannot delete the title property.")
            del updated[old["name"]]
            continue
        asked = as_object(given, place)
        name = as_text(asked.get("name", old["name"] if old else key), f"{place}.name")
        if old is None:
            updated[name] = _clean_config(name, asked, place, None, _new_id(name, updated))
            continue
        if name != old["name"] and name in updated:
            raise invalid(f"Property name {name} is taken.")
        config = _clean_config(name, asked, place, old, old["id"])
        updated = {(name if kept == old["name"] else kept): entry for kept, entry in updated.items()}
        updated[name] = config
    _check_one_title(updated)
    return updated


def find_property(schema: Schema, key: str) -> dict[str, Any] | None:
    """A property by its name or, failing that, by its id."""
    if key in schema:
        return schema[key]
    return next((config for config in schema.values() if config["id"] == key), None)


def clean_values(schema: Schema, value: Any, path: str) -> tuple[Values, bool]:
    """Values by property id, and whether the schema took new options on the way (it is changed in place).

    Raises a 400, and takes nothing, for an unknown property or a value of another type.
    """
    problems: list[str] = []
    found: list[tuple[dict[str, Any], Any, str]] = []
    for key, given in as_object(value, path).items():
        config = find_property(schema, key)
        if config is None:
            problems.append(f"{key} is not a property that exists.")
        else:
            found.append((config, given, key))
    if problems:
        raise invalid(" ".join(problems))
    values: Values = {}
    grew = False
    for config, given, key in found:
        cleaned, new_options = _clean_value(config, given, f"{path}.{key}")
        values[config["id"]] = cleaned
        grew = grew or new_options
    return values, grew


def empty_value(config: dict[str, Any]) -> Any:
    """What an untouched property reads as."""
    kind = config["type"]
    if kind in (*TEXTS, "multi_select", "relation", "people", "files"):
        return []
    return False if kind == "checkbox" else None


def shown_value(config: dict[str, Any], values: Values, times: tuple[str, str]) -> dict[str, Any]:
    """A property of a page as reads give it: at most 25 runs or relations; options with their present names.

    ``times`` are the page's created and last edited times, for the properties that show them.
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
    shown[kind] = value
    return shown


def option_by_id(config: dict[str, Any], option_id: str) -> dict[str, Any] | None:
    """An option as pages show it, or none once it is gone."""
    for option in config[config["type"]]["options"]:
        if option["id"] == option_id:
            return {"id": option["id"], "name": option["name"], "color": option["color"]}
    return None


def cells(schema: Schema, values: Values) -> list[Cell]:
    """What filters and sorts can see of these values; nothing for an empty one."""
    seen: list[Cell] = []
    for config in schema.values():
        if config["id"] in values:
            seen.extend(_cells(config, values[config["id"]]))
    return seen


def title_of(schema: Schema, values: Values) -> str:
    """The text of the title property, found by its type."""
    for config in schema.values():
        if config["type"] == "title":
            return plain(values.get(config["id"], []))
    return ""


def moment(text: str) -> datetime | None:
    """An instant of an ISO 8601 text (UTC if it names no zone), or none."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant


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


def comparable(text: str) -> str:
    """A date or time as a text that sorts: minutes in UTC; a day alone is its first minute."""
    if _DATE.match(text):
        return f"{text}T00:00"
    instant = moment(text)
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M") if instant else text


def _check_one_title(schema: Schema) -> None:
    titles = [name for name, config in schema.items() if config["type"] == "title"]
    if not titles:
        raise invalid("Title is not provided.")
    if len(titles) > 1:
        raise invalid(f"A data source has exactly one title property; these are titles: {', '.join(titles)}.")


def _new_id(name: str, schema: Schema) -> str:
    taken = {config["id"] for config in schema.values()}
    for salt in range(1_000):
        identifier = hashlib.sha256(f"{name}/{salt}".encode()).hexdigest()[:4]
        if identifier not in taken:
            return identifier
    raise invalid("Too many properties.")


def _clean_config(name: str, given: Any, path: str, old: dict[str, Any] | None, identifier: str) -> dict[str, Any]:
    asked = as_object(given, path)
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
        raise misfit(f"{path}.type", f'`"{kind}"`', asked["type"])
    if old is not None and (old["type"] == "title") != (kind == "title"):
        raise invalid("Cannot change the type of the title property, or make another property the title.")
    config = as_object(asked[kind], f"{path}.{kind}")
    same = old if old is not None and old["type"] == kind else None
    if kind in _OPTION_CONFIGS:
        cleaned = _clean_options(config, f"{path}.{kind}", same[kind]["options"] if same else [])
    elif kind == "number":
        as_object(config, f"{path}.number", ("format",))
        present = same["number"]["format"] if same else "number"
        cleaned = {"format": as_choice(config.get("format", present), f"{path}.number.format", NUMBER_FORMATS)}
    elif kind == "relation":
        target = as_id(config.get("data_source_id"), f"{path}.relation.data_source_id")
        cleaned = {"data_source_id": target, "type": "single_property", "single_property": {}}
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
        given = as_object(item, place, ("id", "name", "color", "description"))
        known = next((option for option in old if option["id"] == given.get("id")), None)
        if known is None and "name" in given:
            known = next((option for option in old if option["name"] == given["name"]), None)
        name = as_option_name(given.get("name", known["name"] if known else None), f"{place}.name")
        if any(option["name"] == name for option in options):
            raise invalid(f"{path}.options has the name {name} twice.")
        color = as_choice(given.get("color", known["color"] if known else _color(options)), f"{place}.color", COLORS)
        if known is not None and color != known["color"]:
            raise invalid(f"Cannot update color of select with name: {name}.")
        identifier = known["id"] if known else _option_id(name)
        options.append({"id": identifier, "name": name, "color": color, "description": given.get("description")})
    return {"options": options}


def as_option_name(value: Any, path: str) -> str:
    """The name of an option: 1 to 100 characters, no comma."""
    name = as_text(value, path, MAX_OPTION_NAME)
    if not name:
        raise misfit(f"{path}.length", "≥ `1`", 0)
    if "," in name:
        raise invalid(f"Invalid select option, commas not allowed: {name}")
    return name


def _option_id(name: str) -> str:
    return hashlib.sha256(f"option/{name}".encode()).hexdigest()[:8]


def _color(options: list[dict[str, Any]]) -> str:
    return _COLOR_RING[len(options) % len(_COLOR_RING)]


def _clean_value(config: dict[str, Any], given: Any, path: str) -> tuple[Any, bool]:
    kind = config["type"]
    if kind == "title" and isinstance(given, list):
        given = {"title": given}
    value = as_object(given, path)
    if kind not in value:
        raise invalid(f"{config['name']} is expected to be {kind}.")
    as_object(value, path, ("id", "type", kind))
    if value.get("type", kind) != kind:
        raise invalid(f"{config['name']} is expected to be {kind}.")
    if kind in COMPUTED:
        raise invalid(f"{config['name']} is computed: its value cannot be set.")
    inner, place = value[kind], f"{path}.{kind}"
    if kind in TEXTS:
        return clean_rich_text(inner, place), False
    if inner is None:
        if kind == "checkbox":
            raise misfit(place, "a boolean", inner)
        return empty_value(config), False
    if kind in SELECTS:
        return _take_option(config, inner, place)
    if kind == "multi_select":
        taken = [
            _take_option(config, item, f"{place}[{i}]") for i, item in enumerate(as_list(inner, place, MAX_OPTIONS))
        ]
        return [option for option, _ in taken], any(new for _, new in taken)
    return _CLEANERS[kind](inner, place), False


def _take_option(config: dict[str, Any], given: Any, path: str) -> tuple[str, bool]:
    asked = as_object(given, path, ("id", "name", "color", "description"))
    options: list[dict[str, Any]] = config[config["type"]]["options"]
    if "name" not in asked:
        identifier = asked.get("id")
        if not any(option["id"] == identifier for option in options):
            raise invalid(f"{config['name']} has no select option with the id {identifier}.")
        return str(identifier), False
    name = as_option_name(asked["name"], f"{path}.name")
    for option in options:
        if option["name"] == name:
            return option["id"], False
    if config["type"] == "status":
        raise invalid(f'Invalid status option. Status option "{name}" does not exist.')
    if len(options) >= MAX_OPTIONS:
        raise invalid(f"{config['name']} has {len(options)} select options already; {name} cannot be added.")
    color = as_choice(asked.get("color", _color(options)), f"{path}.color", COLORS)
    options.append({"id": _option_id(name), "name": name, "color": color, "description": None})
    return options[-1]["id"], True


def _clean_number(value: Any, path: str) -> float | int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise misfit(path, "a number", value)
    as_float = float(value)
    return int(as_float) if as_float.is_integer() and abs(as_float) < 2**53 else as_float


def _clean_date(value: Any, path: str) -> dict[str, Any]:
    given = as_object(value, path, ("start", "end", "time_zone"))
    start = _clean_moment(given.get("start"), f"{path}.start")
    end = None if given.get("end") is None else _clean_moment(given["end"], f"{path}.end")
    if end is not None and comparable(end) < comparable(start):
        raise invalid(f"Invalid date: {path}.end is before its start.")
    zone = given.get("time_zone")
    return {"start": start, "end": end, "time_zone": None if zone is None else as_text(zone, f"{path}.time_zone", 80)}


def _clean_moment(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise misfit(path, "a valid ISO 8601 date string", value)
    if _DATE.match(value):
        try:
            return date.fromisoformat(value).isoformat()
        except ValueError:
            raise misfit(path, "a valid ISO 8601 date string", value) from None
    instant = moment(value)
    if instant is None or "T" not in value.upper():
        raise misfit(path, "a valid ISO 8601 date string", value)
    floored = instant.replace(second=0, microsecond=0)
    offset = floored.utcoffset() or timedelta(0)
    return floored.isoformat(timespec="milliseconds") if offset else f"{floored:%Y-%m-%dT%H:%M}:00.000+00:00"


def _clean_relation(value: Any, path: str) -> list[dict[str, str]]:
    items = as_list(value, path, MAX_RUNS)
    return [{"id": as_id(as_object(item, f"{path}[{i}]").get("id"), f"{path}[{i}].id")} for i, item in enumerate(items)]


def _clean_unsupported(_value: Any, path: str) -> Any:
    raise invalid(f"{path}: this sandbox does not take values of this type.")


def _clean_email(value: Any, path: str) -> str:
    return as_text(value, path, 200)


def _clean_checkbox(value: Any, path: str) -> bool:
    return as_bool(value, path)


_CLEANERS: dict[str, Callable[[Any, str], Any]] = {
    "number": _clean_number,
    "date": _clean_date,
    "checkbox": _clean_checkbox,
    "url": as_url,
    "email": _clean_email,
    "phone_number": _clean_email,
    "relation": _clean_relation,
    "people": _clean_unsupported,
    "files": _clean_unsupported,
}
