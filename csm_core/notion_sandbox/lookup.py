"""Finds the objects that a request names; raises errors for objects that are missing, hidden or in the trash."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from csm_core.notion_sandbox.errors import MISSING, ApiError, invalid, invalid_parameter, not_found
from csm_core.notion_sandbox.objects import Serializer
from csm_core.notion_sandbox.properties import Schema
from csm_core.notion_sandbox.store import Store
from csm_core.notion_sandbox.store_file import Row
from csm_core.notion_sandbox.validation import as_bool, as_choice, as_id, as_object, as_url

Answer = dict[str, Any]

TRASHED = "Can't edit block that is archived. You must unarchive the block before editing."
PLAIN_PAGE: Schema = {"title": {"id": "title", "name": "title", "description": None, "type": "title", "title": {}}}


@dataclass(frozen=True)
class Call:
    """A request to an endpoint; ``id`` and ``property_id`` are from the path, ``query`` is the query string."""

    body: Any = None
    query: dict[str, Any] = field(default_factory=dict)
    id: str = ""
    property_id: str = ""


class Lookup:
    """The objects of the workspace that are shared with the integration."""

    def __init__(self, store: Store, address: str) -> None:
        self.store = store
        self.serializer = Serializer(store, address)

    def page(self, identifier: str) -> Row:
        """A page by the id in a path; 404 if it does not exist."""
        page_id = as_id(identifier, "path.page_id")
        row = self.store.pages.find(page_id)
        if row is None or self.hidden(row):
            raise not_found("page", page_id)
        return row

    def hidden(self, row: Row) -> bool:
        """Whether a page is in a database that is not shared with the integration."""
        if row["source"] is None:
            return False
        database = self.store.databases.find(self.store.sources.by_seq(row["source"])["database_id"])
        return database is None or bool(database["hidden"])

    def open_page(self, page_id: str) -> Row:
        """A page that can be a parent: it exists and is not in the trash."""
        row = self.store.pages.find(page_id)
        if row is None:
            raise not_found("page", page_id)
        if row["in_trash"]:
            raise invalid(TRASHED)
        return row

    def database(self, database_id: str) -> Row:
        """A database; 404 if it does not exist."""
        row = self.store.databases.find(database_id)
        if row is None or row["hidden"]:
            raise not_found("database", database_id)
        return row

    def source(self, identifier: str) -> tuple[Row, Row]:
        """A data source by the id in a path, and its database; 404 if it does not exist."""
        source_id = as_id(identifier, "path.data_source_id")
        row = self.store.sources.find(source_id)
        database = self.store.databases.find(row["database_id"]) if row is not None else None
        if row is None or database is None or database["hidden"]:
            raise not_found("data_source", source_id)
        return row, database

    def source_of(self, row: Row) -> tuple[Row | None, Schema]:
        """The data source of a page, if it has one, and the schema of its properties."""
        if row["source"] is None:
            return None, PLAIN_PAGE
        source = self.store.sources.by_seq(row["source"])
        return source, json.loads(source["properties"])

    def parent_of_new_page(self, value: Any) -> tuple[Row | None, str | None]:
        """The data source, or else the page, that is the parent of a new page.

        A database means its data source, if it has only one.
        """
        parent = as_object(value, "body.parent", ("type", "data_source_id", "database_id", "page_id"))
        named = [word for word in ("data_source_id", "database_id", "page_id") if word in parent]
        if len(named) != 1:
            raise invalid_parameter("body.parent", "exactly one of data_source_id, database_id, page_id", value)
        as_choice(parent.get("type", named[0]), "body.parent.type", named)
        if "data_source_id" in parent:
            source_id = as_id(parent["data_source_id"], "body.parent.data_source_id")
            source, database = self.source(source_id)
        elif "database_id" in parent:
            database = self.database(as_id(parent["database_id"], "body.parent.database_id"))
            sources = self.store.sources.of_database(database["id"])
            if len(sources) != 1:
                raise _several_sources(database["id"], [source["id"] for source in sources])
            source = sources[0]
        else:
            page_id = as_id(parent.get("page_id"), "body.parent.page_id")
            return None, self.open_page(page_id)["id"]
        if source["in_trash"] or database["in_trash"]:
            raise invalid(TRASHED)
        return source, None

    def check_relations(self, schema: Schema) -> None:
        """Raise an error for relations to data sources that do not exist."""
        for config in schema.values():
            if config["type"] == "relation" and self.store.sources.find(config["relation"]["data_source_id"]) is None:
                raise not_found("data_source", config["relation"]["data_source_id"])

    def block(self, block_id: str) -> Row:
        """A block; 404 if it does not exist."""
        row = self.store.blocks.find(block_id)
        if row is None:
            raise not_found("block", block_id)
        return row

    def container(self, parent: str) -> tuple[str, bool]:
        """The type of a parent of blocks, and whether it is in the trash."""
        page = self.store.pages.find(parent)
        if page is not None and not self.hidden(page):
            return "child_page", bool(page["in_trash"])
        if self.store.templates.find(parent) is not None:
            return "child_page", False
        block = self.block(parent)
        return block["type"], bool(block["in_trash"])

    def block_answer(self, block_id: str) -> Answer:
        """A block, or a page in the form of a block."""
        row = self.store.blocks.find(block_id)
        if row is not None:
            return self.serializer.block(row)
        page = self.store.pages.find(block_id)
        if page is None or self.hidden(page):
            raise not_found("block", block_id)
        shown = self.serializer.page(page, *self.source_of(page))
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
            "has_children": self.store.blocks.has_children(block_id),
            "type": "child_page",
            "child_page": {"title": page["title"]},
        }


def trash_flag(body: dict[str, Any]) -> bool | None:
    """Whether a request moves an object to the trash (True) or restores it (False); None if it does neither."""
    for key in ("in_trash", "archived"):
        if body.get(key) is not None:
            return as_bool(body[key], f"body.{key}")
    return None


def as_cover(value: Any, path: str) -> dict[str, Any] | None:
    """A cover: an external image, or none."""
    if value is None:
        return None
    cover = as_object(value, path, ("type", "external"))
    external = as_object(cover.get("external", MISSING), f"{path}.external", ("url",))
    return {"type": "external", "external": {"url": as_url(external.get("url"), f"{path}.external.url")}}


def offset_of(cursor: Any, total: int) -> int:
    """The position that a cursor of a list points to."""
    if cursor is None:
        return 0
    match = re.match(r"item-(\d{1,9})\Z", cursor) if isinstance(cursor, str) else None
    if match is None or int(match[1]) > total:
        raise invalid_parameter("start_cursor", "a cursor of an earlier response", cursor)
    return int(match[1])


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
