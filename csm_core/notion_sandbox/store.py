"""Where the sandbox keeps its workspace: one SQLite file that outlives a killed process.

Every request is one transaction, committed before its answer is sent. Processes that share a file take turns by
SQLite's own locks.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import uuid
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from csm_core.notion_sandbox.blocks import NewBlock
from csm_core.notion_sandbox.properties import Cell, Schema, Values, cells, title_of
from csm_core.system.file_access import make_folder

SCHEMA_VERSION = "1"
LOCK_PATIENCE_SECONDS = 30.0

_TABLES = """
create table if not exists meta (key text primary key, value text not null);
create table if not exists pages (
    seq integer primary key, id text not null unique, parent_page text, source integer, title text not null,
    properties text not null, icon text, cover text, in_trash integer not null default 0,
    created_at text not null, edited_at text not null, created_by text not null, edited_by text not null
);
create index if not exists pages_by_source on pages (source, in_trash, seq);
create index if not exists pages_by_creation on pages (source, in_trash, created_at, seq);
create table if not exists databases (
    seq integer primary key, id text not null unique, parent_page text not null, title text not null,
    description text not null, is_inline integer not null, icon text, cover text, in_trash integer not null default 0,
    hidden integer not null default 0, created_at text not null, edited_at text not null
);
create table if not exists sources (
    seq integer primary key, id text not null unique, database_id text not null, title text not null,
    properties text not null, icon text, in_trash integer not null default 0,
    created_at text not null, edited_at text not null
);
create table if not exists blocks (
    seq integer primary key, id text not null unique, parent text not null, position integer not null,
    type text not null, content text not null, in_trash integer not null default 0,
    created_at text not null, edited_at text not null, created_by text, edited_by text
);
create index if not exists blocks_by_parent on blocks (parent, in_trash, position);
create table if not exists cells (page_seq integer not null, source integer not null, property_id text not null,
    text text, number real);
create index if not exists cells_by_page on cells (page_seq, property_id);
create index if not exists cells_by_text on cells (source, property_id, text);
"""

Row = sqlite3.Row


def new_id() -> str:
    """An id for a page, a block, a database or a data source."""
    return str(uuid.uuid4())


def to_json(value: Any) -> str:
    """The compact text in which the file keeps values."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Store:
    """The workspace in its file. One connection, used by one thread at a time."""

    def __init__(self, path: Path, clock: Callable[[], datetime] | None = None) -> None:
        self.path = path
        self._clock = clock or (lambda: datetime.now(UTC))
        self._lock = threading.RLock()
        self._constants: dict[str, str] = {}
        self._closed = False
        make_folder(path.parent)
        self._db = sqlite3.connect(
            path, timeout=LOCK_PATIENCE_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        self._db.row_factory = sqlite3.Row
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        with self.transaction():
            for statement in _TABLES.split(";"):
                self._db.execute(statement)
            self._complete("blocks", ("created_by", "edited_by"))
            self._set_default("version", SCHEMA_VERSION)
            self._set_default("root", new_id())
            self._set_default("bot", new_id())
            self._set_default("person", new_id())
            if self.page(self.root_id) is None:
                self._add_page(
                    self.root_id, None, None, "Customer Success", {"title": []}, {"type": "emoji", "emoji": "🏠"}
                )

    def _complete(self, table: str, columns: tuple[str, ...]) -> None:
        """Give a table of an older file the text columns that it lacks."""
        present = {row["name"] for row in self._db.execute(f"pragma table_info({table})")}
        for column in columns:
            if column not in present:
                self._db.execute(f"alter table {table} add column {column} text")

    @property
    def root_id(self) -> str:
        """The page under which everything of the sandbox lives."""
        return self.meta("root")

    def now(self) -> str:
        """The present minute, as the times of pages show it."""
        return self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M")

    def meta(self, key: str) -> str:
        """A constant of this workspace: ``root``, ``bot``, ``person``, ``version``."""
        if key not in self._constants:
            found = self._db.execute("select value from meta where key = ?", (key,)).fetchone()
            self._constants[key] = str(self._must(found)["value"])
        return self._constants[key]

    @contextmanager
    def transaction(self) -> Generator[None]:
        """All or nothing, and nobody else in between; nests."""
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            self._db.execute("begin immediate")
            try:
                yield
            except BaseException:
                self._db.execute("rollback")
                raise
            self._db.execute("commit")

    @contextmanager
    def reading(self) -> Generator[None]:
        """The workspace as it was at one instant; writers of other processes are not kept waiting."""
        with self._lock:
            self._db.execute("begin")
            try:
                yield
            finally:
                self._db.execute("rollback")

    def close(self) -> None:
        """Leave one file behind; a second time does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                # On a full disk the changes stay in the log beside the file, and are read from there.
                with suppress(sqlite3.Error):
                    self._db.execute("pragma wal_checkpoint(truncate)")
            finally:
                self._db.close()

    # Pages

    def page(self, page_id: str) -> Row | None:
        """A page, trashed or not."""
        return self._db.execute("select * from pages where id = ?", (page_id,)).fetchone()

    def add_page(
        self, parent_page: str | None, source: Row | None, schema: Schema, values: Values, icon: Any, cover: Any
    ) -> Row:
        """A new page of a data source, or under another page."""
        page_id = new_id()
        title = title_of(schema, values)
        seq = self._add_page(page_id, parent_page, source["seq"] if source else None, title, values, icon, cover)
        if source:
            self._add_cells(seq, source["seq"], cells(schema, values))
        elif parent_page is not None:
            self._place(parent_page, page_id, "child_page", {"title": title})
        return self._must(self.page(page_id))

    def update_page(self, row: Row, schema: Schema, changed: Values, edited_by: str, **columns: Any) -> Row:
        """Set values and columns of a page; what is not named stays."""
        values = {**json.loads(row["properties"]), **changed}
        fields = {"properties": to_json(values), "edited_at": self.now(), "edited_by": edited_by, **columns}
        if changed:
            fields["title"] = title_of(schema, values)
        self._set("pages", row["seq"], fields)
        if changed and row["source"] is not None:
            marks = ",".join("?" * len(changed))
            self._db.execute(
                f"delete from cells where page_seq = ? and property_id in ({marks})", (row["seq"], *changed)
            )
            self._add_cells(row["seq"], row["source"], cells(schema, changed))
        if row["source"] is None:
            shown = to_json({"title": fields.get("title", row["title"])})
            trashed = fields.get("in_trash", row["in_trash"])
            self._db.execute("update blocks set content = ?, in_trash = ? where id = ?", (shown, trashed, row["id"]))
        return self._must(self.page(row["id"]))

    def pages_where(self, where: str, parameters: Iterable[Any], order: str, limit: int, offset: int = 0) -> list[Row]:
        """Pages of a query."""
        statement = f"select * from pages where {where} order by {order} limit {limit} offset {offset}"
        return self._db.execute(statement, tuple(parameters)).fetchall()

    def count_pages(self, where: str, parameters: Iterable[Any]) -> int:
        """How many pages a query has."""
        return self._db.execute(f"select count(*) from pages where {where}", tuple(parameters)).fetchone()[0]

    # Databases and data sources

    def database(self, database_id: str) -> Row | None:
        """A database."""
        return self._db.execute("select * from databases where id = ?", (database_id,)).fetchone()

    def databases(self) -> list[Row]:
        """Every database that is not in the trash, oldest first."""
        return self._db.execute("select * from databases where in_trash = 0 order by seq").fetchall()

    def source(self, source_id: str) -> Row | None:
        """A data source by its id."""
        return self._db.execute("select * from sources where id = ?", (source_id,)).fetchone()

    def source_by_seq(self, seq: int) -> Row:
        """A data source by its number."""
        return self._must(self._db.execute("select * from sources where seq = ?", (seq,)).fetchone())

    def sources_of(self, database_id: str) -> list[Row]:
        """The data sources of a database, oldest first."""
        return self._db.execute(
            "select * from sources where database_id = ? and in_trash = 0 order by seq", (database_id,)
        ).fetchall()

    def add_database(self, parent_page: str, columns: dict[str, Any], title_text: str) -> Row:
        """A new database under a page."""
        database_id = new_id()
        now = self.now()
        fields = {"id": database_id, "parent_page": parent_page, "created_at": now, "edited_at": now, **columns}
        self._insert("databases", fields)
        self._place(parent_page, database_id, "child_database", {"title": title_text})
        return self._must(self.database(database_id))

    def update_database(self, row: Row, columns: dict[str, Any], title_text: str | None = None) -> Row:
        """Set columns of a database."""
        self._set("databases", row["seq"], {**columns, "edited_at": self.now()})
        if title_text is not None:
            self._db.execute("update blocks set content = ? where id = ?", (to_json({"title": title_text}), row["id"]))
        if "in_trash" in columns:
            self._db.execute("update blocks set in_trash = ? where id = ?", (columns["in_trash"], row["id"]))
        return self._must(self.database(row["id"]))

    def add_source(self, database_id: str, title: list[Any], schema: Schema, icon: Any = None) -> Row:
        """A new data source of a database."""
        source_id = new_id()
        now = self.now()
        fields = {
            "id": source_id,
            "database_id": database_id,
            "title": to_json(title),
            "properties": to_json(schema),
            "icon": _or_none(icon),
            "created_at": now,
            "edited_at": now,
        }
        self._insert("sources", fields)
        return self._must(self.source(source_id))

    def update_source(self, row: Row, columns: dict[str, Any]) -> Row:
        """Set columns of a data source."""
        self._set("sources", row["seq"], {**columns, "edited_at": self.now()})
        return self._must(self.source(row["id"]))

    def forget_values(self, source: Row, property_ids: Iterable[str]) -> None:
        """Drop the values of properties that are gone, or have another type now."""
        for property_id in property_ids:
            self._db.execute("delete from cells where source = ? and property_id = ?", (source["seq"], property_id))
            self._db.execute(
                "update pages set properties = json_remove(properties, ?) where source = ?",
                (f'$."{property_id}"', source["seq"]),
            )

    # Blocks

    def block(self, block_id: str) -> Row | None:
        """A block; pages and databases under a page are blocks of it too."""
        return self._db.execute("select * from blocks where id = ?", (block_id,)).fetchone()

    def children(self, parent: str, after: int = -1, limit: int = -1) -> list[Row]:
        """The blocks under a page or a block, in their order, from behind a position."""
        return self._db.execute(
            "select * from blocks where parent = ? and in_trash = 0 and position > ? order by position limit ?",
            (parent, after, limit),
        ).fetchall()

    def has_children(self, parent: str) -> bool:
        """Whether anything is under this block."""
        found = self._db.execute("select 1 from blocks where parent = ? and in_trash = 0 limit 1", (parent,)).fetchone()
        return found is not None

    def append(self, parent: str, blocks: list[NewBlock], after: int | None = None) -> list[str]:
        """Put blocks at the end of a parent, or behind a position, children with them; the ids of the first level."""
        if after is None:
            start = self._last_position(parent) + 1
        else:
            start = after + 1
            self._db.execute(
                "update blocks set position = position + ? where parent = ? and position > ?",
                (len(blocks), parent, after),
            )
        now = self.now()
        ids = [new_id() for _ in blocks]
        self._db.executemany(
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

    def update_block(self, row: Row, *, edited_by: str | None = None, **columns: Any) -> Row:
        """Set columns of a block; without ``edited_by`` on behalf of the integration."""
        self._set("blocks", row["seq"], {**columns, "edited_at": self.now(), "edited_by": edited_by})
        return self._must(self.block(row["id"]))

    def touch_page_of(self, block_parent: str, edited_by: str) -> None:
        """Mark the page that holds a block as edited."""
        page_id = self.page_of(block_parent)
        if page_id is not None:
            self._db.execute(
                "update pages set edited_at = ?, edited_by = ? where id = ?", (self.now(), edited_by, page_id)
            )

    def page_of(self, parent: str) -> str | None:
        """The page that a block's parent belongs to."""
        while self.page(parent) is None:
            block = self.block(parent)
            if block is None:
                return None
            parent = block["parent"]
        return parent

    # The rest

    def _add_page(
        self,
        page_id: str,
        parent_page: str | None,
        source: int | None,
        title: str,
        values: Values,
        icon: Any = None,
        cover: Any = None,
    ) -> int:
        now = self.now()
        bot = self.meta("bot")
        return self._insert(
            "pages",
            {
                "id": page_id,
                "parent_page": parent_page,
                "source": source,
                "title": title,
                "properties": to_json(values),
                "icon": _or_none(icon),
                "cover": _or_none(cover),
                "created_at": now,
                "edited_at": now,
                "created_by": bot,
                "edited_by": bot,
            },
        )

    def _add_cells(self, page_seq: int, source: int, found: list[Cell]) -> None:
        self._db.executemany(
            "insert into cells (page_seq, source, property_id, text, number) values (?, ?, ?, ?, ?)",
            [(page_seq, source, cell.property_id, cell.text, cell.number) for cell in found],
        )

    def _place(self, parent: str, block_id: str, block_type: str, content: dict[str, Any]) -> None:
        now = self.now()
        fields = {"id": block_id, "parent": parent, "position": self._last_position(parent) + 1, "type": block_type}
        self._insert("blocks", {**fields, "content": to_json(content), "created_at": now, "edited_at": now})

    def _last_position(self, parent: str) -> int:
        found = self._db.execute("select max(position) from blocks where parent = ?", (parent,)).fetchone()[0]
        return -1 if found is None else found

    def _insert(self, table: str, fields: dict[str, Any]) -> int:
        marks = ", ".join("?" * len(fields))
        cursor = self._db.execute(f"insert into {table} ({', '.join(fields)}) values ({marks})", tuple(fields.values()))
        return int(cursor.lastrowid or 0)

    def _set(self, table: str, seq: int, fields: dict[str, Any]) -> None:
        settings = ", ".join(f"{name} = ?" for name in fields)
        self._db.execute(f"update {table} set {settings} where seq = ?", (*fields.values(), seq))

    def _set_default(self, key: str, value: str) -> None:
        self._db.execute("insert or ignore into meta (key, value) values (?, ?)", (key, value))

    @staticmethod
    def _must(row: Row | None) -> Row:
        if row is None:
            raise LookupError("a row of the sandbox vanished inside its own transaction")
        return row


def _or_none(value: Any) -> str | None:
    return None if value is None else to_json(value)
