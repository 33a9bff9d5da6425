"""The endpoints for search and users."""

from __future__ import annotations

from csm_core.notion_sandbox.lookup import Answer, Call, Lookup, offset_of
from csm_core.notion_sandbox.rich_text import plain
from csm_core.notion_sandbox.validation import (
    as_choice,
    as_object,
    as_page_size,
    as_text,
)

MOST_FOUND = 1_000


class OtherEndpoints:
    """``/v1/search`` and ``/v1/users``."""

    def __init__(self, look: Lookup) -> None:
        self._look = look
        self._store = look.store
        self._serializer = look.serializer

    def search(self, call: Call) -> Answer:
        """POST /v1/search: searches titles."""
        body = as_object(
            {} if call.body is None else call.body, "body", ("query", "filter", "sort", "start_cursor", "page_size")
        )
        words = as_text(body.get("query", ""), "body.query")
        size = as_page_size(body.get("page_size"), "body.page_size", textual=False)
        kind = None
        if body.get("filter") is not None:
            asked = as_object(body["filter"], "body.filter", ("property", "value"))
            as_choice(asked.get("property"), "body.filter.property", ("object",))
            kind = as_choice(asked.get("value"), "body.filter.value", ("page", "data_source"))
        results: list[Answer] = []
        if kind != "page":
            for database in self._store.databases.all():
                if database["hidden"]:
                    continue
                for source in self._store.sources.of_database(database["id"]):
                    shown = self._serializer.source(source, database)
                    if words.lower() in plain(shown["title"]).lower():
                        results.append(shown)
        if kind != "data_source":
            where = "in_trash = 0 and instr(lower(title), lower(?)) > 0"
            rows = self._store.pages.where(where, (words,), "seq desc", MOST_FOUND)
            results.extend(
                self._serializer.page(row, *self._look.source_of(row)) for row in rows if not self._look.hidden(row)
            )
        start = offset_of(body.get("start_cursor"), len(results))
        more = start + size < len(results)
        return {
            "object": "list",
            "results": results[start : start + size],
            "next_cursor": f"item-{start + size}" if more else None,
            "has_more": more,
            "type": "page_or_data_source",
            "page_or_data_source": {},
        }

    def me(self, _call: Call) -> Answer:
        """GET /v1/users/me."""
        return self._serializer.user()

    def list_users(self, call: Call) -> Answer:
        """GET /v1/users: the people of the workspace and the integration."""
        size = as_page_size(call.query.get("page_size"), "query.page_size")
        users = [self._serializer.person(row["id"]) for row in self._store.people.all()]
        users.append(self._serializer.user())
        start = offset_of(call.query.get("start_cursor"), len(users))
        more = start + size < len(users)
        return {
            "object": "list",
            "results": users[start : start + size],
            "next_cursor": f"item-{start + size}" if more else None,
            "has_more": more,
            "type": "user",
            "user": {},
        }
