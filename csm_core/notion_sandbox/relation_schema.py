"""The configuration of relations; a dual relation has a property in each of the two data sources.

See https://developers.notion.com/reference/property-object#relation.
"""

from __future__ import annotations

from typing import Any

from csm_core.notion_sandbox.errors import invalid
from csm_core.notion_sandbox.validation import as_choice, as_id, as_object, as_text

_KINDS = ("single_property", "dual_property")


def clean_relation_config(config: dict[str, Any], path: str, present: dict[str, Any] | None) -> dict[str, Any]:
    """The relation of a property in a request, with one of ``single_property`` and ``dual_property``.

    ``present`` is the relation that the property has; an update to the same kind and data source keeps its other side.
    """
    as_object(config, path, ("data_source_id", "type", *_KINDS))
    target = as_id(config.get("data_source_id"), f"{path}.data_source_id")
    named = [kind for kind in _KINDS if kind in config]
    if len(named) != 1:
        raise invalid(f"body failed validation: {path} should have exactly one of `single_property`, `dual_property`.")
    kind = named[0]
    as_choice(config.get("type", kind), f"{path}.type", (kind,))
    allowed = () if kind == "single_property" else ("synced_property_id", "synced_property_name")
    asked = as_object(config[kind], f"{path}.{kind}", allowed)
    name = asked.get("synced_property_name")
    synced = {} if name is None else {"synced_property_name": as_text(name, f"{path}.{kind}.synced_property_name")}
    if present is not None and (present["data_source_id"], present["type"]) == (target, kind):
        return present
    return {"data_source_id": target, "type": kind, kind: synced}


def is_dual(config: dict[str, Any]) -> bool:
    """Whether a property is a relation with another side."""
    return config["type"] == "relation" and config["relation"]["type"] == "dual_property"


def other_side(config: dict[str, Any]) -> str | None:
    """The id of the property on the other side of a dual relation; None if it has not been created."""
    return config["relation"]["dual_property"].get("synced_property_id") if is_dual(config) else None
