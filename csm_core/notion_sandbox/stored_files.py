"""The uploaded files of the workspace."""

from __future__ import annotations

from csm_core.notion_sandbox.store_file import Row, StoreFile, must, new_id


class StoredFiles:
    """The table of file uploads; ``content`` is null until the file is sent."""

    def __init__(self, file: StoreFile) -> None:
        self._file = file

    def find(self, upload_id: str) -> Row | None:
        """A file upload."""
        return self._file.execute("select * from files where id = ?", (upload_id,)).fetchone()

    def add(self, name: str, content_type: str) -> Row:
        """A new upload without content."""
        fields = {"id": new_id(), "name": name, "content_type": content_type, "created_at": self._file.now()}
        self._file.insert("files", fields)
        return must(self.find(fields["id"]))

    def send(self, row: Row, content: bytes) -> Row:
        """Set the content of an upload."""
        self._file.update("files", row["seq"], {"content": content})
        return must(self.find(row["id"]))
