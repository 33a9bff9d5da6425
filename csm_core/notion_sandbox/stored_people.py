"""The people of the workspace: those that were added, and one that performs the actions of users."""

from __future__ import annotations

from typing import Any

from csm_core.notion_sandbox.store_file import Row, StoreFile, must, new_id


class StoredPeople:
    """The table of people."""

    def __init__(self, file: StoreFile) -> None:
        self._file = file

    def find(self, user_id: str) -> Row | None:
        """A person by id."""
        return self._file.execute("select * from people where id = ?", (user_id,)).fetchone()

    def all(self) -> list[Row]:
        """All people, oldest first."""
        return self._file.execute("select * from people order by seq").fetchall()

    def add(self, name: str, email: str, user_id: str | None = None) -> Row:
        """A new person."""
        fields: dict[str, Any] = {"id": user_id or new_id(), "name": name, "email": email}
        self._file.insert("people", fields)
        return must(self.find(fields["id"]))
