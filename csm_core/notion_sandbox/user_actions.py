"""Actions of users in the workspace, for tests: edit properties and blocks, trash pages, revoke access."""

from __future__ import annotations

from typing import Any

from csm_core.notion_sandbox.api import Api
from csm_core.notion_sandbox.blocks import clean_children
from csm_core.notion_sandbox.errors import invalid, not_found
from csm_core.notion_sandbox.lookup import Call
from csm_core.notion_sandbox.validation import as_id

Answer = dict[str, Any]


class UserActions:
    """Changes the workspace as a user, without faults, rate limit and request log."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._store = api.store

    def act(self, values: dict[str, Any]) -> Answer:
        """Run one action from a JSON object with ``action``, ``id`` and the parameters of the action."""
        identifier = str(values.get("id"))
        action = values.get("action")
        if action == "trash":
            return self.trash(identifier)
        if action == "restore":
            return self.restore(identifier)
        if action == "edit":
            return self.edit(identifier, values.get("properties", {}))
        if action == "write":
            return self.write(identifier, str(values.get("text", "")))
        if action == "rewrite":
            return self.rewrite(identifier, str(values.get("text", "")))
        if action == "strike":
            return self.strike(identifier)
        if action == "join":
            return self.join(str(values.get("name", "")), str(values.get("email", "")))
        if action == "add_template":
            return self.add_template(identifier, str(values.get("name", "")), values.get("children", []))
        if action in ("hide", "share"):
            self.hide(identifier, hidden=action == "hide")
            return {"id": identifier, "hidden": action == "hide"}
        raise invalid(
            "action must be one of trash, restore, edit, write, rewrite, strike, join, add_template, hide, share"
        )

    def trash(self, page_id: str) -> Answer:
        """Move a page to the trash."""
        return self._change(page_id, {"in_trash": True})

    def restore(self, page_id: str) -> Answer:
        """Restore a page from the trash."""
        return self._change(page_id, {"in_trash": False})

    def edit(self, page_id: str, properties: dict[str, Any]) -> Answer:
        """Change properties; values have the format of the API."""
        return self._change(page_id, {"properties": properties})

    def write(self, page_id: str, text: str) -> Answer:
        """Add a paragraph at the end of a page."""
        child = {"paragraph": {"rich_text": [{"text": {"content": text}}]}}
        with self._store.transaction():
            answer = self._api.blocks.append_children(Call({"children": [child]}, id=page_id))
            return self._sign(answer["results"][0]["id"], created=True)

    def rewrite(self, block_id: str, text: str) -> Answer:
        """Replace the text of a block."""
        with self._store.transaction():
            kind = self._api.blocks.retrieve(Call(None, id=block_id))["type"]
            self._api.blocks.update(Call({kind: {"rich_text": [{"text": {"content": text}}]}}, id=block_id))
            return self._sign(block_id)

    def strike(self, block_id: str) -> Answer:
        """Delete a block."""
        with self._store.transaction():
            self._api.blocks.delete(Call(None, id=block_id))
            return self._sign(block_id)

    def join(self, name: str, email: str) -> Answer:
        """Add a person to the workspace."""
        with self._store.transaction():
            return {"id": self._store.people.add(name, email)["id"]}

    def add_template(self, data_source_id: str, name: str, children: list[dict[str, Any]]) -> Answer:
        """Add a template to a data source; its blocks have the format of the API."""
        with self._store.transaction():
            source = self._store.sources.find(as_id(data_source_id, "id"))
            if source is None:
                raise not_found("data_source", data_source_id)
            blocks = clean_children(children, "children")
            return {"id": self._store.templates.add(source["id"], name, blocks)["id"]}

    def _sign(self, block_id: str, *, created: bool = False) -> Answer:
        person = self._store.meta("person")
        row = self._store.blocks.find(as_id(block_id, "id"))
        if row is None:
            raise not_found("block", block_id)
        self._store.blocks.update(row, edited_by=person, **({"created_by": person} if created else {}))
        self._store.pages.touch_page_of(row["parent"], person)
        return self._api.blocks.retrieve(Call(None, id=block_id))

    def hide(self, database_id: str, *, hidden: bool = True) -> None:
        """Revoke the integration's access to a database, or share the database again."""
        with self._store.transaction():
            row = self._store.databases.find(as_id(database_id, "id"))
            if row is None:
                raise not_found("database", database_id)
            self._store.databases.update(row, {"hidden": int(hidden)})

    def _change(self, page_id: str, values: dict[str, Any]) -> Answer:
        with self._store.transaction():
            row = self._store.pages.find(as_id(page_id, "id"))
            if row is None:
                raise not_found("page", page_id)
            return self._api.pages.change(row, values, self._store.meta("person"))
