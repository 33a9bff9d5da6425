"""The views of the databases."""

from __future__ import annotations

from typing import Any

from csm_core.notion_sandbox.store_file import Row, StoreFile, must, new_id


class StoredViews:
    """The table of views. A deleted view is removed."""

    def __init__(self, file: StoreFile) -> None:
        self._file = file

    def find(self, view_id: str) -> Row | None:
        """A view."""
        return self._file.execute("select * from views where id = ?", (view_id,)).fetchone()

    def where(self, column: str, identifier: str) -> list[Row]:
        """The views of a database (``database_id``) or a data source (``source_id``), oldest first."""
        return self._file.execute(f"select * from views where {column} = ? order by seq", (identifier,)).fetchall()

    def add(self, database_id: str, source_id: str, author: str, columns: dict[str, Any]) -> Row:
        """A new view of a data source, in the tabs of a database."""
        now = self._file.now()
        view_id = new_id()
        fields = {
            "id": view_id,
            "database_id": database_id,
            "source_id": source_id,
            "created_at": now,
            "edited_at": now,
            "created_by": author,
            "edited_by": author,
            **columns,
        }
        self._file.insert("views", fields)
        return must(self.find(view_id))

    def update(self, row: Row, author: str, columns: dict[str, Any]) -> Row:
        """Set columns of a view."""
        self._file.update("views", row["seq"], {**columns, "edited_at": self._file.now(), "edited_by": author})
        return must(self.find(row["id"]))

    def delete(self, row: Row) -> None:
        """Remove a view."""
        self._file.execute("delete from views where seq = ?", (row["seq"],))
