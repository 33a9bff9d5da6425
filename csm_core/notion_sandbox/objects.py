"""Converts pages, databases, data sources and blocks to the JSON objects of the API.

See https://developers.notion.com/reference/page, /database, /data-source and /block; ``versions`` removes what a later
version of the API does not have.
"""

from __future__ import annotations

import json
from typing import Any

from csm_core.notion_sandbox.properties import Schema, find_property, shown_value
from csm_core.notion_sandbox.store import Store
from csm_core.notion_sandbox.store_file import Row

# Addresses of files expire in Notion; those of the sandbox do not.
_EXPIRY = "2099-12-31T00:00:00.000Z"


class Serializer:
    """Converts rows of the store to objects of the API; ``address`` is the base URL of the browser view."""

    def __init__(self, store: Store, address: str) -> None:
        self._store = store
        self._address = address.rstrip("/")

    def page(self, row: Row, source: Row | None, schema: Schema, only: list[str] | None = None) -> dict[str, Any]:
        """A page; its properties are ordered by id, because the order in the API is unspecified."""
        created, edited = f"{row['created_at']}:00.000Z", f"{row['edited_at']}:00.000Z"
        values = json.loads(row["properties"])
        if source is None:
            title = {"id": "title", "type": "title", "title": values.get("title", [])}
            properties = {"title": title}
        else:
            configs = sorted(schema.values(), key=lambda config: config["id"])
            if only is not None:
                wanted = {config["id"] for config in (find_property(schema, key) for key in only) if config}
                configs = [config for config in configs if config["id"] in wanted]
            properties = {config["name"]: shown_value(config, values, (created, edited)) for config in configs}
            for shown in properties.values():
                if shown["type"] == "people":
                    shown["people"] = [self.person(item["id"]) for item in shown["people"]]
        trashed = bool(row["in_trash"])
        return {
            "object": "page",
            "id": row["id"],
            "created_time": created,
            "last_edited_time": edited,
            "created_by": _user(row["created_by"]),
            "last_edited_by": _user(row["edited_by"]),
            "cover": _json(row["cover"]),
            "icon": _json(row["icon"]),
            "parent": self._page_parent(row, source),
            "in_trash": trashed,
            "is_archived": trashed,
            "is_locked": False,
            "properties": properties,
            "url": self.url(row["id"]),
            "public_url": None,
            "archived": trashed,
        }

    def database(self, row: Row) -> dict[str, Any]:
        """A database with its data sources; the data sources have the properties."""
        trashed = bool(row["in_trash"])
        return {
            "object": "database",
            "id": row["id"],
            "title": json.loads(row["title"]),
            "description": json.loads(row["description"]),
            "parent": {"type": "page_id", "page_id": row["parent_page"]},
            "is_inline": bool(row["is_inline"]),
            "in_trash": trashed,
            "is_locked": False,
            "created_time": f"{row['created_at']}:00.000Z",
            "last_edited_time": f"{row['edited_at']}:00.000Z",
            "data_sources": [
                {"id": source["id"], "name": "".join(run["plain_text"] for run in json.loads(source["title"]))}
                for source in self._store.sources.of_database(row["id"])
            ],
            "icon": _json(row["icon"]),
            "cover": _json(row["cover"]),
            "url": self.url(row["id"]),
            "public_url": None,
            "archived": trashed,
        }

    def source(self, row: Row, database: Row) -> dict[str, Any]:
        """A data source with its properties."""
        trashed = bool(row["in_trash"] or database["in_trash"])
        user = _user(self._store.meta("bot"))
        return {
            "object": "data_source",
            "id": row["id"],
            "cover": None,
            "icon": _json(row["icon"]),
            "created_time": f"{row['created_at']}:00.000Z",
            "created_by": user,
            "last_edited_by": user,
            "last_edited_time": f"{row['edited_at']}:00.000Z",
            "title": json.loads(row["title"]),
            "description": [],
            "is_inline": bool(database["is_inline"]),
            "properties": {name: self._config(config) for name, config in json.loads(row["properties"]).items()},
            "parent": {"type": "database_id", "database_id": row["database_id"]},
            "database_parent": {"type": "page_id", "page_id": database["parent_page"]},
            "url": self.url(row["database_id"]),
            "public_url": None,
            "in_trash": trashed,
            "archived": trashed,
        }

    def block(self, row: Row) -> dict[str, Any]:
        """A block without its children, which have their own endpoint."""
        bot = self._store.meta("bot")
        trashed = bool(row["in_trash"])
        has_children = row["type"] != "child_database" and self._store.blocks.has_children(row["id"])
        return {
            "object": "block",
            "id": row["id"],
            "parent": self._block_parent(row["parent"]),
            "created_time": f"{row['created_at']}:00.000Z",
            "last_edited_time": f"{row['edited_at']}:00.000Z",
            "created_by": _user(row["created_by"] or bot),
            "last_edited_by": _user(row["edited_by"] or bot),
            "has_children": has_children,
            "in_trash": trashed,
            "type": row["type"],
            row["type"]: self._content(row),
            "archived": trashed,
        }

    def _content(self, row: Row) -> dict[str, Any]:
        """The content of a block; a file has an address instead of the id of its upload."""
        content = json.loads(row["content"])
        if "file" in content:
            content["file"] = {"url": f"{self._address}/_files/{content['file']['id']}", "expiry_time": _EXPIRY}
        return content

    def user(self) -> dict[str, Any]:
        """The user of the integration."""
        return {
            "object": "user",
            "id": self._store.meta("bot"),
            "name": "CSM Health (sandbox)",
            "avatar_url": None,
            "type": "bot",
            "bot": {
                "owner": {"type": "workspace", "workspace": True},
                "workspace_id": self._store.root_id,
                "workspace_name": "Notion sandbox",
            },
        }

    def person(self, user_id: str) -> dict[str, Any]:
        """A person of the workspace; only the id of a person that does not exist any more."""
        row = self._store.people.find(user_id)
        if row is None:
            return _user(user_id)
        shown = {"name": row["name"], "avatar_url": None, "type": "person", "person": {"email": row["email"]}}
        return {**_user(user_id), **shown}

    def url(self, identifier: str) -> str:
        """The address of a page or a database in the browser view."""
        return f"{self._address}/{identifier.replace('-', '')}"

    def _config(self, config: dict[str, Any]) -> dict[str, Any]:
        """The configuration of a property; a relation also names the database of its data source."""
        target = self._store.sources.find(config["relation"]["data_source_id"]) if "relation" in config else None
        if target is None:
            return config
        return {**config, "relation": {"database_id": target["database_id"], **config["relation"]}}

    def _page_parent(self, row: Row, source: Row | None) -> dict[str, Any]:
        if source is not None:
            return {"type": "data_source_id", "data_source_id": source["id"], "database_id": source["database_id"]}
        if row["parent_page"] is None:
            return {"type": "workspace", "workspace": True}
        return {"type": "page_id", "page_id": row["parent_page"]}

    def _block_parent(self, parent: str) -> dict[str, Any]:
        if self._store.pages.find(parent) is not None:
            return {"type": "page_id", "page_id": parent}
        return {"type": "block_id", "block_id": parent}


def _user(identifier: str) -> dict[str, Any]:
    return {"object": "user", "id": identifier}


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)
