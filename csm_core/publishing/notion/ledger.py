"""What was published, in the warehouse: pages with their content hashes, the write-ahead journal, runs and changes.

Analysts may ask these tables; nothing in them is secret. Every method commits before it returns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb

from csm_core.publishing.notion.adapter import Source
from csm_core.publishing.notion.databases import DatabaseSpec
from csm_core.warehouse.database import transaction

# States of a page, and how an entry of the journal ended. Partial: begun, or found and not known to be whole.
WRITTEN, PARTIAL, TRASHED = "written", "partial", "trashed"
FAILED, VOID = "failed", "void"

RUNNING, DONE, INTERRUPTED = "running", "done", "interrupted"
COUNTS = ("created", "updated", "skipped", "orphans", "trashed", "failed", "requests")


@dataclass(frozen=True)
class Page:
    """A page that we know: its natural key, what it was meant to say (as a hash), and the marks of our blocks.

    ``marks`` is None where it is not known which blocks are ours.
    """

    kind: str
    key: str
    page_id: str
    content_hash: str
    state: str = WRITTEN
    marks: tuple[str, ...] | None = None
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    url: str = ""


@dataclass(frozen=True)
class Intent:
    """A page that a run is going to create or update; ``day`` is the partition that its content is of."""

    kind: str
    key: str
    action: str
    day: date


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

    # -- data sources

    def source(self, spec: DatabaseSpec, database_id: str) -> Source | None:
        """The data source that an earlier run resolved for this database."""
        row = self._connection.execute(
            "select data_source_id, title, only_source from sync.notion_sources where setting = ? and database_id = ?",
            [spec.setting, database_id],
        ).fetchone()
        return Source(database_id, row[0], row[1], row[2]) if row else None

    def remember_source(self, spec: DatabaseSpec, source: Source) -> None:
        """Keep a resolved data source; another one under the same setting starts a ledger of its own."""
        with transaction(self._connection):
            known = self._connection.execute(
                "select data_source_id from sync.notion_sources where setting = ?", [spec.setting]
            ).fetchone()
            if known and known[0] != source.data_source_id:
                self._connection.execute("delete from sync.notion_pages where setting = ?", [spec.setting])
            self._connection.execute("delete from sync.notion_sources where setting = ?", [spec.setting])
            self._connection.execute(
                "insert into sync.notion_sources (setting, database_id, data_source_id, title, only_source) "
                "values (?, ?, ?, ?, ?)",
                [spec.setting, source.database_id, source.data_source_id, source.title, source.only_source],
            )

    def windows(self, spec: DatabaseSpec) -> tuple[str, ...]:
        """The creation times that part a database into queries that can be listed, as the last whole read found."""
        row = self._connection.execute(
            "select windows from sync.notion_sources where setting = ?", [spec.setting]
        ).fetchone()
        return tuple(json.loads(row[0])) if row and row[0] else ()

    def remember_windows(self, spec: DatabaseSpec, windows: Sequence[str]) -> None:
        """Keep these times for the next whole read."""
        self._connection.execute(
            "update sync.notion_sources set windows = ? where setting = ?", [json.dumps(list(windows)), spec.setting]
        )

    def read_until(self, spec: DatabaseSpec) -> datetime | None:
        """Up to when the database was read completely; None if never."""
        row = self._connection.execute(
            "select read_until from sync.notion_sources where setting = ?", [spec.setting]
        ).fetchone()
        return row[0] if row else None

    def mark_read(self, specs: Iterable[DatabaseSpec], until: datetime) -> None:
        """Note that what these databases held up to then is in the ledger, or in the journal as unresolved."""
        for spec in specs:
            self._connection.execute(
                "update sync.notion_sources set read_until = ? where setting = ?", [_plain(until), spec.setting]
            )

    # -- pages

    def pages(self, kind: str) -> dict[str, Page]:
        """Every known page of a kind, by natural key."""
        rows = self._connection.execute(
            "select key, page_id, content_hash, state, marks, facts, url from sync.notion_pages where kind = ?", [kind]
        ).fetchall()
        return {
            key: Page(kind, key, page_id, content_hash, state, _marks(marks), json.loads(facts), url or "")
            for key, page_id, content_hash, state, marks, facts, url in rows
        }

    def store(self, spec: DatabaseSpec, pages: Sequence[Page]) -> None:
        """Put pages of one kind into the ledger, replacing what was there under their keys.

        The journal's entries for those that are whole, or in the trash, are closed.
        """
        if not pages:
            return
        now = _plain(datetime.now(UTC))
        latest = {page.key: page for page in pages}
        held = list(latest.values())
        kind = held[0].kind
        with transaction(self._connection):
            self._connection.execute(
                "delete from sync.notion_pages where kind = $kind and key in (select unnest($keys))",
                {"kind": kind, "keys": list(latest)},
            )
            self._connection.execute(
                "insert into sync.notion_pages select $setting, $kind, unnest($keys), unnest($ids), unnest($hashes), "
                "unnest($states), unnest($marks), unnest($facts), unnest($urls), $now",
                {
                    "setting": spec.setting,
                    "kind": kind,
                    "keys": list(latest),
                    "ids": [page.page_id for page in held],
                    "hashes": [page.content_hash for page in held],
                    "states": [page.state for page in held],
                    "marks": [json.dumps(page.marks) for page in held],
                    "facts": [json.dumps(page.facts, sort_keys=True) for page in held],
                    "urls": [page.url for page in held],
                    "now": now,
                },
            )
            ended = [page for page in held if page.state != PARTIAL]
            if ended:
                self._connection.execute(
                    "update sync.notion_journal as journal set page_id = given.page_id, outcome = given.state, "
                    "done_at = $now from (select unnest($keys) as key, unnest($ids) as page_id, "
                    "unnest($states) as state) as given "
                    "where journal.kind = $kind and journal.key = given.key and journal.done_at is null",
                    {
                        "kind": kind,
                        "keys": [page.key for page in ended],
                        "ids": [page.page_id for page in ended],
                        "states": [page.state for page in ended],
                        "now": now,
                    },
                )

    # -- the journal

    def intend(self, run_id: str, intents: Sequence[Intent]) -> None:
        """Write down all that a run is going to do, before any of it is sent."""
        if not intents:
            return
        self._connection.execute(
            "insert into sync.notion_journal (run_id, kind, key, action, as_of_date, intended_at) "
            "select $run, unnest($kinds), unnest($keys), unnest($actions), unnest($days), $now",
            {
                "run": run_id,
                "kinds": [intent.kind for intent in intents],
                "keys": [intent.key for intent in intents],
                "actions": [intent.action for intent in intents],
                "days": [intent.day for intent in intents],
                "now": _plain(datetime.now(UTC)),
            },
        )

    def sending(self, run_id: str, intents: Sequence[Intent]) -> None:
        """Note, before the first of their requests, that these are sent now: from here on they may have happened."""
        for kind in sorted({intent.kind for intent in intents}):
            self._connection.execute(
                "update sync.notion_journal set sent_at = $now where run_id = $run and kind = $kind "
                "and done_at is null and key in (select unnest($keys))",
                {
                    "run": run_id,
                    "kind": kind,
                    "keys": [intent.key for intent in intents if intent.kind == kind],
                    "now": _plain(datetime.now(UTC)),
                },
            )

    def refused(self, kind: str, keys: Sequence[str]) -> None:
        """Close entries of pages that Notion refused to create: nothing was written, nothing is to be looked for."""
        self._connection.execute(
            "update sync.notion_journal set done_at = $now, outcome = $outcome where kind = $kind "
            "and done_at is null and key in (select unnest($keys))",
            {"now": _plain(datetime.now(UTC)), "outcome": FAILED, "kind": kind, "keys": list(keys)},
        )

    def unresolved(self, kind: str) -> set[str]:
        """Keys of pages that may have been created without our knowing: a run was cut short there."""
        rows = self._connection.execute(
            "select distinct key from sync.notion_journal "
            "where kind = ? and action = 'create' and sent_at is not null and done_at is null",
            [kind],
        ).fetchall()
        return {key for (key,) in rows}

    def cut_short(self, kind: str) -> set[str]:
        """Keys of pages that were being created or updated when a run ended, or failed: what they say is not known."""
        rows = self._connection.execute(
            "select distinct key from sync.notion_journal where kind = ? and sent_at is not null and done_at is null",
            [kind],
        ).fetchall()
        return {key for (key,) in rows}

    def left_over(self, kind: str, day: date, days: int) -> dict[date, set[str]]:
        """What runs of the ``days`` before ``day`` intended last and did not achieve: keys by partition."""
        rows = self._connection.execute(
            "select key, arg_max(as_of_date, intended_at) as latest_day from sync.notion_journal where kind = $kind "
            "group by key having arg_max(coalesce(outcome, 'open'), intended_at) in ('open', $failed) "
            "and latest_day < $day and latest_day >= $since",
            {"kind": kind, "failed": FAILED, "day": day, "since": day - timedelta(days=days)},
        ).fetchall()
        found: dict[date, set[str]] = {}
        for key, of in rows:
            found.setdefault(of, set()).add(key)
        return found

    def settle(self, kinds: Sequence[str]) -> None:
        """Close, once a run has looked for and seen to all of it, what was never sent and creates that left nothing.

        Updates that were cut short stay open until their page is written again, be it long after.
        """
        self._connection.execute(
            "update sync.notion_journal set done_at = $now, outcome = $outcome where done_at is null "
            "and (sent_at is null or action = 'create') and kind in (select unnest($kinds))",
            {"now": _plain(datetime.now(UTC)), "outcome": VOID, "kinds": list(kinds)},
        )

    # -- runs and changes

    def begin_run(self, run_id: str, as_of_date: date, started_at: datetime) -> None:
        """A row of ``sync.notion_runs`` that says that the run is running; it stays if the run is killed."""
        self._connection.execute(
            "insert into sync.notion_runs values (?, ?, ?, ?, 0, 0, 0, 0, 0, 0, 0, ?)",
            [run_id, as_of_date, _plain(started_at), _plain(started_at), RUNNING],
        )

    def end_run(self, run_id: str, counts: dict[str, int], status: str) -> None:
        """Complete the row of a run."""
        columns = ", ".join(f"{name} = ?" for name in COUNTS)
        self._connection.execute(
            f"update sync.notion_runs set ended_at = ?, status = ?, {columns} where run_id = ? and status = ?",
            [_plain(datetime.now(UTC)), status, *(counts[name] for name in COUNTS), run_id, RUNNING],
        )

    def add_changes(self, run_id: str, changes: Sequence[Change]) -> None:
        """Add to ``sync.notion_changes``."""
        if changes:
            self._connection.execute(
                "insert into sync.notion_changes select $run, unnest($kinds), unnest($keys), unnest($actions), "
                "unnest($ids), unnest($errors), $now",
                {
                    "run": run_id,
                    "kinds": [one.kind for one in changes],
                    "keys": [one.key for one in changes],
                    "actions": [one.action for one in changes],
                    "ids": [one.page_id for one in changes],
                    "errors": [one.error for one in changes],
                    "now": _plain(datetime.now(UTC)),
                },
            )

    def recent_requests(self, seconds: float) -> int:
        """Requests of the runs that ended in the last so many seconds: another process may have sent them."""
        row = self._connection.execute(
            "select coalesce(sum(requests), 0) from sync.notion_runs where ended_at > ?",
            [_plain(datetime.now(UTC) - timedelta(seconds=seconds))],
        ).fetchone()
        return int(row[0]) if row else 0


def _plain(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def _marks(text: str) -> tuple[str, ...] | None:
    found = json.loads(text)
    return None if found is None else tuple(found)


_TABLES = """
    create table if not exists sync.notion_sources (
        setting varchar not null, database_id varchar not null, data_source_id varchar not null,
        title varchar not null, only_source boolean not null, read_until timestamp
    );
    alter table sync.notion_sources add column if not exists windows varchar;
    create table if not exists sync.notion_pages (
        setting varchar not null, kind varchar not null, key varchar not null, page_id varchar not null,
        content_hash varchar not null, state varchar not null, marks varchar not null, facts varchar not null,
        url varchar, updated_at timestamp not null
    );
    create table if not exists sync.notion_journal (
        run_id varchar not null, kind varchar not null, key varchar not null, action varchar not null,
        intended_at timestamp not null, page_id varchar, done_at timestamp
    );
    alter table sync.notion_journal add column if not exists as_of_date date;
    alter table sync.notion_journal add column if not exists sent_at timestamp;
    alter table sync.notion_journal add column if not exists outcome varchar;
    create table if not exists sync.notion_runs (
        run_id varchar not null, as_of_date date, started_at timestamp not null, ended_at timestamp not null,
        created bigint not null, updated bigint not null, skipped bigint not null, orphans bigint not null,
        trashed bigint not null, failed bigint not null, requests bigint not null
    );
    alter table sync.notion_runs add column if not exists status varchar;
    create table if not exists sync.notion_changes (
        run_id varchar not null, kind varchar not null, key varchar not null, action varchar not null,
        page_id varchar, error varchar, changed_at timestamp not null
    )
"""
