"""The endpoints: a method, a path and a body in; an object out, or an :class:`ApiError`. Nothing of HTTP.

The endpoints that csm-health uses of https://developers.notion.com/reference/intro, at Notion-Version 2025-09-03.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from csm_core.notion.sandbox.blocks import clean_children, may_have_children, merge_content
from csm_core.notion.sandbox.errors import MISSING, ApiError, invalid, misfit, not_found
from csm_core.notion.sandbox.objects import Shapes
from csm_core.notion.sandbox.properties import (
    Schema,
    Values,
    clean_schema,
    clean_values,
    default_schema,
    empty_value,
    find_property,
    shown_value,
    update_schema,
)
from csm_core.notion.sandbox.queries import Query, run_query
from csm_core.notion.sandbox.rich_text import clean_rich_text, plain
from csm_core.notion.sandbox.store import Row, Store, to_json
from csm_core.notion.sandbox.validation import (
    as_bool,
    as_choice,
    as_icon,
    as_id,
    as_object,
    as_page_size,
    as_text,
    as_url,
)

QUERY_RESULT_LIMIT = 10_000

Answer = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """A request as an endpoint sees it; ``id`` and ``property_id`` are of the path, ``query`` of the query string."""

    body: Any = None
    query: dict[str, Any] = field(default_factory=dict)
    id: str = ""
    property_id: str = ""


Handler = Callable[[Call], Answer]


_TRASHED = "Can't edit block that is archived. You must unarchive the block before editing."
_PLAIN_PAGE: Schema = {"title": {"id": "title", "name": "title", "description": None, "type": "title", "title": {}}}


class Api:
    """The workspace behind the endpoints."""

    def __init__(self, store: Store, address: str, query_result_limit: int = QUERY_RESULT_LIMIT) -> None:
        self.store = store
        self.shapes = Shapes(store, address)
        self._limit = query_result_limit
        self._routes: list[tuple[str, re.Pattern[str], Handler]] = [
            (method, re.compile(pattern.replace("{id}", r"(?P<id>[^/]+)") + r"\Z"), handler)
            for method, pattern, handler in (
                ("POST", "pages", self.create_page),
                ("GET", "pages/{id}", self.retrieve_page),
                ("PATCH", "pages/{id}", self.update_page),
                ("GET", "pages/{id}/properties/(?P<property_id>[^/]+)", self.retrieve_property),
                ("POST", "databases", self.create_database),
                ("GET", "databases/{id}", self.retrieve_database),
                ("PATCH", "databases/{id}", self.update_database),
                ("POST", "data_sources", self.create_source),
                ("GET", "data_sources/{id}", self.retrieve_source),
                ("PATCH", "data_sources/{id}", self.update_source),
                ("POST", "data_sources/{id}/query", self.query_source),
                ("GET", "blocks/{id}", self.retrieve_block),
                ("PATCH", "blocks/{id}", self.update_block),
                ("DELETE", "blocks/{id}", self.delete_block),
                ("GET", "blocks/{id}/children", self.list_children),
                ("PATCH", "blocks/{id}/children", self.append_children),
                ("POST", "search", self.search),
                ("GET", "users/me", self.me),
                ("GET", "users", self.list_users),
            )
        ]

    def handle(self, method: str, path: str, query: dict[str, Any], body: Any) -> Answer:
        """The answer of one request, whose changes are committed when this returns.

        ``path`` is without the leading ``/v1/``; ``query`` holds the last value of each name, and
        ``filter_properties`` as a list. Raises :class:`ApiError`, after which nothing has changed.
        """
        for allowed, pattern, handler in self._routes:
            match = pattern.match(path)
            if match is None or allowed != method:
                continue
            call = Call(body, query, **match.groupdict())
            if method == "GET" or path.endswith("/query"):
                with self.store.reading():
                    return handler(call)
            with self.store.transaction():
                return handler(call)
        raise ApiError(400, "invalid_request_url", "Invalid request URL.")

    # Pages

    def create_page(self, call: Call) -> Answer:
        """POST /v1/pages."""
        given = as_object(call.body, "body", ("parent", "properties", "children", "icon", "cover", "position"))
        source, parent_page = self._parent_of_new_page(given.get("parent", MISSING))
        schema = json.loads(source["properties"]) if source else _PLAIN_PAGE
        values, grew = clean_values(schema, given.get("properties", {}), "body.properties")
        children = clean_children(given.get("children", []), "body.children")
        icon = as_icon(given.get("icon"), "body.icon")
        cover = _cover(given.get("cover"), "body.cover")
        if source is not None and grew:
            source = self.store.update_source(source, {"properties": to_json(schema)})
        row = self.store.add_page(parent_page, source, schema, values, icon, cover)
        if children:
            self.store.append(row["id"], children)
        return self.shapes.page(row, source, schema)

    def retrieve_page(self, call: Call) -> Answer:
        """GET /v1/pages/{id}."""
        row = self._page(call.id)
        source, schema = self._source_of(row)
        return self.shapes.page(row, source, schema, call.query.get("filter_properties"))

    def update_page(self, call: Call) -> Answer:
        """PATCH /v1/pages/{id}."""
        row = self._page(call.id)
        allowed = ("properties", "icon", "cover", "archived", "in_trash", "is_locked", "erase_content")
        given = as_object(call.body, "body", allowed)
        return self.change_page(row, given, self.store.meta("bot"))

    def change_page(self, row: Row, given: dict[str, Any], edited_by: str) -> Answer:
        """An update of a page on behalf of a user."""
        source, schema = self._source_of(row)
        trash = _trash_word(given)
        columns: dict[str, Any] = {}
        if trash is not None:
            columns["in_trash"] = int(trash)
        if row["in_trash"] and trash is not False:
            raise invalid(_TRASHED)
        values: Values = {}
        grew = False
        if "properties" in given:
            values, grew = clean_values(schema, given["properties"], "body.properties")
        if "icon" in given:
            icon = as_icon(given["icon"], "body.icon")
            columns["icon"] = None if icon is None else to_json(icon)
        if "cover" in given:
            cover = _cover(given["cover"], "body.cover")
            columns["cover"] = None if cover is None else to_json(cover)
        if "is_locked" in given:
            as_bool(given["is_locked"], "body.is_locked")
        if "erase_content" in given and as_bool(given["erase_content"], "body.erase_content"):
            for child in self.store.children(row["id"]):
                self.store.update_block(child, in_trash=1)
        if source is not None and grew:
            source = self.store.update_source(source, {"properties": to_json(schema)})
        row = self.store.update_page(row, schema, values, edited_by, **columns)
        return self.shapes.page(row, source, schema)

    def retrieve_property(self, call: Call) -> Answer:
        """GET /v1/pages/{id}/properties/{property_id}: all of a long value, by pages."""
        row = self._page(call.id)
        _, schema = self._source_of(row)
        config = find_property(schema, call.property_id)
        if config is None:
            raise not_found("property", call.property_id)
        values = json.loads(row["properties"])
        kind = config["type"]
        if kind not in ("title", "rich_text", "relation"):
            times = (f"{row['created_at']}:00.000Z", f"{row['edited_at']}:00.000Z")
            return {"object": "property_item", **shown_value(config, values, times)}
        size = as_page_size(call.query.get("page_size"), "query.page_size")
        items = values.get(config["id"], empty_value(config))
        start = _offset(call.query.get("start_cursor"), len(items))
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

    # Databases

    def create_database(self, call: Call) -> Answer:
        """POST /v1/databases: a database and its first data source."""
        allowed = ("parent", "title", "description", "is_inline", "initial_data_source", "icon", "cover")
        given = as_object(call.body, "body", allowed)
        parent = as_object(given.get("parent", MISSING), "body.parent", ("type", "page_id"))
        page_id = as_id(parent.get("page_id"), "body.parent.page_id")
        self._open_page(page_id)
        title = clean_rich_text(given.get("title", []), "body.title")
        initial = as_object(given.get("initial_data_source", {}), "body.initial_data_source", ("properties",))
        schema = default_schema()
        if "properties" in initial:
            schema = clean_schema(initial["properties"], "body.initial_data_source.properties")
        self._check_relations(schema)
        icon = as_icon(given.get("icon"), "body.icon")
        columns = {
            "title": to_json(title),
            "description": to_json(clean_rich_text(given.get("description", []), "body.description")),
            "is_inline": int(as_bool(given.get("is_inline", False), "body.is_inline")),
            "icon": None if icon is None else to_json(icon),
        }
        row = self.store.add_database(page_id, columns, plain(title))
        self.store.add_source(row["id"], title, schema)
        return self.shapes.database(row)

    def retrieve_database(self, call: Call) -> Answer:
        """GET /v1/databases/{id}."""
        return self.shapes.database(self._database(as_id(call.id, "path.database_id")))

    def update_database(self, call: Call) -> Answer:
        """PATCH /v1/databases/{id}: the container; properties are updated on the data source."""
        row = self._database(as_id(call.id, "path.database_id"))
        allowed = ("title", "description", "is_inline", "icon", "cover", "in_trash", "archived", "is_locked")
        given = as_object(call.body, "body", allowed)
        columns: dict[str, Any] = {}
        title_text = None
        trash = _trash_word(given)
        if row["in_trash"] and trash is not False:
            raise invalid(_TRASHED)
        if trash is not None:
            columns["in_trash"] = int(trash)
        if "title" in given:
            title = clean_rich_text(given["title"], "body.title")
            columns["title"], title_text = to_json(title), plain(title)
        if "description" in given:
            columns["description"] = to_json(clean_rich_text(given["description"], "body.description"))
        if "is_inline" in given:
            columns["is_inline"] = int(as_bool(given["is_inline"], "body.is_inline"))
        if "icon" in given:
            icon = as_icon(given["icon"], "body.icon")
            columns["icon"] = None if icon is None else to_json(icon)
        return self.shapes.database(self.store.update_database(row, columns, title_text))

    # Data sources

    def create_source(self, call: Call) -> Answer:
        """POST /v1/data_sources: a further one in a database."""
        given = as_object(call.body, "body", ("parent", "properties", "title", "icon"))
        parent = as_object(given.get("parent", MISSING), "body.parent", ("type", "database_id"))
        database = self._database(as_id(parent.get("database_id"), "body.parent.database_id"))
        schema = clean_schema(given.get("properties", MISSING), "body.properties")
        self._check_relations(schema)
        title = clean_rich_text(given.get("title", []), "body.title")
        icon = as_icon(given.get("icon"), "body.icon")
        return self.shapes.source(self.store.add_source(database["id"], title, schema, icon), database)

    def retrieve_source(self, call: Call) -> Answer:
        """GET /v1/data_sources/{id}."""
        return self.shapes.source(*self._source(call.id))

    def update_source(self, call: Call) -> Answer:
        """PATCH /v1/data_sources/{id}: its title and properties."""
        row, database = self._source(call.id)
        given = as_object(call.body, "body", ("title", "icon", "properties", "in_trash", "archived"))
        columns: dict[str, Any] = {}
        trash = _trash_word(given)
        if trash is not None:
            columns["in_trash"] = int(trash)
        if "title" in given:
            columns["title"] = to_json(clean_rich_text(given["title"], "body.title"))
        if "icon" in given:
            icon = as_icon(given["icon"], "body.icon")
            columns["icon"] = None if icon is None else to_json(icon)
        if "properties" in given:
            old: Schema = json.loads(row["properties"])
            schema = update_schema(old, given["properties"], "body.properties")
            self._check_relations(schema)
            columns["properties"] = to_json(schema)
            kept = {config["id"]: config["type"] for config in schema.values()}
            gone = [config["id"] for config in old.values() if kept.get(config["id"]) != config["type"]]
            self.store.forget_values(row, gone)
        return self.shapes.source(self.store.update_source(row, columns), database)

    def query_source(self, call: Call) -> Answer:
        """POST /v1/data_sources/{id}/query."""
        row, _ = self._source(call.id)
        allowed = ("filter", "sorts", "start_cursor", "page_size", "archived", "in_trash", "result_type")
        given = as_object({} if call.body is None else call.body, "body", allowed)
        asked = Query(
            filter=given.get("filter"),
            sorts=given.get("sorts"),
            cursor=given.get("start_cursor"),
            size=as_page_size(given.get("page_size"), "body.page_size"),
            in_trash=bool(_trash_word(given)),
            limit=self._limit,
        )
        if given.get("result_type") is not None:
            as_choice(given["result_type"], "body.result_type", ("page", "data_source"))
        schema = json.loads(row["properties"])
        found = run_query(self.store, row, schema, asked)
        only = call.query.get("filter_properties")
        answer: Answer = {
            "object": "list",
            "results": [self.shapes.page(page, row, schema, only) for page in found.rows],
            "next_cursor": found.next_cursor,
            "has_more": found.next_cursor is not None,
            "type": "page_or_data_source",
            "page_or_data_source": {},
        }
        if found.incomplete:
            answer["request_status"] = {"type": "incomplete", "incomplete_reason": "query_result_limit_reached"}
        return answer

    # Blocks

    def retrieve_block(self, call: Call) -> Answer:
        """GET /v1/blocks/{id}."""
        return self._block_answer(as_id(call.id, "path.block_id"))

    def update_block(self, call: Call) -> Answer:
        """PATCH /v1/blocks/{id}."""
        block_id = as_id(call.id, "path.block_id")
        row = self._block(block_id)
        given = as_object(call.body, "body", ("type", "archived", "in_trash", row["type"]))
        columns: dict[str, Any] = {}
        trash = _trash_word(given)
        if row["in_trash"] and trash is not False:
            raise invalid(_TRASHED)
        if trash is not None:
            columns["in_trash"] = int(trash)
        if row["type"] in given:
            if row["type"] in ("child_page", "child_database"):
                raise invalid(f"A block of the type {row['type']} is updated as the page or the database that it is.")
            changed = as_object(given[row["type"]], f"body.{row['type']}")
            content = merge_content(row["type"], json.loads(row["content"]), changed, f"body.{row['type']}")
            columns["content"] = to_json(content)
        row = self.store.update_block(row, **columns)
        self.store.touch_page_of(row["parent"], self.store.meta("bot"))
        return self.shapes.block(row)

    def delete_block(self, call: Call) -> Answer:
        """DELETE /v1/blocks/{id}: to the trash; pages and databases are blocks here."""
        block_id = as_id(call.id, "path.block_id")
        page = self.store.page(block_id)
        if page is not None:
            if page["in_trash"]:
                raise invalid(_TRASHED)
            self.change_page(page, {"in_trash": True}, self.store.meta("bot"))
            return self._block_answer(block_id)
        database = self.store.database(block_id)
        if database is not None:
            self.store.update_database(database, {"in_trash": 1})
            return self._block_answer(block_id)
        row = self._block(block_id)
        if row["in_trash"]:
            raise invalid(_TRASHED)
        self.store.touch_page_of(row["parent"], self.store.meta("bot"))
        return self.shapes.block(self.store.update_block(row, in_trash=1))

    def list_children(self, call: Call) -> Answer:
        """GET /v1/blocks/{id}/children."""
        parent = as_id(call.id, "path.block_id")
        self._container(parent)
        size = as_page_size(call.query.get("page_size"), "query.page_size")
        after = -1
        if call.query.get("start_cursor") is not None:
            first = self.store.block(as_id(call.query["start_cursor"], "query.start_cursor"))
            if first is None or first["parent"] != parent:
                raise invalid(f"The start_cursor provided is invalid: {call.query['start_cursor']}")
            after = first["position"] - 1
        rows = self.store.children(parent, after, size + 1)
        more = len(rows) > size
        return {
            "object": "list",
            "results": [self.shapes.block(row) for row in rows[:size]],
            "next_cursor": rows[size]["id"] if more else None,
            "has_more": more,
            "type": "block",
            "block": {},
        }

    def append_children(self, call: Call) -> Answer:
        """PATCH /v1/blocks/{id}/children: at the end, or behind a named block."""
        parent = as_id(call.id, "path.block_id")
        kind, trashed = self._container(parent)
        given = as_object(call.body, "body", ("children", "after", "position"))
        blocks = clean_children(given.get("children", MISSING), "body.children")
        if trashed:
            raise invalid(_TRASHED)
        if not may_have_children(kind):
            raise invalid(f"Block of the type {kind} does not support children.")
        rows = self.store.append(parent, blocks, self._place_for(parent, given))
        self.store.touch_page_of(parent, self.store.meta("bot"))
        return {
            "object": "list",
            "results": [self.shapes.block(row) for row in rows],
            "next_cursor": None,
            "has_more": False,
            "type": "block",
            "block": {},
        }

    # The rest

    def search(self, call: Call) -> Answer:
        """POST /v1/search: by words of the title."""
        given = as_object(
            {} if call.body is None else call.body, "body", ("query", "filter", "sort", "start_cursor", "page_size")
        )
        words = as_text(given.get("query", ""), "body.query")
        size = as_page_size(given.get("page_size"), "body.page_size")
        kind = None
        if given.get("filter") is not None:
            asked = as_object(given["filter"], "body.filter", ("property", "value"))
            kind = as_choice(asked.get("value"), "body.filter.value", ("page", "data_source"))
        found: list[Answer] = []
        if kind != "page":
            for database in self.store.databases():
                for source in self.store.sources_of(database["id"]):
                    shown = self.shapes.source(source, database)
                    if words.lower() in plain(shown["title"]).lower():
                        found.append(shown)
        if kind != "data_source":
            where = "in_trash = 0 and instr(lower(title), lower(?)) > 0"
            rows = self.store.pages_where(where, (words,), "seq desc", QUERY_RESULT_LIMIT)
            found.extend(self.shapes.page(row, *self._source_of(row)) for row in rows)
        start = _offset(given.get("start_cursor"), len(found))
        more = start + size < len(found)
        return {
            "object": "list",
            "results": found[start : start + size],
            "next_cursor": f"item-{start + size}" if more else None,
            "has_more": more,
            "type": "page_or_data_source",
            "page_or_data_source": {},
        }

    def me(self, _call: Call) -> Answer:
        """GET /v1/users/me."""
        return self.shapes.user()

    def list_users(self, _call: Call) -> Answer:
        """GET /v1/users."""
        return {
            "object": "list",
            "results": [self.shapes.user()],
            "next_cursor": None,
            "has_more": False,
            "type": "user",
            "user": {},
        }

    # Looking things up

    def _page(self, identifier: str) -> Row:
        page_id = as_id(identifier, "path.page_id")
        row = self.store.page(page_id)
        if row is None or self._hidden(row):
            raise not_found("page", page_id)
        return row

    def _hidden(self, row: Row) -> bool:
        if row["source"] is None:
            return False
        database = self.store.database(self.store.source_by_seq(row["source"])["database_id"])
        return database is None or bool(database["hidden"])

    def _open_page(self, page_id: str) -> Row:
        row = self.store.page(page_id)
        if row is None:
            raise not_found("page", page_id)
        if row["in_trash"]:
            raise invalid(_TRASHED)
        return row

    def _database(self, database_id: str) -> Row:
        row = self.store.database(database_id)
        if row is None or row["hidden"]:
            raise not_found("database", database_id)
        return row

    def _source(self, identifier: str) -> tuple[Row, Row]:
        source_id = as_id(identifier, "path.data_source_id")
        row = self.store.source(source_id)
        database = self.store.database(row["database_id"]) if row is not None else None
        if row is None or database is None or database["hidden"]:
            raise not_found("data_source", source_id)
        return row, database

    def _source_of(self, row: Row) -> tuple[Row | None, Schema]:
        if row["source"] is None:
            return None, _PLAIN_PAGE
        source = self.store.source_by_seq(row["source"])
        return source, json.loads(source["properties"])

    def _parent_of_new_page(self, value: Any) -> tuple[Row | None, str | None]:
        parent = as_object(value, "body.parent", ("type", "data_source_id", "database_id", "page_id"))
        if "data_source_id" in parent:
            source_id = as_id(parent["data_source_id"], "body.parent.data_source_id")
            source, database = self._source(source_id)
        elif "database_id" in parent:
            database = self._database(as_id(parent["database_id"], "body.parent.database_id"))
            sources = self.store.sources_of(database["id"])
            if len(sources) != 1:
                raise _several_sources(database["id"], [source["id"] for source in sources])
            source = sources[0]
        else:
            page_id = as_id(parent.get("page_id"), "body.parent.page_id")
            return None, self._open_page(page_id)["id"]
        if source["in_trash"] or database["in_trash"]:
            raise invalid(_TRASHED)
        return source, None

    def _check_relations(self, schema: Schema) -> None:
        for config in schema.values():
            if config["type"] == "relation" and self.store.source(config["relation"]["data_source_id"]) is None:
                raise not_found("data_source", config["relation"]["data_source_id"])

    def _block(self, block_id: str) -> Row:
        row = self.store.block(block_id)
        if row is None:
            raise not_found("block", block_id)
        return row

    def _container(self, parent: str) -> tuple[str, bool]:
        page = self.store.page(parent)
        if page is not None and not self._hidden(page):
            return "child_page", bool(page["in_trash"])
        block = self._block(parent)
        return block["type"], bool(block["in_trash"])

    def _place_for(self, parent: str, given: dict[str, Any]) -> int | None:
        after = given.get("after")
        if given.get("position") is not None:
            position = as_object(given["position"], "body.position", ("type", "after_block"))
            word = as_choice(position.get("type"), "body.position.type", ("start", "end", "after_block"))
            if word == "start":
                return -1
            if word == "end":
                return None
            target = as_object(position.get("after_block", MISSING), "body.position.after_block", ("id",))
            after = target.get("id")
        if after is None:
            return None
        before = self._block(as_id(after, "body.after"))
        if before["parent"] != parent:
            raise invalid(f"Block with ID {before['id']} to append after is not a child of {parent}.")
        return before["position"]

    def _block_answer(self, block_id: str) -> Answer:
        row = self.store.block(block_id)
        if row is not None:
            return self.shapes.block(row)
        page = self.store.page(block_id)
        if page is None or self._hidden(page):
            raise not_found("block", block_id)
        shown = self.shapes.page(page, *self._source_of(page))
        kept = (
            "id",
            "parent",
            "created_time",
            "last_edited_time",
            "created_by",
            "last_edited_by",
            "in_trash",
            "archived",
        )
        return {
            "object": "block",
            **{key: shown[key] for key in kept},
            "has_children": self.store.has_children(block_id),
            "type": "child_page",
            "child_page": {"title": page["title"]},
        }


def _several_sources(database_id: str, source_ids: list[str]) -> ApiError:
    return invalid(
        f"Databases with multiple data sources are not supported in this API version: {database_id}",
        {
            "error_type": "multiple_data_sources_for_database",
            "database_id": database_id,
            "child_data_source_ids": source_ids,
            "minimum_api_version": "2025-09-03",
        },
    )


def _trash_word(given: dict[str, Any]) -> bool | None:
    for word in ("in_trash", "archived"):
        if given.get(word) is not None:
            return as_bool(given[word], f"body.{word}")
    return None


def _cover(value: Any, path: str) -> dict[str, Any] | None:
    if value is None:
        return None
    cover = as_object(value, path, ("type", "external"))
    external = as_object(cover.get("external", MISSING), f"{path}.external", ("url",))
    return {"type": "external", "external": {"url": as_url(external.get("url"), f"{path}.external.url")}}


def _offset(cursor: Any, total: int) -> int:
    if cursor is None:
        return 0
    match = re.match(r"item-(\d{1,9})\Z", cursor) if isinstance(cursor, str) else None
    if match is None or int(match[1]) > total:
        raise misfit("start_cursor", "a cursor of an earlier answer", cursor)
    return int(match[1])
