"""Compiles filters and sorts of a query to SQL over the cells of pages; every value is a bind parameter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from csm_core.notion_sandbox.errors import MISSING, invalid, invalid_parameter
from csm_core.notion_sandbox.properties import COMPUTED, SELECTS, TEXTS, Schema, comparable, find_property, moment
from csm_core.notion_sandbox.validation import as_bool, as_choice, as_list, as_object, as_text

# A placeholder in parameters for the number of the queried data source.
SOURCE = object()

MAX_CONDITIONS = 100
MAX_NESTING = 2
TIMESTAMPS = {"created_time": "pages.created_at", "last_edited_time": "pages.edited_at"}

_ORDER = {"before": "<", "after": ">", "on_or_before": "<=", "on_or_after": ">="}
_NUMBER = {
    "equals": "=",
    "greater_than": ">",
    "less_than": "<",
    "greater_than_or_equal_to": ">=",
    "less_than_or_equal_to": "<=",
}


@dataclass(frozen=True)
class Condition:
    """A condition of a where clause with its parameters."""

    sql: str
    parameters: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Sort:
    """One term of an order by clause; ``timestamp`` is the column of a timestamp sort."""

    sql: str
    parameters: tuple[Any, ...] = ()
    timestamp: str | None = None
    descending: bool = False


def compile_filter(value: Any, schema: Schema, path: str = "body.filter") -> Condition:
    """The condition of a filter.

    Raises a 400 for an unknown property, a wrong type, an option that does not exist, more than 100 conditions in a
    group, or more than two levels of nested groups.
    """
    if value is None or value == {}:
        return Condition("true")
    return _compile(value, schema, path, 0)


def compile_sorts(value: Any, schema: Schema) -> list[Sort]:
    """The requested sorts; an empty list means the order of creation."""
    if value is None:
        return []
    return [
        _compile_sort(item, schema, f"body.sorts[{position}]")
        for position, item in enumerate(as_list(value, "body.sorts", MAX_CONDITIONS))
    ]


def _compile_sort(item: Any, schema: Schema, path: str) -> Sort:
    raw = as_object(item, path, ("property", "timestamp", "direction"))
    direction = as_choice(raw.get("direction"), f"{path}.direction", ("ascending", "descending"))
    word = "desc" if direction == "descending" else "asc"
    if "timestamp" in raw:
        column = TIMESTAMPS[as_choice(raw["timestamp"], f"{path}.timestamp", TIMESTAMPS)]
        return Sort(f"{column} {word}", (), column, direction == "descending")
    config = _property(schema, raw.get("property", MISSING), f"{path}.property")
    if config["type"] in COMPUTED:
        column = TIMESTAMPS[config["type"]]
        return Sort(f"{column} {word}", (), column, direction == "descending")
    column = "number" if config["type"] in ("number", "checkbox") else "text"
    value = f"(select min(cells.{column}) from cells where cells.page_seq = pages.seq and cells.property_id = ?)"
    return Sort(f"{value} {word} nulls last", (config["id"],))


def _compile(value: Any, schema: Schema, path: str, depth: int) -> Condition:
    raw = as_object(value, path)
    for word in ("and", "or"):
        if word in raw:
            as_object(raw, path, (word,))
            if depth >= MAX_NESTING:
                raise invalid_parameter(f"{path}.{word}", "not present", raw[word])
            items = as_list(raw[word], f"{path}.{word}", MAX_CONDITIONS)
            parts = [_compile(item, schema, f"{path}.{word}[{i}]", depth + 1) for i, item in enumerate(items)]
            sql = f" {word} ".join(f"({part.sql})" for part in parts) or "true"
            return Condition(sql, tuple(parameter for part in parts for parameter in part.parameters))
    if "timestamp" in raw:
        name = as_choice(raw["timestamp"], f"{path}.timestamp", TIMESTAMPS)
        as_object(raw, path, ("timestamp", name))
        return _moment_condition(TIMESTAMPS[name], raw.get(name, MISSING), f"{path}.{name}")
    config = _property(schema, raw.get("property", MISSING), f"{path}.property")
    kind = config["type"]
    as_object(raw, path, ("property", "type", *(key for key in raw if key not in ("property", "type"))))
    named = [key for key in raw if key not in ("property", "type")]
    if named != [kind]:
        raise invalid(f"database property {kind} does not match filter {', '.join(named) or 'undefined'}")
    return _property_condition(config, raw[kind], f"{path}.{kind}")


def _property(schema: Schema, key: Any, path: str) -> dict[str, Any]:
    config = find_property(schema, as_text(None if key is MISSING else key, path))
    if config is None:
        raise invalid(f"Could not find property with name or id: {key}")
    return config


def _property_condition(config: dict[str, Any], value: Any, path: str) -> Condition:
    kind = config["type"]
    if kind in COMPUTED:
        return _moment_condition(TIMESTAMPS[kind], value, path)
    operator, operand = _one(value, path)
    if operator in ("is_empty", "is_not_empty"):
        if operand is not True:
            raise invalid_parameter(f"{path}.{operator}", "`true`", operand)
        word = "not in" if operator == "is_empty" else "in"
        return Condition(
            f"pages.seq {word} (select page_seq from cells where source = ? and property_id = ?)",
            (SOURCE, config["id"]),
        )
    place = f"{path}.{operator}"
    if kind in TEXTS or kind in ("url", "email", "phone_number"):
        return _text_condition(config["id"], operator, as_text(operand, place, None), place)
    if kind == "number":
        return _number_condition(config["id"], operator, operand, place)
    if kind == "checkbox":
        return _checkbox_condition(config["id"], operator, as_bool(operand, place), place)
    if kind in SELECTS:
        wanted = _option(config, operand, place)
        return _text_condition(config["id"], as_choice(operator, place, ("equals", "does_not_equal")), wanted, place)
    if kind in ("multi_select", "relation", "people"):
        wanted = _option(config, operand, place) if kind == "multi_select" else as_text(operand, place)
        as_choice(operator, place, ("contains", "does_not_contain"))
        operator = "equals" if operator == "contains" else "does_not_equal"
        return _text_condition(config["id"], operator, wanted, place)
    if kind == "date":
        column = "(select cells.text from cells where cells.page_seq = pages.seq and cells.property_id = ?)"
        inner = _moment_condition(column, value, path)
        repeats = inner.sql.count(column)
        return Condition(inner.sql, (*([config["id"]] * repeats), *inner.parameters))
    raise invalid(f"{path}: the sandbox does not support filters for properties of the type {kind}.")


def _one(value: Any, path: str) -> tuple[str, Any]:
    raw = as_object(value, path)
    if len(raw) != 1:
        raise invalid_parameter(path, "exactly one condition", raw)
    return next(iter(raw.items()))


def _option(config: dict[str, Any], operand: Any, path: str) -> str:
    name = as_text(operand, path)
    for option in config[config["type"]]["options"]:
        if option["name"] == name:
            return option["id"]
    raise invalid(f'{config["type"]} option "{name}" not found for property "{config["name"]}".')


def _cell(property_id: str, test: str, *parameters: Any, without: bool = False) -> Condition:
    word = "not in" if without else "in"
    sql = f"pages.seq {word} (select page_seq from cells where source = ? and property_id = ? and {test})"
    return Condition(sql, (SOURCE, property_id, *parameters))


def _text_condition(property_id: str, operator: str, operand: str, path: str) -> Condition:
    if operator == "equals" and operand == "":
        return _cell(property_id, "true", without=True)
    if operator in ("equals", "does_not_equal"):
        return _cell(property_id, "text = ?", operand, without=operator != "equals")
    as_choice(operator, path, ("contains", "does_not_contain", "starts_with", "ends_with"))
    if operator == "starts_with":
        return _cell(property_id, "substr(text, 1, length(?)) = ?", operand, operand)
    if operator == "ends_with":
        return _cell(property_id, "substr(text, -length(?)) = ?", operand, operand)
    return _cell(property_id, "instr(lower(text), lower(?)) > 0", operand, without=operator != "contains")


def _number_condition(property_id: str, operator: str, operand: Any, path: str) -> Condition:
    if isinstance(operand, bool) or not isinstance(operand, (int, float)):
        raise invalid_parameter(path, "a number", operand)
    if operator == "does_not_equal":
        return _cell(property_id, "number = ?", operand, without=True)
    return _cell(property_id, f"number {_NUMBER[as_choice(operator, path, _NUMBER)]} ?", operand)


def _checkbox_condition(property_id: str, operator: str, operand: bool, path: str) -> Condition:
    wanted = operand == (as_choice(operator, path, ("equals", "does_not_equal")) == "equals")
    return _cell(property_id, "number = 1", without=not wanted)


def _moment_condition(column: str, value: Any, path: str) -> Condition:
    operator, operand = _one(value, path)
    place = f"{path}.{operator}"
    as_choice(operator, place, ("equals", *_ORDER))
    text = as_text(operand, place, 40)
    if moment(text) is None:
        raise invalid_parameter(place, "a valid ISO 8601 date string", text)
    day_only = len(text) == 10
    left = f"substr({column}, 1, 10)" if day_only else column
    right = text if day_only else comparable(text)
    return Condition(f"{left} {_ORDER.get(operator, '=')} ?", (right,))
