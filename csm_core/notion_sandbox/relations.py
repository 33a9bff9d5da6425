"""Keeps the two sides of dual relations equal: their properties in the data sources, and the values of pages."""

from __future__ import annotations

import json
from typing import Any

from csm_core.notion_sandbox.errors import invalid, not_found
from csm_core.notion_sandbox.lookup import Lookup
from csm_core.notion_sandbox.properties import Schema, Values
from csm_core.notion_sandbox.property_schema import new_property_id
from csm_core.notion_sandbox.relation_schema import is_dual, other_side
from csm_core.notion_sandbox.rich_text import plain
from csm_core.notion_sandbox.store_file import Row, to_json


class Relations:
    """The relations of one workspace."""

    def __init__(self, look: Lookup) -> None:
        self._look = look
        self._store = look.store

    def complete_schema(self, source: Row, old: Schema) -> Row:
        """Create, rename and remove the other sides of dual relations after the schema was ``old``; returns the row."""
        schema: Schema = json.loads(source["properties"])
        kept = {config["id"] for config in schema.values() if is_dual(config)}
        for config in old.values():
            other = other_side(config)
            if other is not None and config["id"] not in kept:
                self._remove(config["relation"]["data_source_id"], other)
        for name in [name for name, config in schema.items() if is_dual(config)]:
            config = schema[name]
            if other_side(config) is None:
                self._create(source, config)
            elif all(config["name"] != one["name"] for one in old.values() if one["id"] == config["id"]):
                self._rename(config)
            # A relation of a data source to itself changes the same schema.
            schema = {**json.loads(self._row(source["id"])["properties"]), name: config}
            self._store.sources.update(self._row(source["id"]), {"properties": to_json(schema)})
        return self._row(source["id"])

    def check_values(self, schema: Schema, values: Values) -> None:
        """Raise an error for a related page, or a person, that does not exist, or a page of another data source."""
        for config in schema.values():
            for item in values.get(config["id"], ()) if config["type"] in ("relation", "people") else ():
                if config["type"] == "people":
                    if self._store.people.find(item["id"]) is None:
                        raise invalid(f"Could not find user with ID: {item['id']}.")
                    continue
                page = self._store.pages.find(item["id"])
                if page is None or self._look.hidden(page):
                    raise not_found("page", item["id"])
                source, _ = self._look.source_of(page)
                if source is None or source["id"] != config["relation"]["data_source_id"]:
                    raise invalid(
                        f"{config['name']}: the page {item['id']} is not in the data source "
                        f"{config['relation']['data_source_id']} of the relation."
                    )

    def mirror(self, page_id: str, schema: Schema, before: Values, changed: Values) -> None:
        """Write the changed values of dual relations to the other sides; the edit times of those pages stay."""
        for config in schema.values():
            other = other_side(config)
            if other is None or config["id"] not in changed:
                continue
            old = {item["id"] for item in before.get(config["id"], ())}
            new = {item["id"] for item in changed[config["id"]]}
            for related in sorted(old ^ new):
                row = self._store.pages.find(related)
                if row is None or row["source"] is None:
                    continue
                _, other_schema = self._look.source_of(row)
                items = [one for one in json.loads(row["properties"]).get(other, []) if one["id"] != page_id]
                items += [{"id": page_id}] if related in new else []
                self._store.pages.set_value(row, other_schema, other, items)

    def _row(self, source_id: str) -> Row:
        row = self._store.sources.find(source_id)
        if row is None:
            raise not_found("data_source", source_id)
        return row

    def _create(self, source: Row, config: dict[str, Any]) -> None:
        relation = config["relation"]
        target = self._row(relation["data_source_id"])
        schema: Schema = json.loads(target["properties"])
        title = plain(json.loads(source["title"])) or "Untitled"
        wanted = relation["dual_property"].get("synced_property_name") or f"Related to {title} ({config['name']})"
        name, number = wanted, 0
        while name in schema:
            number += 1
            name = f"{wanted} {number}"
        identifier = new_property_id(name, schema)
        relation["dual_property"] = {"synced_property_id": identifier, "synced_property_name": name}
        schema[name] = {
            "id": identifier,
            "name": name,
            "description": None,
            "type": "relation",
            "relation": {
                "data_source_id": source["id"],
                "type": "dual_property",
                "dual_property": {"synced_property_id": config["id"], "synced_property_name": config["name"]},
            },
        }
        self._store.sources.update(target, {"properties": to_json(schema)})

    def _rename(self, config: dict[str, Any]) -> None:
        relation = config["relation"]
        target = self._row(relation["data_source_id"])
        schema: Schema = json.loads(target["properties"])
        for other in schema.values():
            if other["id"] == relation["dual_property"]["synced_property_id"]:
                other["relation"]["dual_property"]["synced_property_name"] = config["name"]
        self._store.sources.update(target, {"properties": to_json(schema)})

    def _remove(self, source_id: str, property_id: str) -> None:
        row = self._store.sources.find(source_id)
        if row is None:
            return
        schema: Schema = json.loads(row["properties"])
        left = {name: config for name, config in schema.items() if config["id"] != property_id}
        self._store.sources.update(row, {"properties": to_json(left)})
        self._store.sources.forget_values(row, [property_id])
