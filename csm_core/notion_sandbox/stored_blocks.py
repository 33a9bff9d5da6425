"""The blocks of the workspace: the content of pages, including child pages and child databases."""

from __future__ import annotations

from typing import Any

from csm_core.notion_sandbox.blocks import NewBlock
from csm_core.notion_sandbox.store_file import Row, StoreFile, must, new_id, to_json


class StoredBlocks:
    """The table of blocks."""

    def __init__(self, file: StoreFile) -> None:
        self._file = file

    def find(self, block_id: str) -> Row | None:
        """A block; child pages and child databases of a page are also blocks."""
        return self._file.execute("select * from blocks where id = ?", (block_id,)).fetchone()

    def children(self, parent: str, after: int = -1, limit: int = -1) -> list[Row]:
        """The children of a page or a block, in order, after a position."""
        return self._file.execute(
            "select * from blocks where parent = ? and in_trash = 0 and position > ? order by position limit ?",
            (parent, after, limit),
        ).fetchall()

    def has_children(self, parent: str) -> bool:
        """Whether this block has children."""
        child = self._file.execute(
            "select 1 from blocks where parent = ? and in_trash = 0 limit 1", (parent,)
        ).fetchone()
        return child is not None

    def append(self, parent: str, blocks: list[NewBlock], after: int | None = None) -> list[str]:
        """Add blocks with children at the end of a parent or after a position; return the ids of the first level."""
        if after is None:
            start = self._last_position(parent) + 1
        else:
            start = after + 1
            self._file.execute(
                "update blocks set position = position + ? where parent = ? and position > ?",
                (len(blocks), parent, after),
            )
        now = self._file.now()
        ids = [new_id() for _ in blocks]
        self._file.executemany(
            "insert into blocks (id, parent, position, type, content, created_at, edited_at) "
            "values (?, ?, ?, ?, ?, ?, ?)",
            [
                (block_id, parent, start + offset, block.type, to_json(block.content), now, now)
                for offset, (block_id, block) in enumerate(zip(ids, blocks, strict=True))
            ],
        )
        for block_id, block in zip(ids, blocks, strict=True):
            if block.children:
                self.append(block_id, block.children)
        return ids

    def update(self, row: Row, *, edited_by: str | None = None, **columns: Any) -> Row:
        """Set columns of a block; without ``edited_by`` the editor is the integration."""
        self._file.update("blocks", row["seq"], {**columns, "edited_at": self._file.now(), "edited_by": edited_by})
        return must(self.find(row["id"]))

    def place(self, parent: str, block_id: str, block_type: str, content: dict[str, Any]) -> None:
        """Add the block of a page or a database at the end of a parent."""
        now = self._file.now()
        fields = {"id": block_id, "parent": parent, "position": self._last_position(parent) + 1, "type": block_type}
        self._file.insert("blocks", {**fields, "content": to_json(content), "created_at": now, "edited_at": now})

    def set_content(self, block_id: str, content: dict[str, Any]) -> None:
        """Set the content of the block of a page or a database, such as its title."""
        self._file.execute("update blocks set content = ? where id = ?", (to_json(content), block_id))

    def set_trashed(self, block_id: str, trashed: int) -> None:
        """Move the block of a page or a database to the trash, or restore it."""
        self._file.execute("update blocks set in_trash = ? where id = ?", (trashed, block_id))

    def _last_position(self, parent: str) -> int:
        last = self._file.execute("select max(position) from blocks where parent = ?", (parent,)).fetchone()[0]
        return -1 if last is None else last
