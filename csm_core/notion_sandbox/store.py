"""Where the sandbox keeps its workspace: one SQLite file that outlives a killed process.

Every request is one transaction, committed before its answer is sent. Processes that share a file take turns by
SQLite's own locks.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

from csm_core.notion_sandbox.store_file import StoreFile
from csm_core.notion_sandbox.stored_blocks import StoredBlocks
from csm_core.notion_sandbox.stored_databases import StoredDatabases, StoredSources
from csm_core.notion_sandbox.stored_pages import StoredPages


class Store:
    """The workspace in its file: pages, databases, their data sources, and blocks."""

    def __init__(self, path: Path, clock: Callable[[], datetime] | None = None) -> None:
        self.path = path
        self._file = StoreFile(path, clock)
        self.blocks = StoredBlocks(self._file)
        self.pages = StoredPages(self._file, self.blocks)
        self.databases = StoredDatabases(self._file, self.blocks)
        self.sources = StoredSources(self._file)
        with self.transaction():
            self._file.create_tables()
            if self.pages.find(self.root_id) is None:
                self.pages.add_with_id(
                    self.root_id, None, None, "Customer Success", {"title": []}, {"type": "emoji", "emoji": "🏠"}
                )

    @property
    def root_id(self) -> str:
        """The page under which everything of the sandbox lives."""
        return self.meta("root")

    def meta(self, key: str) -> str:
        """A constant of this workspace: ``root``, ``bot``, ``person``, ``version``."""
        return self._file.meta(key)

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing, and no other thread or process in between; nests."""
        return self._file.transaction()

    def reading(self) -> AbstractContextManager[None]:
        """The workspace as it was at one instant; writers of other processes do not wait for it."""
        return self._file.reading()

    def close(self) -> None:
        """Leave one file behind; a second time does nothing."""
        self._file.close()
