"""The databases of the workspace and their data sources."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from csm_core.notion_sandbox.properties import Schema
from csm_core.notion_sandbox.store_file import Row, StoreFile, json_or_none, must, new_id, to_json
from csm_core.notion_sandbox.stored_blocks import StoredBlocks


class StoredDatabases:
    """The table of databases."""

    def __init__(self, file: StoreFile, blocks: StoredBlocks) -> None:
        self._file = file
        self._blocks = blocks

    def find(self, database_id: str) -> Row | None:
        """A database."""
        return self._file.execute("select * from databases where id = ?", (database_id,)).fetchone()

    def all(self) -> list[Row]:
        """All databases that are not in the trash, oldest first."""
        return self._file.execute("select * from databases where in_trash = 0 order by seq").fetchall()

    def add(self, parent_page: str, columns: dict[str, Any], title_text: str) -> Row:
        """A new database under a page."""
        database_id = new_id()
        now = self._file.now()
        fields = {"id": database_id, "parent_page": parent_page, "created_at": now, "edited_at": now, **columns}
        self._file.insert("databases", fields)
        self._blocks.place(parent_page, database_id, "child_database", {"title": title_text})
        return must(self.find(database_id))

    def update(self, row: Row, columns: dict[str, Any], title_text: str | None = None) -> Row:
        """Set columns of a database."""
        self._file.update("databases", row["seq"], {**columns, "edited_at": self._file.now()})
        if title_text is not None:
            self._blocks.set_content(row["id"], {"title": title_text})
        if "in_trash" in columns:
            self._blocks.set_trashed(row["id"], columns["in_trash"])
        return must(self.find(row["id"]))


class StoredSources:
    """The table of data sources."""

    def __init__(self, file: StoreFile) -> None:
        self._file = file

    def find(self, source_id: str) -> Row | None:
        """A data source by its id."""
        return self._file.execute("select * from sources where id = ?", (source_id,)).fetchone()

    def by_seq(self, seq: int) -> Row:
        """A data source by its number."""
        return must(self._file.execute("select * from sources where seq = ?", (seq,)).fetchone())

    def of_database(self, database_id: str) -> list[Row]:
        """The data sources of a database, oldest first."""
        return self._file.execute(
            "select * from sources where database_id = ? and in_trash = 0 order by seq", (database_id,)
        ).fetchall()

    def add(self, database_id: str, title: list[Any], schema: Schema, icon: Any = None) -> Row:
        """A new data source of a database."""
        source_id = new_id()
        now = self._file.now()
        fields = {
            "id": source_id,
            "database_id": database_id,
            "title": to_json(title),
            "properties": to_json(schema),
            "icon": json_or_none(icon),
            "created_at": now,
            "edited_at": now,
        }
        self._file.insert("sources", fields)
        return must(self.find(source_id))

    def update(self, row: Row, columns: dict[str, Any]) -> Row:
        """Set columns of a data source."""
        self._file.update("sources", row["seq"], {**columns, "edited_at": self._file.now()})
        return must(self.find(row["id"]))

    def forget_values(self, source: Row, property_ids: Iterable[str]) -> None:
        """Delete the values of properties that were removed or have another type."""
        for property_id in property_ids:
            self._file.execute("delete from cells where source = ? and property_id = ?", (source["seq"], property_id))
            self._file.execute(
                "update pages set properties = json_remove(properties, ?) where source = ?",
                (f'$."{property_id}"', source["seq"]),
            )
