"""Validates property values of pages against the schema of their data source."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from csm_core.notion_sandbox.errors import invalid, invalid_parameter
from csm_core.notion_sandbox.properties import (
    COMPUTED,
    DATE,
    SELECTS,
    TEXTS,
    Schema,
    Values,
    comparable,
    empty_value,
    find_property,
    moment,
)
from csm_core.notion_sandbox.property_schema import as_option_name, next_color, option_id_of
from csm_core.notion_sandbox.rich_text import clean_rich_text
from csm_core.notion_sandbox.validation import (
    COLORS,
    MAX_OPTIONS,
    MAX_PEOPLE,
    MAX_RELATED,
    as_bool,
    as_choice,
    as_id,
    as_list,
    as_object,
    as_text,
    as_url,
)


def clean_values(schema: Schema, value: Any, path: str) -> tuple[Values, bool]:
    """Values by property id, and whether options were added to the schema (it is changed in place).

    Raises a 400 for an unknown property or a value of another type.
    """
    problems: list[str] = []
    items: list[tuple[dict[str, Any], Any, str]] = []
    for key, raw in as_object(value, path).items():
        config = find_property(schema, key)
        if config is None:
            problems.append(f"{key} is not a property that exists.")
        else:
            items.append((config, raw, key))
    if problems:
        raise invalid(" ".join(problems))
    values: Values = {}
    grew = False
    for config, raw, key in items:
        cleaned, new_options = _clean_value(config, raw, f"{path}.{key}")
        values[config["id"]] = cleaned
        grew = grew or new_options
    return values, grew


def _clean_value(config: dict[str, Any], raw: Any, path: str) -> tuple[Any, bool]:
    kind = config["type"]
    if kind == "title" and isinstance(raw, list):
        raw = {"title": raw}
    value = as_object(raw, path)
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
            raise invalid_parameter(place, "a boolean", inner)
        return empty_value(config), False
    if kind in SELECTS:
        return _take_option(config, inner, place)
    if kind == "multi_select":
        taken = [
            _take_option(config, item, f"{place}[{i}]") for i, item in enumerate(as_list(inner, place, MAX_OPTIONS))
        ]
        return [option for option, _ in taken], any(new for _, new in taken)
    return _CLEANERS[kind](inner, place), False


def _take_option(config: dict[str, Any], raw: Any, path: str) -> tuple[str, bool]:
    asked = as_object(raw, path, ("id", "name", "color", "description"))
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
    color = as_choice(asked.get("color", next_color(options)), f"{path}.color", COLORS)
    options.append({"id": option_id_of(name), "name": name, "color": color, "description": None})
    return options[-1]["id"], True


def _clean_number(value: Any, path: str) -> float | int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise invalid_parameter(path, "a number", value)
    as_float = float(value)
    return int(as_float) if as_float.is_integer() and abs(as_float) < 2**53 else as_float


def _clean_date(value: Any, path: str) -> dict[str, Any]:
    raw = as_object(value, path, ("start", "end", "time_zone"))
    start = _clean_moment(raw.get("start"), f"{path}.start")
    end = None if raw.get("end") is None else _clean_moment(raw["end"], f"{path}.end")
    if end is not None and comparable(end) < comparable(start):
        raise invalid(f"Invalid date: {path}.end is before its start.")
    zone = raw.get("time_zone")
    return {"start": start, "end": end, "time_zone": None if zone is None else as_text(zone, f"{path}.time_zone", 80)}


def _clean_moment(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise invalid_parameter(path, "a valid ISO 8601 date string", value)
    if DATE.match(value):
        try:
            return date.fromisoformat(value).isoformat()
        except ValueError:
            raise invalid_parameter(path, "a valid ISO 8601 date string", value) from None
    instant = moment(value)
    if instant is None or "T" not in value.upper():
        raise invalid_parameter(path, "a valid ISO 8601 date string", value)
    floored = instant.replace(second=0, microsecond=0)
    offset = floored.utcoffset() or timedelta(0)
    return floored.isoformat(timespec="milliseconds") if offset else f"{floored:%Y-%m-%dT%H:%M}:00.000+00:00"


def _clean_relation(value: Any, path: str) -> list[dict[str, str]]:
    items = as_list(value, path, MAX_RELATED)
    ids = [as_id(as_object(item, f"{path}[{i}]").get("id"), f"{path}[{i}].id") for i, item in enumerate(items)]
    return [{"id": page_id} for page_id in dict.fromkeys(ids)]


def _clean_people(value: Any, path: str) -> list[dict[str, str]]:
    items = as_list(value, path, MAX_PEOPLE)
    people: list[dict[str, str]] = []
    for position, item in enumerate(items):
        place = f"{path}[{position}]"
        raw = as_object(item, place)
        as_choice(raw.get("object", "user"), f"{place}.object", ("user",))
        people.append({"id": as_id(raw.get("id"), f"{place}.id")})
    return list({one["id"]: one for one in people}.values())


def _clean_unsupported(_value: Any, path: str) -> Any:
    raise invalid(f"{path}: the sandbox does not support values of this type.")


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
    "people": _clean_people,
    "files": _clean_unsupported,
}
