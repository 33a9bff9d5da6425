"""The endpoints for views. See https://developers.notion.com/reference/view"""

from __future__ import annotations

import json
from typing import Any

from csm_core.notion_sandbox.errors import MISSING, invalid, invalid_parameter, not_found
from csm_core.notion_sandbox.filters import compile_filter, compile_sorts
from csm_core.notion_sandbox.lookup import Answer, Call, Lookup, offset_of
from csm_core.notion_sandbox.properties import Schema
from csm_core.notion_sandbox.store_file import Row, json_or_none
from csm_core.notion_sandbox.validation import as_choice, as_id, as_object, as_page_size, as_text
from csm_core.notion_sandbox.view_configuration import TYPES, clean_configuration

_PLACES = ("database_id", "view_id", "create_database")


class ViewEndpoints:
    """``/v1/views``. Dashboards and linked databases are not supported."""

    def __init__(self, look: Lookup) -> None:
        self._look = look
        self._store = look.store

    def create(self, call: Call) -> Answer:
        """POST /v1/views: adds a view to the tabs of a database."""
        allowed = ("data_source_id", "name", "type", "filter", "sorts", "quick_filters", "configuration", "position")
        body = as_object(call.body, "body", (*allowed, *_PLACES))
        if [key for key in _PLACES if key in body] != ["database_id"]:
            raise invalid(
                "body should have exactly one of database_id, view_id, create_database; the sandbox has database_id."
            )
        database = self._look.database(as_id(body["database_id"], "body.database_id"))
        source, owner = self._look.source(as_id(body.get("data_source_id"), "body.data_source_id"))
        if owner["id"] != database["id"]:
            raise invalid(f"The data source {source['id']} is not in the database {database['id']}.")
        kind = as_choice(body.get("type"), "body.type", TYPES)
        if kind == "dashboard":
            raise invalid("The sandbox does not support views of the type dashboard.")
        if not body.get("name"):
            raise invalid_parameter("body.name", "a string", body.get("name", MISSING))
        columns = self._columns({"configuration": None, **body}, kind, json.loads(source["properties"]))
        return self._answer(
            self._store.views.add(database["id"], source["id"], self._store.meta("bot"), {"type": kind, **columns})
        )

    def list_all(self, call: Call) -> Answer:
        """GET /v1/views: the ids of the views of a database or of a data source."""
        key = next((key for key in ("database_id", "data_source_id") if call.query.get(key)), None)
        if key is None:
            raise invalid("query failed validation: database_id or data_source_id should be defined.")
        identifier = as_id(call.query[key], f"query.{key}")
        if key == "database_id":
            self._look.database(identifier)
            rows = self._store.views.where("database_id", identifier)
        else:
            self._look.source(identifier)
            rows = self._store.views.where("source_id", identifier)
        size = as_page_size(call.query.get("page_size"), "query.page_size")
        start = offset_of(call.query.get("start_cursor"), len(rows))
        more = start + size < len(rows)
        return {
            "object": "list",
            "results": [{"object": "view", "id": row["id"]} for row in rows[start : start + size]],
            "next_cursor": f"item-{start + size}" if more else None,
            "has_more": more,
            "type": "view",
            "view": {},
        }

    def retrieve(self, call: Call) -> Answer:
        """GET /v1/views/{id}."""
        return self._answer(self._view(call.id))

    def update(self, call: Call) -> Answer:
        """PATCH /v1/views/{id}."""
        row = self._view(call.id)
        body = as_object(call.body, "body", ("name", "filter", "sorts", "quick_filters", "configuration"))
        source, _ = self._look.source(row["source_id"])
        columns = self._columns(body, row["type"], json.loads(source["properties"]))
        return self._answer(self._store.views.update(row, self._store.meta("bot"), columns))

    def delete(self, call: Call) -> Answer:
        """DELETE /v1/views/{id}. A database keeps at least one view."""
        row = self._view(call.id)
        if len(self._store.views.where("database_id", row["database_id"])) == 1:
            raise invalid("Cannot delete the last view of a database.")
        self._store.views.delete(row)
        parent = {"type": "database_id", "database_id": row["database_id"]}
        return {"object": "view", "id": row["id"], "parent": parent, "type": row["type"]}

    def _view(self, identifier: str) -> Row:
        view_id = as_id(identifier, "path.view_id")
        row = self._store.views.find(view_id)
        if row is None:
            raise not_found("view", view_id)
        self._look.database(row["database_id"])
        return row

    def _columns(self, body: dict[str, Any], kind: str, schema: Schema) -> dict[str, Any]:
        """The columns that a request sets."""
        columns: dict[str, Any] = {}
        if "name" in body:
            columns["name"] = as_text(body["name"], "body.name")
        if "filter" in body:
            compile_filter(body["filter"], schema)
            columns["filter"] = json_or_none(body["filter"])
        if "sorts" in body:
            compile_sorts(body["sorts"], schema)
            columns["sorts"] = json_or_none(body["sorts"])
        if "quick_filters" in body:
            quick = body["quick_filters"]
            for name, condition in (as_object(quick, "body.quick_filters") if quick is not None else {}).items():
                compile_filter({"property": name, **as_object(condition, f"body.quick_filters.{name}")}, schema)
            columns["quick_filters"] = json_or_none(quick)
        if "configuration" in body:
            columns["configuration"] = json_or_none(clean_configuration(body["configuration"], kind, schema))
        return columns

    def _answer(self, row: Row) -> Answer:
        kept = {key: row[key] and json.loads(row[key]) for key in ("filter", "sorts", "quick_filters", "configuration")}
        return {
            "object": "view",
            "id": row["id"],
            "parent": {"type": "database_id", "database_id": row["database_id"]},
            "data_source_id": row["source_id"],
            "name": row["name"],
            "type": row["type"],
            "created_time": f"{row['created_at']}:00.000Z",
            "created_by": {"object": "user", "id": row["created_by"]},
            "last_edited_time": f"{row['edited_at']}:00.000Z",
            "last_edited_by": {"object": "user", "id": row["edited_by"]},
            "url": f"{self._look.serializer.url(row['database_id'])}?v={row['id'].replace('-', '')}",
            **kept,
        }
