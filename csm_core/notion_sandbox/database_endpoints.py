"""The endpoints for databases. See https://developers.notion.com/reference/database"""

from __future__ import annotations

from typing import Any

from csm_core.notion_sandbox.errors import MISSING, invalid
from csm_core.notion_sandbox.lookup import TRASHED, Answer, Call, Lookup, trash_flag
from csm_core.notion_sandbox.property_schema import clean_schema, default_schema
from csm_core.notion_sandbox.relations import Relations
from csm_core.notion_sandbox.rich_text import clean_rich_text, plain
from csm_core.notion_sandbox.store_file import to_json
from csm_core.notion_sandbox.validation import (
    as_bool,
    as_choice,
    as_icon,
    as_id,
    as_object,
)


class DatabaseEndpoints:
    """``/v1/databases``: containers of data sources."""

    def __init__(self, look: Lookup) -> None:
        self._look = look
        self._store = look.store
        self._serializer = look.serializer
        self._relations = Relations(look)

    def create(self, call: Call) -> Answer:
        """POST /v1/databases: creates a database, its first data source and a view."""
        allowed = ("parent", "title", "description", "is_inline", "initial_data_source", "icon", "cover")
        body = as_object(call.body, "body", allowed)
        parent = as_object(body.get("parent", MISSING), "body.parent", ("type", "page_id"))
        as_choice(parent.get("type"), "body.parent.type", ("page_id",))
        page_id = as_id(parent.get("page_id"), "body.parent.page_id")
        self._look.open_page(page_id)
        title = clean_rich_text(body.get("title", []), "body.title")
        initial = as_object(body.get("initial_data_source", {}), "body.initial_data_source", ("properties",))
        schema = default_schema()
        if "properties" in initial:
            schema = clean_schema(initial["properties"], "body.initial_data_source.properties")
        self._look.check_relations(schema)
        icon = as_icon(body.get("icon"), "body.icon")
        columns = {
            "title": to_json(title),
            "description": to_json(clean_rich_text(body.get("description", []), "body.description")),
            "is_inline": int(as_bool(body.get("is_inline", False), "body.is_inline")),
            "icon": None if icon is None else to_json(icon),
        }
        row = self._store.databases.add(page_id, columns, plain(title))
        source = self._relations.complete_schema(self._store.sources.add(row["id"], title, schema), {})
        table = {"name": "Default view", "type": "table"}
        self._store.views.add(row["id"], source["id"], self._store.meta("bot"), table)
        return self._serializer.database(row)

    def retrieve(self, call: Call) -> Answer:
        """GET /v1/databases/{id}."""
        return self._serializer.database(self._look.database(as_id(call.id, "path.database_id")))

    def update(self, call: Call) -> Answer:
        """PATCH /v1/databases/{id}: updates the database; properties are updated on the data source."""
        row = self._look.database(as_id(call.id, "path.database_id"))
        allowed = ("title", "description", "is_inline", "icon", "cover", "in_trash", "archived", "is_locked")
        body = as_object(call.body, "body", allowed)
        columns: dict[str, Any] = {}
        title_text = None
        trash = trash_flag(body)
        if row["in_trash"] and trash is not False:
            raise invalid(TRASHED)
        if trash is not None:
            columns["in_trash"] = int(trash)
        if "title" in body:
            title = clean_rich_text(body["title"], "body.title")
            columns["title"], title_text = to_json(title), plain(title)
        if "description" in body:
            columns["description"] = to_json(clean_rich_text(body["description"], "body.description"))
        if "is_inline" in body:
            columns["is_inline"] = int(as_bool(body["is_inline"], "body.is_inline"))
        if "icon" in body:
            icon = as_icon(body["icon"], "body.icon")
            columns["icon"] = None if icon is None else to_json(icon)
        return self._serializer.database(self._store.databases.update(row, columns, title_text))
