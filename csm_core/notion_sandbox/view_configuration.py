"""Validates the configuration of views: what they show, and by which properties they group.

Source: https://developers.notion.com/guides/data-apis/working-with-views
"""

from __future__ import annotations

from typing import Any

from csm_core.notion_sandbox.errors import MISSING, invalid, invalid_parameter
from csm_core.notion_sandbox.properties import Schema, find_property
from csm_core.notion_sandbox.validation import as_bool, as_choice, as_list, as_object, as_text

Values = dict[str, Any]

TYPES = ("table", "board", "list", "calendar", "timeline", "gallery", "form", "chart", "map", "dashboard")
_MAX_PROPERTIES = 500
_GROUPING = {"people": "person", "rich_text": "text"}
_GRANULARITY = {
    "text": ("exact", "alphabet_prefix"),
    "title": ("exact", "alphabet_prefix"),
    "date": ("relative", "day", "week", "month", "year"),
}
_GROUPED = ("select", "multi_select", "person", "relation", "number", "checkbox", *_GRANULARITY)
_CHARTS = ("column", "bar", "line", "donut", "number")
# The operators that the sandbox supports; all but the first aggregate a number property.
_AGGREGATORS = ("count", "sum", "average", "median", "min", "max")
_CHART_KEYS = ("chart_type", "x_axis", "y_axis", "sort", "legend_position", "show_data_labels", "donut_labels")
_KEYS: dict[str, tuple[str, ...]] = {
    "table": ("properties", "group_by", "wrap_cells", "show_vertical_lines"),
    "board": ("properties", "group_by", "card_layout"),
    "calendar": ("properties", "date_property_id", "view_range", "show_weekends"),
    "timeline": ("properties", "date_property_id", "end_date_property_id"),
    "chart": _CHART_KEYS,
}
# What a view of a type cannot do without.
_REQUIRED = {"board": "group_by", "calendar": "date_property_id", "timeline": "date_property_id", "chart": "chart_type"}


def clean_configuration(value: Any, view_type: str, schema: Schema) -> Values | None:
    """The configuration of a view, with the names of its properties. Raises a 400 if it is not valid."""
    required = _REQUIRED.get(view_type)
    path = "body.configuration"
    if value is None and required is None:
        return None
    allowed = ("type", *_KEYS.get(view_type, ("properties",)))
    raw = as_object(MISSING if value is None else value, path, allowed)
    as_choice(raw.get("type"), f"{path}.type", (view_type,))
    if required and raw.get(required) is None:
        raise invalid_parameter(f"{path}.{required}", "defined, instead was `undefined`")
    cleaned = dict(raw)
    if raw.get("properties") is not None:
        items = as_list(raw["properties"], f"{path}.properties", _MAX_PROPERTIES)
        cleaned["properties"] = [
            _shown_property(item, schema, f"{path}.properties[{position}]") for position, item in enumerate(items)
        ]
    for key in ("group_by", "x_axis"):
        if raw.get(key) is not None:
            cleaned[key] = _group_by(raw[key], schema, f"{path}.{key}")
    for key in ("date_property_id", "end_date_property_id"):
        if raw.get(key) is not None:
            cleaned[key.replace("_id", "_name")] = _property(raw[key], schema, f"{path}.{key}", ("date",))["name"]
    if raw.get("y_axis") is not None:
        _check_aggregation(raw["y_axis"], schema, f"{path}.y_axis")
    if view_type == "chart":
        as_choice(raw["chart_type"], f"{path}.chart_type", _CHARTS)
    if raw.get("view_range") is not None:
        as_choice(raw["view_range"], f"{path}.view_range", ("week", "month"))
    return cleaned


def _property(value: Any, schema: Schema, path: str, kinds: tuple[str, ...] = ()) -> Values:
    config = find_property(schema, as_text(value, path))
    # Configurations name properties by id, filters by name or id.
    if config is None or config["id"] != value:
        raise invalid(f"Could not find property with id: {value}")
    if kinds and config["type"] not in kinds:
        raise invalid_parameter(path, f"a property of the type {' or '.join(kinds)}", config["type"])
    return config


def _shown_property(value: Any, schema: Schema, path: str) -> Values:
    raw = as_object(value, path, ("property_id", "visible", "width", "wrap"))
    config = _property(raw.get("property_id"), schema, f"{path}.property_id")
    if "visible" in raw:
        as_bool(raw["visible"], f"{path}.visible")
    return {**raw, "property_name": config["name"]}


def _group_by(value: Any, schema: Schema, path: str) -> Values:
    raw = as_object(value, path, ("type", "property_id", "sort", "group_by", "hide_empty_groups"))
    config = _property(raw.get("property_id"), schema, f"{path}.property_id")
    kind = as_choice(raw.get("type"), f"{path}.type", _GROUPED)
    if kind != _GROUPING.get(config["type"], config["type"]):
        raise invalid(f"{path}.type is {kind}, but the property {config['name']} is {config['type']}")
    sort = as_object(raw.get("sort", MISSING), f"{path}.sort", ("type",))
    as_choice(sort.get("type"), f"{path}.sort.type", ("manual", "ascending", "descending"))
    if kind in _GRANULARITY:
        as_choice(raw.get("group_by"), f"{path}.group_by", _GRANULARITY[kind])
    elif "group_by" in raw:
        raise invalid_parameter(f"{path}.group_by", "not present", raw["group_by"])
    if "hide_empty_groups" in raw:
        as_bool(raw["hide_empty_groups"], f"{path}.hide_empty_groups")
    return {**raw, "property_name": config["name"]}


def _check_aggregation(value: Any, schema: Schema, path: str) -> None:
    raw = as_object(value, path, ("aggregator", "property_id"))
    if as_choice(raw.get("aggregator"), f"{path}.aggregator", _AGGREGATORS) != "count":
        _property(raw.get("property_id"), schema, f"{path}.property_id", ("number",))
