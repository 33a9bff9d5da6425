"""The workspace of the sandbox in one SQLite file, which survives a killed process.

Every request is one transaction, which is committed before the response is sent. SQLite's locks coordinate processes
that share a file.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

from csm_core.notion_sandbox.store_file import StoreFile
from csm_core.notion_sandbox.stored_blocks import StoredBlocks
from csm_core.notion_sandbox.stored_databases import StoredDatabases, StoredSources
from csm_core.notion_sandbox.stored_files import StoredFiles
from csm_core.notion_sandbox.stored_pages import StoredPages
from csm_core.notion_sandbox.stored_people import StoredPeople
from csm_core.notion_sandbox.stored_templates import StoredTemplates
from csm_core.notion_sandbox.stored_views import StoredViews


class Store:
    """The workspace in its file: pages, databases, data sources, views, templates, blocks,
    files and people."""

    def __init__(self, path: Path, clock: Callable[[], datetime] | None = None) -> None:
        self.path = path
        self._file = StoreFile(path, clock)
        self.blocks = StoredBlocks(self._file)
        self.pages = StoredPages(self._file, self.blocks)
        self.databases = StoredDatabases(self._file, self.blocks)
        self.sources = StoredSources(self._file)
        self.people = StoredPeople(self._file)
        self.views = StoredViews(self._file)
        self.files = StoredFiles(self._file)
        self.templates = StoredTemplates(self._file, self.blocks)
        with self.transaction():
            self._file.create_tables()
            if self.people.find(self.meta("person")) is None:
                self.people.add("Sandbox user", "user@sandbox.example", self.meta("person"))
            if self.pages.find(self.root_id) is None:
                self.pages.add_with_id(
                    self.root_id, None, None, "Customer Success", {"title": []}, {"type": "emoji", "emoji": "🏠"}
                )

    @property
    def root_id(self) -> str:
        """The root page of the workspace."""
        return self.meta("root")

    def meta(self, key: str) -> str:
        """A constant of this workspace: ``root``, ``bot``, ``person``, ``version``."""
        return self._file.meta(key)

    def transaction(self) -> AbstractContextManager[None]:
        """An exclusive write transaction; an inner one joins the outer one."""
        return self._file.transaction()

    def reading(self) -> AbstractContextManager[None]:
        """A read transaction on one snapshot; it does not block writers of other processes."""
        return self._file.reading()

    def close(self) -> None:
        """Merge the write-ahead log into the file and close it; a second call has no effect."""
        self._file.close()
