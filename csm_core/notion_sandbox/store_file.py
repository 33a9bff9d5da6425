"""The SQLite file of the sandbox's workspace: its tables, transactions and constants."""

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
create table if not exists views (
    seq integer primary key, id text not null unique, database_id text not null, source_id text not null,
    name text not null, type text not null, filter text, sorts text, quick_filters text, configuration text,
    created_at text not null, edited_at text not null, created_by text not null, edited_by text not null
);
create table if not exists templates (
    seq integer primary key, id text not null unique, source_id text not null, name text not null,
    is_default integer not null
);
create table if not exists pending_templates (
    seq integer primary key, page_id text not null, template_id text not null, remaining integer not null
);
create table if not exists files (
    seq integer primary key, id text not null unique, name text not null, content_type text not null, content blob,
    created_at text not null
);
create table if not exists people (seq integer primary key, id text not null unique, name text not null,
    email text not null);
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
    """The compact JSON text of a value in the file."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def json_or_none(value: Any) -> str | None:
    """The JSON text of a value; None for None."""
    return None if value is None else to_json(value)


def must(row: Row | None) -> Row:
    """A row that must exist, because the same transaction wrote or read it."""
    if row is None:
        raise LookupError("a row of the sandbox is missing within its own transaction")
    return row


class StoreFile:
    """One connection to the file; a lock allows one thread at a time."""

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

    def create_tables(self) -> None:
        """Create missing tables and columns of a new or older file; runs inside a transaction."""
        for statement in _TABLES.split(";"):
            self._db.execute(statement)
        self._complete("blocks", ("created_by", "edited_by"))
        self._set_default("version", SCHEMA_VERSION)
        self._set_default("root", new_id())
        self._set_default("bot", new_id())
        self._set_default("person", new_id())

    def now(self) -> str:
        """The current minute, in the format of the times of pages."""
        return self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M")

    def meta(self, key: str) -> str:
        """A constant of this workspace: ``root``, ``bot``, ``person``, ``version``."""
        if key not in self._constants:
            row = self._db.execute("select value from meta where key = ?", (key,)).fetchone()
            self._constants[key] = str(must(row)["value"])
        return self._constants[key]

    @contextmanager
    def transaction(self) -> Generator[None]:
        """An exclusive write transaction; an inner one joins the outer one."""
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
        """A read transaction on one snapshot; it does not block writers of other processes."""
        with self._lock:
            self._db.execute("begin")
            try:
                yield
            finally:
                self._db.execute("rollback")

    def close(self) -> None:
        """Merge the write-ahead log into the file and close it; a second call has no effect."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                # On a full disk the changes stay in the write-ahead log next to the file.
                with suppress(sqlite3.Error):
                    self._db.execute("pragma wal_checkpoint(truncate)")
            finally:
                self._db.close()

    def execute(self, statement: str, parameters: Iterable[Any] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        return self._db.execute(statement, tuple(parameters))

    def executemany(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Run one statement for each row of parameters."""
        self._db.executemany(statement, rows)

    def insert(self, table: str, fields: dict[str, Any]) -> int:
        """Add a row; return its number."""
        marks = ", ".join("?" * len(fields))
        cursor = self._db.execute(f"insert into {table} ({', '.join(fields)}) values ({marks})", tuple(fields.values()))
        return int(cursor.lastrowid or 0)

    def update(self, table: str, seq: int, fields: dict[str, Any]) -> None:
        """Set columns of a row."""
        settings = ", ".join(f"{name} = ?" for name in fields)
        self._db.execute(f"update {table} set {settings} where seq = ?", (*fields.values(), seq))

    def _complete(self, table: str, columns: tuple[str, ...]) -> None:
        """Add missing text columns to a table of an older file."""
        present = {row["name"] for row in self._db.execute(f"pragma table_info({table})")}
        for column in columns:
            if column not in present:
                self._db.execute(f"alter table {table} add column {column} text")

    def _set_default(self, key: str, value: str) -> None:
        self._db.execute("insert or ignore into meta (key, value) values (?, ?)", (key, value))
