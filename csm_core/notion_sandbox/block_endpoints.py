"""The endpoints for blocks. See https://developers.notion.com/reference/block"""

from __future__ import annotations

import json
from typing import Any

from csm_core.notion_sandbox.blocks import clean_children, may_have_children, merge_content
from csm_core.notion_sandbox.errors import MISSING, invalid
from csm_core.notion_sandbox.file_endpoints import require_uploaded
from csm_core.notion_sandbox.lookup import TRASHED, Answer, Call, Lookup, trash_flag
from csm_core.notion_sandbox.page_endpoints import PageEndpoints
from csm_core.notion_sandbox.store_file import to_json
from csm_core.notion_sandbox.validation import (
    as_choice,
    as_id,
    as_object,
    as_page_size,
)


class BlockEndpoints:
    """``/v1/blocks``; ``pages`` moves child pages to the trash."""

    def __init__(self, look: Lookup, pages: PageEndpoints) -> None:
        self._look = look
        self._store = look.store
        self._serializer = look.serializer
        self._pages = pages

    def retrieve(self, call: Call) -> Answer:
        """GET /v1/blocks/{id}."""
        return self._look.block_answer(as_id(call.id, "path.block_id"))

    def update(self, call: Call) -> Answer:
        """PATCH /v1/blocks/{id}."""
        block_id = as_id(call.id, "path.block_id")
        row = self._look.block(block_id)
        body = as_object(call.body, "body", ("type", "archived", "in_trash", row["type"]))
        as_choice(body.get("type", row["type"]), "body.type", (row["type"],))
        columns: dict[str, Any] = {}
        trash = trash_flag(body)
        if row["in_trash"] and trash is not False:
            raise invalid(TRASHED)
        if trash is not None:
            columns["in_trash"] = int(trash)
        if row["type"] in body:
            if row["type"] in ("child_page", "child_database"):
                raise invalid(f"A block of the type {row['type']} can only be updated as a page or a database.")
            changed = as_object(body[row["type"]], f"body.{row['type']}")
            content = merge_content(row["type"], json.loads(row["content"]), changed, f"body.{row['type']}")
            require_uploaded(self._look, [(row["type"], content)])
            columns["content"] = to_json(content)
        row = self._store.blocks.update(row, **columns)
        self._store.pages.touch_page_of(row["parent"], self._store.meta("bot"))
        return self._serializer.block(row)

    def delete(self, call: Call) -> Answer:
        """DELETE /v1/blocks/{id}: moves a block, a child page or a child database to the trash."""
        block_id = as_id(call.id, "path.block_id")
        page = self._store.pages.find(block_id)
        if page is not None:
            if page["in_trash"]:
                raise invalid(TRASHED)
            self._pages.change(page, {"in_trash": True}, self._store.meta("bot"))
            return self._look.block_answer(block_id)
        database = self._store.databases.find(block_id)
        if database is not None:
            self._store.databases.update(database, {"in_trash": 1})
            return self._look.block_answer(block_id)
        row = self._look.block(block_id)
        if row["in_trash"]:
            raise invalid(TRASHED)
        self._store.pages.touch_page_of(row["parent"], self._store.meta("bot"))
        return self._serializer.block(self._store.blocks.update(row, in_trash=1))

    def list_children(self, call: Call) -> Answer:
        """GET /v1/blocks/{id}/children."""
        parent = as_id(call.id, "path.block_id")
        self._look.container(parent)
        size = as_page_size(call.query.get("page_size"), "query.page_size")
        after = -1
        if call.query.get("start_cursor") is not None:
            first = self._store.blocks.find(as_id(call.query["start_cursor"], "query.start_cursor"))
            if first is None or first["parent"] != parent:
                raise invalid(f"The start_cursor provided is invalid: {call.query['start_cursor']}")
            after = first["position"] - 1
        rows = self._store.blocks.children(parent, after, size + 1)
        more = len(rows) > size
        return {
            "object": "list",
            "results": [self._serializer.block(row) for row in rows[:size]],
            "next_cursor": rows[size]["id"] if more else None,
            "has_more": more,
            "type": "block",
            "block": {},
        }

    def append_children(self, call: Call) -> Answer:
        """PATCH /v1/blocks/{id}/children: appends blocks at the end or after a block."""
        parent = as_id(call.id, "path.block_id")
        kind, trashed = self._look.container(parent)
        body = as_object(call.body, "body", ("children", "after", "position"))
        blocks = clean_children(body.get("children", MISSING), "body.children")
        if trashed:
            raise invalid(TRASHED)
        if not may_have_children(kind):
            raise invalid(f"Block of the type {kind} does not support children.")
        require_uploaded(self._look, [(block.type, block.content) for block in blocks])
        ids = self._store.blocks.append(parent, blocks, self._place_for(parent, body))
        self._store.pages.touch_page_of(parent, self._store.meta("bot"))
        return {
            "object": "list",
            "results": [self._serializer.block(self._look.block(block_id)) for block_id in ids],
            "next_cursor": None,
            "has_more": False,
            "type": "block",
            "block": {},
        }

    def _place_for(self, parent: str, body: dict[str, Any]) -> int | None:
        after = body.get("after")
        if body.get("position") is not None:
            position = as_object(body["position"], "body.position", ("type", "after_block"))
            word = as_choice(position.get("type"), "body.position.type", ("start", "end", "after_block"))
            if word == "start":
                return -1
            if word == "end":
                return None
            target = as_object(position.get("after_block", MISSING), "body.position.after_block", ("id",))
            after = target.get("id")
        if after is None:
            return None
        before = self._look.block(as_id(after, "body.after"))
        if before["parent"] != parent:
            raise invalid(f"Block with ID {before['id']} to append after is not a child of {parent}.")
        return before["position"]
