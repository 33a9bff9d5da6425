"""The endpoints for data sources. See https://developers.notion.com/reference/data-source"""

from __future__ import annotations

import json
from typing import Any

from csm_core.notion_sandbox.errors import MISSING
from csm_core.notion_sandbox.lookup import Answer, Call, Lookup, offset_of, trash_flag
from csm_core.notion_sandbox.properties import Schema
from csm_core.notion_sandbox.property_schema import clean_schema, update_schema
from csm_core.notion_sandbox.queries import Query, run_query
from csm_core.notion_sandbox.relations import Relations
from csm_core.notion_sandbox.rich_text import clean_rich_text
from csm_core.notion_sandbox.store_file import to_json
from csm_core.notion_sandbox.validation import (
    as_choice,
    as_icon,
    as_id,
    as_object,
    as_page_size,
)


class SourceEndpoints:
    """``/v1/data_sources``; a query returns at most ``limit`` results."""

    def __init__(self, look: Lookup, limit: int) -> None:
        self._look = look
        self._store = look.store
        self._serializer = look.serializer
        self._limit = limit
        self._relations = Relations(look)

    def create(self, call: Call) -> Answer:
        """POST /v1/data_sources: adds a data source to a database."""
        body = as_object(call.body, "body", ("parent", "properties", "title", "icon"))
        parent = as_object(body.get("parent", MISSING), "body.parent", ("type", "database_id"))
        as_choice(parent.get("type", "database_id"), "body.parent.type", ("database_id",))
        database = self._look.database(as_id(parent.get("database_id"), "body.parent.database_id"))
        schema = clean_schema(body.get("properties", MISSING), "body.properties")
        self._look.check_relations(schema)
        title = clean_rich_text(body.get("title", []), "body.title")
        icon = as_icon(body.get("icon"), "body.icon")
        row = self._relations.complete_schema(self._store.sources.add(database["id"], title, schema, icon), {})
        return self._serializer.source(row, database)

    def retrieve(self, call: Call) -> Answer:
        """GET /v1/data_sources/{id}."""
        return self._serializer.source(*self._look.source(call.id))

    def update(self, call: Call) -> Answer:
        """PATCH /v1/data_sources/{id}: updates title and properties."""
        row, database = self._look.source(call.id)
        body = as_object(call.body, "body", ("title", "icon", "properties", "in_trash", "archived"))
        columns: dict[str, Any] = {}
        old: Schema = json.loads(row["properties"])
        trash = trash_flag(body)
        if trash is not None:
            columns["in_trash"] = int(trash)
        if "title" in body:
            columns["title"] = to_json(clean_rich_text(body["title"], "body.title"))
        if "icon" in body:
            icon = as_icon(body["icon"], "body.icon")
            columns["icon"] = None if icon is None else to_json(icon)
        if "properties" in body:
            schema = update_schema(old, body["properties"], "body.properties")
            self._look.check_relations(schema)
            columns["properties"] = to_json(schema)
            kept = {config["id"]: config["type"] for config in schema.values()}
            gone = [config["id"] for config in old.values() if kept.get(config["id"]) != config["type"]]
            self._store.sources.forget_values(row, gone)
        row = self._relations.complete_schema(self._store.sources.update(row, columns), old)
        return self._serializer.source(row, database)

    def list_templates(self, call: Call) -> Answer:
        """GET /v1/data_sources/{id}/templates."""
        row, _ = self._look.source(call.id)
        wanted = str(call.query.get("name") or "").casefold()
        found = [one for one in self._store.templates.of_source(row["id"]) if wanted in one["name"].casefold()]
        size = as_page_size(call.query.get("page_size"), "query.page_size")
        start = offset_of(call.query.get("start_cursor"), len(found))
        more = start + size < len(found)
        return {
            "templates": [
                {"id": one["id"], "name": one["name"], "is_default": bool(one["is_default"])}
                for one in found[start : start + size]
            ],
            "next_cursor": f"item-{start + size}" if more else None,
            "has_more": more,
        }

    def query(self, call: Call) -> Answer:
        """POST /v1/data_sources/{id}/query."""
        row, _ = self._look.source(call.id)
        allowed = ("filter", "sorts", "start_cursor", "page_size", "archived", "in_trash", "result_type")
        body = as_object({} if call.body is None else call.body, "body", allowed)
        asked = Query(
            filter=body.get("filter"),
            sorts=body.get("sorts"),
            cursor=body.get("start_cursor"),
            size=as_page_size(body.get("page_size"), "body.page_size", textual=False),
            in_trash=bool(trash_flag(body)),
            limit=self._limit,
        )
        if body.get("result_type") is not None:
            as_choice(body["result_type"], "body.result_type", ("page", "data_source"))
        schema = json.loads(row["properties"])
        result = run_query(self._store, row, schema, asked)
        only = call.query.get("filter_properties")
        answer: Answer = {
            "object": "list",
            "results": [self._serializer.page(page, row, schema, only) for page in result.rows],
            "next_cursor": result.next_cursor,
            "has_more": result.next_cursor is not None,
            "type": "page_or_data_source",
            "page_or_data_source": {},
        }
        if result.incomplete:
            answer["request_status"] = {"type": "incomplete", "incomplete_reason": "query_result_limit_reached"}
        return answer
