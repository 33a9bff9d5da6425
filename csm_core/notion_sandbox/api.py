"""The endpoints: map a method, a path and a body to a response object or an :class:`ApiError`, independent of HTTP.

These are the endpoints of https://developers.notion.com/reference/intro that csm-health uses. ``versions`` has the
differences between the versions of the API.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from csm_core.notion_sandbox.block_endpoints import BlockEndpoints
from csm_core.notion_sandbox.database_endpoints import DatabaseEndpoints
from csm_core.notion_sandbox.errors import ApiError
from csm_core.notion_sandbox.file_endpoints import FileEndpoints
from csm_core.notion_sandbox.lookup import Answer, Call, Lookup
from csm_core.notion_sandbox.other_endpoints import OtherEndpoints
from csm_core.notion_sandbox.page_endpoints import PageEndpoints
from csm_core.notion_sandbox.source_endpoints import SourceEndpoints
from csm_core.notion_sandbox.store import Store
from csm_core.notion_sandbox.view_endpoints import ViewEndpoints

QUERY_RESULT_LIMIT = 10_000


class Api:
    """The endpoints of one workspace. ``address`` is the base URL of the browser view."""

    def __init__(self, store: Store, address: str, query_result_limit: int = QUERY_RESULT_LIMIT) -> None:
        self.store = store
        look = Lookup(store, address)
        self.pages = PageEndpoints(look)
        self.blocks = BlockEndpoints(look, self.pages)
        databases, sources, views, files, others = (
            DatabaseEndpoints(look),
            SourceEndpoints(look, query_result_limit),
            ViewEndpoints(look),
            FileEndpoints(look),
            OtherEndpoints(look),
        )
        routes: tuple[tuple[str, str, Callable[[Call], Answer]], ...] = (
            ("POST", "pages", self.pages.create),
            ("GET", "pages/{id}", self.pages.retrieve),
            ("PATCH", "pages/{id}", self.pages.update),
            ("GET", "pages/{id}/properties/{property_id}", self.pages.retrieve_property),
            ("POST", "databases", databases.create),
            ("GET", "databases/{id}", databases.retrieve),
            ("PATCH", "databases/{id}", databases.update),
            ("POST", "data_sources", sources.create),
            ("GET", "data_sources/{id}", sources.retrieve),
            ("PATCH", "data_sources/{id}", sources.update),
            ("POST", "data_sources/{id}/query", sources.query),
            ("GET", "data_sources/{id}/templates", sources.list_templates),
            ("POST", "views", views.create),
            ("GET", "views", views.list_all),
            ("GET", "views/{id}", views.retrieve),
            ("PATCH", "views/{id}", views.update),
            ("DELETE", "views/{id}", views.delete),
            ("POST", "file_uploads", files.create),
            ("POST", "file_uploads/{id}/send", files.send),
            ("GET", "file_uploads/{id}", files.retrieve),
            ("GET", "blocks/{id}", self.blocks.retrieve),
            ("PATCH", "blocks/{id}", self.blocks.update),
            ("DELETE", "blocks/{id}", self.blocks.delete),
            ("GET", "blocks/{id}/children", self.blocks.list_children),
            ("PATCH", "blocks/{id}/children", self.blocks.append_children),
            ("POST", "search", others.search),
            ("GET", "users/me", others.me),
            ("GET", "users", others.list_users),
        )
        self._routes = [(method, _pattern(path), endpoint) for method, path, endpoint in routes]

    def handle(self, method: str, path: str, query: dict[str, Any], body: Any) -> Answer:
        """The response to one request; its changes are committed before this returns.

        ``path`` is without the leading ``/v1/``; ``query`` has the last value of each name, and ``filter_properties``
        as a list. Raises :class:`ApiError`; the workspace is then unchanged.
        """
        for allowed, pattern, endpoint in self._routes:
            match = pattern.match(path) if allowed == method else None
            if match is None:
                continue
            self._apply_templates()
            reads = method == "GET" or path.endswith(("/query", "search"))
            with self.store.reading() if reads else self.store.transaction():
                return endpoint(Call(body, query, **match.groupdict()))
        raise ApiError(400, "invalid_request_url", "Invalid request URL.")

    def _apply_templates(self) -> None:
        with self.store.reading():
            pending = self.store.templates.has_pending()
        if pending:
            with self.store.transaction():
                self.store.templates.progress()


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path) + r"\Z")
