"""The templates of data sources, and the pages to which a template is not applied yet."""

from __future__ import annotations

import json

from csm_core.notion_sandbox.blocks import NewBlock
from csm_core.notion_sandbox.store_file import Row, StoreFile, must, new_id
from csm_core.notion_sandbox.stored_blocks import StoredBlocks

# Notion answers the creation of a page before it applies the template. Here, it is applied by this later request.
APPLIED_AFTER_REQUESTS = 3


class StoredTemplates:
    """The table of templates. The blocks of a template have its id as their parent."""

    def __init__(self, file: StoreFile, blocks: StoredBlocks) -> None:
        self._file = file
        self._blocks = blocks

    def find(self, template_id: str) -> Row | None:
        """A template."""
        return self._file.execute("select * from templates where id = ?", (template_id,)).fetchone()

    def of_source(self, source_id: str) -> list[Row]:
        """The templates of a data source, oldest first."""
        return self._file.execute("select * from templates where source_id = ? order by seq", (source_id,)).fetchall()

    def add(self, source_id: str, name: str, blocks: list[NewBlock]) -> Row:
        """A new template; the first of a data source is its default."""
        template_id = new_id()
        is_default = int(not self.of_source(source_id))
        fields = {"id": template_id, "source_id": source_id, "name": name, "is_default": is_default}
        self._file.insert("templates", fields)
        self._blocks.append(template_id, blocks)
        return must(self.find(template_id))

    def apply_later(self, page_id: str, template_id: str) -> None:
        """Apply a template to a page after some requests."""
        fields = {"page_id": page_id, "template_id": template_id, "remaining": APPLIED_AFTER_REQUESTS}
        self._file.insert("pending_templates", fields)

    def has_pending(self) -> bool:
        """Whether a template is not applied yet."""
        return self._file.execute("select 1 from pending_templates limit 1").fetchone() is not None

    def progress(self) -> None:
        """Count a request, and apply the templates that are due."""
        self._file.execute("update pending_templates set remaining = remaining - 1")
        for row in self._file.execute("select * from pending_templates where remaining <= 0").fetchall():
            self._blocks.append(row["page_id"], self._copied(row["template_id"]))
        self._file.execute("delete from pending_templates where remaining <= 0")

    def _copied(self, parent: str) -> list[NewBlock]:
        return [
            NewBlock(row["type"], json.loads(row["content"]), self._copied(row["id"]))
            for row in self._blocks.children(parent)
        ]
