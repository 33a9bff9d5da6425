"""The pages of the workspace: their values, and the cells that queries use."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from csm_core.notion_sandbox.properties import Cell, Schema, Values, cells, title_of
from csm_core.notion_sandbox.store_file import Row, StoreFile, json_or_none, must, new_id, to_json
from csm_core.notion_sandbox.stored_blocks import StoredBlocks


class StoredPages:
    """The tables of pages and of their cells."""

    def __init__(self, file: StoreFile, blocks: StoredBlocks) -> None:
        self._file = file
        self._blocks = blocks

    def find(self, page_id: str) -> Row | None:
        """A page, also if it is in the trash."""
        return self._file.execute("select * from pages where id = ?", (page_id,)).fetchone()

    def add(
        self, parent_page: str | None, source: Row | None, schema: Schema, values: Values, icon: Any, cover: Any
    ) -> Row:
        """Add a page to a data source or under another page."""
        page_id = new_id()
        title = title_of(schema, values)
        seq = self.add_with_id(page_id, parent_page, source["seq"] if source else None, title, values, icon, cover)
        if source:
            self._add_cells(seq, source["seq"], cells(schema, values))
        elif parent_page is not None:
            self._blocks.place(parent_page, page_id, "child_page", {"title": title})
        return must(self.find(page_id))

    def add_with_id(
        self,
        page_id: str,
        parent_page: str | None,
        source: int | None,
        title: str,
        values: Values,
        icon: Any = None,
        cover: Any = None,
    ) -> int:
        """Add a page with this id; return its number."""
        now = self._file.now()
        bot = self._file.meta("bot")
        return self._file.insert(
            "pages",
            {
                "id": page_id,
                "parent_page": parent_page,
                "source": source,
                "title": title,
                "properties": to_json(values),
                "icon": json_or_none(icon),
                "cover": json_or_none(cover),
                "created_at": now,
                "edited_at": now,
                "created_by": bot,
                "edited_by": bot,
            },
        )

    def update(self, row: Row, schema: Schema, changed: Values, edited_by: str, **columns: Any) -> Row:
        """Set values and columns of a page; others keep their values."""
        values = {**json.loads(row["properties"]), **changed}
        fields = {"properties": to_json(values), "edited_at": self._file.now(), "edited_by": edited_by, **columns}
        if changed:
            fields["title"] = title_of(schema, values)
        self._file.update("pages", row["seq"], fields)
        if changed and row["source"] is not None:
            marks = ",".join("?" * len(changed))
            self._file.execute(
                f"delete from cells where page_seq = ? and property_id in ({marks})", (row["seq"], *changed)
            )
            self._add_cells(row["seq"], row["source"], cells(schema, changed))
        if row["source"] is None:
            self._blocks.set_content(row["id"], {"title": fields.get("title", row["title"])})
            self._blocks.set_trashed(row["id"], fields.get("in_trash", row["in_trash"]))
        return must(self.find(row["id"]))

    def set_value(self, row: Row, schema: Schema, property_id: str, value: Any) -> None:
        """Set one value of a page in a data source without marking the page as edited."""
        values = {**json.loads(row["properties"]), property_id: value}
        self._file.update("pages", row["seq"], {"properties": to_json(values)})
        self._file.execute("delete from cells where page_seq = ? and property_id = ?", (row["seq"], property_id))
        self._add_cells(row["seq"], row["source"], cells(schema, {property_id: value}))

    def where(self, where: str, parameters: Iterable[Any], order: str, limit: int, offset: int = 0) -> list[Row]:
        """Pages of a query."""
        statement = f"select * from pages where {where} order by {order} limit {limit} offset {offset}"
        return self._file.execute(statement, tuple(parameters)).fetchall()

    def count(self, where: str, parameters: Iterable[Any]) -> int:
        """The number of pages of a query."""
        return self._file.execute(f"select count(*) from pages where {where}", tuple(parameters)).fetchone()[0]

    def touch_page_of(self, block_parent: str, edited_by: str) -> None:
        """Mark the page of a block as edited."""
        page_id = self.page_of(block_parent)
        if page_id is not None:
            self._file.execute(
                "update pages set edited_at = ?, edited_by = ? where id = ?", (self._file.now(), edited_by, page_id)
            )

    def page_of(self, parent: str) -> str | None:
        """The page of a block's parent."""
        while self.find(parent) is None:
            block = self._blocks.find(parent)
            if block is None:
                return None
            parent = block["parent"]
        return parent

    def _add_cells(self, page_seq: int, source: int, cells: list[Cell]) -> None:
        self._file.executemany(
            "insert into cells (page_seq, source, property_id, text, number) values (?, ?, ?, ?, ?)",
            [(page_seq, source, cell.property_id, cell.text, cell.number) for cell in cells],
        )
