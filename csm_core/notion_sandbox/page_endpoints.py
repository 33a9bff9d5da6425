"""The endpoints for pages. See https://developers.notion.com/reference/page"""

from __future__ import annotations

import json
from typing import Any

from csm_core.notion_sandbox.blocks import clean_children
from csm_core.notion_sandbox.errors import MISSING, invalid, invalid_parameter, not_found
from csm_core.notion_sandbox.lookup import PLAIN_PAGE, TRASHED, Answer, Call, Lookup, as_cover, offset_of, trash_flag
from csm_core.notion_sandbox.properties import Values, empty_value, find_property, shown_value
from csm_core.notion_sandbox.property_values import clean_values
from csm_core.notion_sandbox.relations import Relations
from csm_core.notion_sandbox.store_file import Row, to_json
from csm_core.notion_sandbox.validation import (
    as_bool,
    as_choice,
    as_icon,
    as_id,
    as_object,
    as_page_size,
)


class PageEndpoints:
    """``/v1/pages``."""

    def __init__(self, look: Lookup) -> None:
        self._look = look
        self._store = look.store
        self._serializer = look.serializer
        self._relations = Relations(look)

    def create(self, call: Call) -> Answer:
        """POST /v1/pages."""
        body = as_object(call.body, "body", ("parent", "properties", "children", "icon", "cover", "template"))
        source, parent_page = self._look.parent_of_new_page(body.get("parent", MISSING))
        schema = json.loads(source["properties"]) if source else PLAIN_PAGE
        values, grew = clean_values(schema, body.get("properties", {}), "body.properties")
        self._relations.check_values(schema, values)
        children = clean_children(body.get("children", []), "body.children")
        template_id = self._template(source, body)
        icon = as_icon(body.get("icon"), "body.icon")
        cover = as_cover(body.get("cover"), "body.cover")
        if source is not None and grew:
            source = self._store.sources.update(source, {"properties": to_json(schema)})
        row = self._store.pages.add(parent_page, source, schema, values, icon, cover)
        self._relations.mirror(row["id"], schema, {}, values)
        if children:
            self._store.blocks.append(row["id"], children)
        if template_id:
            self._store.templates.apply_later(row["id"], template_id)
        return self._serializer.page(row, source, schema)

    def _template(self, source: Row | None, body: dict[str, Any]) -> str | None:
        """The template that a new page is created from; None without one."""
        if body.get("template") is None:
            return None
        template = as_object(body["template"], "body.template", ("type", "template_id", "timezone"))
        kind = as_choice(template.get("type"), "body.template.type", ("none", "default", "template_id"))
        if kind == "none":
            return None
        if "data_source_id" not in body["parent"] or source is None:
            raise invalid("A template requires a parent of the type data_source_id.")
        if "children" in body:
            raise invalid_parameter("body.children", "not present when a template is applied")
        templates = self._store.templates.of_source(source["id"])
        wanted = as_id(template.get("template_id"), "body.template.template_id") if kind == "template_id" else ""
        for one in templates:
            if one["id"] == wanted or (kind == "default" and one["is_default"]):
                return str(one["id"])
        raise not_found("template", wanted or "default")

    def retrieve(self, call: Call) -> Answer:
        """GET /v1/pages/{id}."""
        row = self._look.page(call.id)
        source, schema = self._look.source_of(row)
        return self._serializer.page(row, source, schema, call.query.get("filter_properties"))

    def update(self, call: Call) -> Answer:
        """PATCH /v1/pages/{id}."""
        row = self._look.page(call.id)
        allowed = ("properties", "icon", "cover", "archived", "in_trash", "is_locked", "erase_content")
        body = as_object(call.body, "body", allowed)
        return self.change(row, body, self._store.meta("bot"))

    def change(self, row: Row, body: dict[str, Any], edited_by: str) -> Answer:
        """Update a page on behalf of a user."""
        source, schema = self._look.source_of(row)
        trash = trash_flag(body)
        columns: dict[str, Any] = {}
        if trash is not None:
            columns["in_trash"] = int(trash)
        if row["in_trash"] and trash is not False:
            raise invalid(TRASHED)
        values: Values = {}
        grew = False
        if "properties" in body:
            values, grew = clean_values(schema, body["properties"], "body.properties")
            self._relations.check_values(schema, values)
        if "icon" in body:
            icon = as_icon(body["icon"], "body.icon")
            columns["icon"] = None if icon is None else to_json(icon)
        if "cover" in body:
            cover = as_cover(body["cover"], "body.cover")
            columns["cover"] = None if cover is None else to_json(cover)
        if "is_locked" in body:
            as_bool(body["is_locked"], "body.is_locked")
        if "erase_content" in body and as_bool(body["erase_content"], "body.erase_content"):
            for child in self._store.blocks.children(row["id"]):
                self._store.blocks.update(child, in_trash=1)
        if source is not None and grew:
            source = self._store.sources.update(source, {"properties": to_json(schema)})
        before: Values = json.loads(row["properties"])
        row = self._store.pages.update(row, schema, values, edited_by, **columns)
        self._relations.mirror(row["id"], schema, before, values)
        return self._serializer.page(row, source, schema)

    def retrieve_property(self, call: Call) -> Answer:
        """GET /v1/pages/{id}/properties/{property_id}: the complete value of a property, in pages."""
        row = self._look.page(call.id)
        _, schema = self._look.source_of(row)
        config = find_property(schema, call.property_id)
        if config is None:
            raise not_found("property", call.property_id)
        values = json.loads(row["properties"])
        kind = config["type"]
        if kind not in ("title", "rich_text", "relation", "people"):
            times = (f"{row['created_at']}:00.000Z", f"{row['edited_at']}:00.000Z")
            return {"object": "property_item", **shown_value(config, values, times)}
        size = as_page_size(call.query.get("page_size"), "query.page_size")
        items = values.get(config["id"], empty_value(config))
        start = offset_of(call.query.get("start_cursor"), len(items))
        shown = [
            {"object": "property_item", "id": config["id"], "type": kind, kind: item}
            for item in items[start : start + size]
        ]
        more = start + size < len(items)
        return {
            "object": "list",
            "results": shown,
            "next_cursor": f"item-{start + size}" if more else None,
            "has_more": more,
            "type": "property_item",
            "property_item": {"id": config["id"], "next_url": None, "type": kind, kind: {}},
        }
