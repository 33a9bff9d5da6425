"""The workspace as a person sees it: databases as tables, pages with their properties and blocks."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from csm_core.notion.sandbox.store import Store


class Pages:
    """The browser view of one store."""

    def __init__(self, store: Store, path: Path) -> None:
        self._store = store
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await PlainTextResponse(f"{len(self._store.databases())} databases in {self._path.name}")(scope, receive, send)
