"""What was published, in the warehouse: pages with their content hashes, the write-ahead journal, runs and changes.

Analysts may ask these tables; nothing in them is secret.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import duckdb

from csm_core.notion.databases import DatabaseSpec
from csm_core.notion_adapter import Source
from csm_core.warehouse import transaction

WRITTEN, PARTIAL, TRASHED = "written", "partial", "trashed"
COUNTS = ("created", "updated", "skipped", "orphans", "trashed", "failed", "requests")


@dataclass(frozen=True)
class Page:
    """A page that we know: its natural key, what it was meant to say (as a hash), and the marks of our blocks."""

    kind: str
    key: str
    page_id: str
    content_hash: str
    state: str = WRITTEN
    marks: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    url: str = ""


@dataclass(frozen=True)
class Change:
    """One thing that a run did, or failed to do."""

    kind: str
    key: str
    action: str
    page_id: str | None
    error: str | None


class Ledger:
    """The ``sync`` schema of a warehouse, for one set of databases."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        connection.execute(_TABLES)

    def source(self, spec: DatabaseSpec, database_id: str) -> Source | None:
        """The data source that an earlier run resolved for this database."""
        row = self._connection.execute(
            "select data_source_id, title, only_source from sync.notion_sources where setting = ? and database_id = ?",
            [spec.setting, database_id],
        ).fetchone()
        return Source(database_id, row[0], row[1], row[2]) if row else None

    def remember_source(self, spec: DatabaseSpec, source: Source) -> None:
        """Keep a resolved data source; another database under the same setting starts a ledger of its own."""
        with transaction(self._connection):
            known = self._connection.execute(
                "select database_id from sync.notion_sources where setting = ?", [spec.setting]
            ).fetchone()
            if known and known[0] != source.database_id:
                self._connection.execute("delete from sync.notion_pages where setting = ?", [spec.setting])
            self._connection.execute("delete from sync.notion_sources where setting = ?", [spec.setting])
            self._connection.execute(
                "insert into sync.notion_sources values (?, ?, ?, ?, ?, null)",
                [spec.setting, source.database_id, source.data_source_id, source.title, source.only_source],
            )

    def read_until(self, spec: DatabaseSpec) -> datetime | None:
        """Up to when the database was read completely; None if never."""
        row = self._connection.execute(
            "select read_until from sync.notion_sources where setting = ?", [spec.setting]
        ).fetchone()
        return row[0] if row else None

    def mark_read(self, specs: Iterable[DatabaseSpec], until: datetime) -> None:
        """Note that what these databases held up to then is in the ledger."""
        for spec in specs:
            self._connection.execute(
                "update sync.notion_sources set read_until = ? where setting = ?", [_plain(until), spec.setting]
            )

    def pages(self, kind: str) -> dict[str, Page]:
        """Every known page of a kind, by natural key."""
        rows = self._connection.execute(
            "select key, page_id, content_hash, state, marks, facts, url from sync.notion_pages where kind = ?", [kind]
        ).fetchall()
        return {
            key: Page(kind, key, page_id, content_hash, state, tuple(json.loads(marks)), json.loads(facts), url or "")
            for key, page_id, content_hash, state, marks, facts, url in rows
        }

    def store(self, spec: DatabaseSpec, pages: Sequence[Page]) -> None:
        """Put pages into the ledger, replacing what was there under their keys, and close their journal entries."""
        if not pages:
            return
        now = _plain(datetime.now(UTC))
        with transaction(self._connection):
            self._connection.executemany(
                "delete from sync.notion_pages where kind = ? and key = ?", [[page.kind, page.key] for page in pages]
            )
            self._connection.executemany(
                "insert into sync.notion_pages values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        *(spec.setting, page.kind, page.key, page.page_id, page.content_hash, page.state),
                        *(json.dumps(page.marks), json.dumps(page.facts, sort_keys=True), page.url, now),
                    )
                    for page in pages
                ],
            )
            self._connection.executemany(
                "update sync.notion_journal set page_id = ?, done_at = ? "
                "where kind = ? and key = ? and done_at is null",
                [[page.page_id, now, page.kind, page.key] for page in pages],
            )

    def intend(self, run_id: str, intents: Sequence[tuple[str, str, str]]) -> None:
        """Write down (kind, key, action) before any of it is sent."""
        if not intents:
            return
        now = _plain(datetime.now(UTC))
        with transaction(self._connection):
            self._connection.executemany(
                "insert into sync.notion_journal values (?, ?, ?, ?, ?, null, null)",
                [[run_id, kind, key, action, now] for kind, key, action in intents],
            )

    def unresolved(self, kind: str) -> set[str]:
        """Keys whose intent was written down and whose outcome was not: a run was cut short there."""
        rows = self._connection.execute(
            "select distinct key from sync.notion_journal where kind = ? and done_at is null", [kind]
        ).fetchall()
        return {key for (key,) in rows}

    def resolve(self, kind: str, keys: Iterable[str]) -> None:
        """Close journal entries that have been looked after."""
        closed = [[_plain(datetime.now(UTC)), kind, key] for key in keys]
        if closed:
            with transaction(self._connection):
                self._connection.executemany(
                    "update sync.notion_journal set done_at = ? where kind = ? and key = ? and done_at is null", closed
                )

    def record_run(
        self, run_id: str, as_of_date: Any, started_at: datetime, counts: dict[str, int], changes: Sequence[Change]
    ) -> None:
        """Write the run and its changes to ``sync.notion_runs`` and ``sync.notion_changes``."""
        now = _plain(datetime.now(UTC))
        with transaction(self._connection):
            self._connection.execute(
                "insert into sync.notion_runs values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [run_id, as_of_date, _plain(started_at), now, *(counts[name] for name in COUNTS)],
            )
            if changes:
                self._connection.executemany(
                    "insert into sync.notion_changes values (?, ?, ?, ?, ?, ?, ?)",
                    [[run_id, one.kind, one.key, one.action, one.page_id, one.error, now] for one in changes],
                )


def _plain(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


_TABLES = """
    create table if not exists sync.notion_sources (
        setting varchar not null, database_id varchar not null, data_source_id varchar not null,
        title varchar not null, only_source boolean not null, read_until timestamp
    );
    create table if not exists sync.notion_pages (
        setting varchar not null, kind varchar not null, key varchar not null, page_id varchar not null,
        content_hash varchar not null, state varchar not null, marks varchar not null, facts varchar not null,
        url varchar, updated_at timestamp not null
    );
    create table if not exists sync.notion_journal (
        run_id varchar not null, kind varchar not null, key varchar not null, action varchar not null,
        intended_at timestamp not null, page_id varchar, done_at timestamp
    );
    create table if not exists sync.notion_runs (
        run_id varchar not null, as_of_date date, started_at timestamp not null, ended_at timestamp not null,
        created bigint not null, updated bigint not null, skipped bigint not null, orphans bigint not null,
        trashed bigint not null, failed bigint not null, requests bigint not null
    );
    create table if not exists sync.notion_changes (
        run_id varchar not null, kind varchar not null, key varchar not null, action varchar not null,
        page_id varchar, error varchar, changed_at timestamp not null
    )
"""
