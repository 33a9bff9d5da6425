"""The ledger of published pages in the warehouse: content hashes, the write-ahead journal, runs and changes.

Analysts may query these tables; they contain no secrets. Every method commits before it returns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb

from csm_core.publishing.notion.databases import HEALTH, DatabaseSpec
from csm_core.publishing.notion.source_ledger import SourceLedger, naive_utc
from csm_core.publishing.notion.target_pages import account_of
from csm_core.warehouse.catalog import transaction

# States of a page and outcomes of a journal entry. Partial: not completely written, or found in an unknown state.
WRITTEN, PARTIAL, TRASHED = "written", "partial", "trashed"
FAILED, VOID = "failed", "void"

# The fact of a page that was written without the relation to its account, because the account had no page.
UNRELATED = "unrelated"

RUNNING, DONE, INTERRUPTED = "running", "done", "interrupted"
COUNTS = ("created", "updated", "skipped", "orphans", "trashed", "failed", "requests")


@dataclass(frozen=True)
class Page:
    """A known page: its natural key, the hash of its target content, and the marks of our blocks.

    ``marks`` is None if it is unknown which blocks are ours.
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
    """A page that a run intends to create or update; ``day`` is the partition of its content."""

    kind: str
    key: str
    action: str
    day: date


@dataclass(frozen=True)
class Change:
    """One change that a run made or failed to make."""

    kind: str
    key: str
    action: str
    page_id: str | None
    error: str | None


class Ledger:
    """The ``sync`` schema of a warehouse, for one set of databases."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self.sources = SourceLedger(connection)

    # -- pages

    def account_page_ids(self) -> dict[str, str]:
        """The page of each account that is not in the trash."""
        rows = self._connection.execute(
            "select key, page_id from sync.notion_pages where kind = ? and state <> ?", [HEALTH, TRASHED]
        ).fetchall()
        return {account_of(key): page_id for key, page_id in rows}

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
        """Store pages of one kind in the ledger, replacing the pages with the same keys.

        Journal entries of pages that are complete or in the trash are closed.
        """
        if not pages:
            return
        now = naive_utc(datetime.now(UTC))
        latest = {page.key: page for page in pages}
        stored_pages = list(latest.values())
        kind = stored_pages[0].kind
        with transaction(self._connection):
            self._connection.execute(
                "delete from sync.notion_pages where kind = $kind and key in (select unnest($keys))",
                {"kind": kind, "keys": list(latest)},
            )
            self._connection.execute(
                "insert into sync.notion_pages (setting, kind, key, account_id, page_id, content_hash, state, marks, "
                "facts, url, updated_at) select $setting, $kind, unnest($keys), unnest($accounts), unnest($ids), "
                "unnest($hashes), unnest($states), unnest($marks), unnest($facts), unnest($urls), $now",
                {
                    "setting": spec.setting,
                    "kind": kind,
                    "keys": list(latest),
                    "accounts": _accounts(latest),
                    "ids": [page.page_id for page in stored_pages],
                    "hashes": [page.content_hash for page in stored_pages],
                    "states": [page.state for page in stored_pages],
                    "marks": [json.dumps(page.marks) for page in stored_pages],
                    "facts": [json.dumps(page.facts, sort_keys=True) for page in stored_pages],
                    "urls": [page.url for page in stored_pages],
                    "now": now,
                },
            )
            ended = [page for page in stored_pages if page.state != PARTIAL]
            if ended:
                self._connection.execute(
                    "update sync.notion_journal as journal set page_id = stored.page_id, outcome = stored.state, "
                    "done_at = $now from (select unnest($keys) as key, unnest($ids) as page_id, "
                    "unnest($states) as state) as stored "
                    "where journal.kind = $kind and journal.key = stored.key and journal.done_at is null",
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
        """Record all intents of a run before it sends any request."""
        if not intents:
            return
        self._connection.execute(
            "insert into sync.notion_journal (run_id, kind, key, account_id, action, as_of_date, intended_at) "
            "select $run, unnest($kinds), unnest($keys), unnest($accounts), unnest($actions), unnest($days), $now",
            {
                "run": run_id,
                "kinds": [intent.kind for intent in intents],
                "keys": [intent.key for intent in intents],
                "accounts": _accounts(intent.key for intent in intents),
                "actions": [intent.action for intent in intents],
                "days": [intent.day for intent in intents],
                "now": naive_utc(datetime.now(UTC)),
            },
        )

    def sending(self, run_id: str, intents: Sequence[Intent]) -> None:
        """Mark intents as sent before their first request: from now on Notion may have carried them out."""
        for kind in sorted({intent.kind for intent in intents}):
            self._connection.execute(
                "update sync.notion_journal set sent_at = $now where run_id = $run and kind = $kind "
                "and done_at is null and key in (select unnest($keys))",
                {
                    "run": run_id,
                    "kind": kind,
                    "keys": [intent.key for intent in intents if intent.kind == kind],
                    "now": naive_utc(datetime.now(UTC)),
                },
            )

    def close_rejected(self, kind: str, keys: Sequence[str]) -> None:
        """Close the entries of pages that Notion rejected: nothing was written, so no later run searches for them."""
        self._connection.execute(
            "update sync.notion_journal set done_at = $now, outcome = $outcome where kind = $kind "
            "and done_at is null and key in (select unnest($keys))",
            {"now": naive_utc(datetime.now(UTC)), "outcome": FAILED, "kind": kind, "keys": list(keys)},
        )

    def unresolved(self, kind: str) -> set[str]:
        """Keys of pages that an interrupted run may have created without recording them."""
        rows = self._connection.execute(
            "select distinct key from sync.notion_journal "
            "where kind = ? and action = 'create' and sent_at is not null and done_at is null",
            [kind],
        ).fetchall()
        return {key for (key,) in rows}

    def interrupted(self, kind: str) -> set[str]:
        """Keys of pages that a run was writing when it ended or failed: their content is unknown."""
        rows = self._connection.execute(
            "select distinct key from sync.notion_journal where kind = ? and sent_at is not null and done_at is null",
            [kind],
        ).fetchall()
        return {key for (key,) in rows}

    def left_over(self, kind: str, day: date, days: int) -> dict[date, set[str]]:
        """Keys, by partition, of pages that runs of the ``days`` before ``day`` intended to write and did not write."""
        rows = self._connection.execute(
            "select key, arg_max(as_of_date, intended_at) as latest_day from sync.notion_journal where kind = $kind "
            "group by key having arg_max(coalesce(outcome, 'open'), intended_at) in ('open', $failed) "
            "and latest_day < $day and latest_day >= $since",
            {"kind": kind, "failed": FAILED, "day": day, "since": day - timedelta(days=days)},
        ).fetchall()
        keys_by_day: dict[date, set[str]] = {}
        for key, day_of_key in rows:
            keys_by_day.setdefault(day_of_key, set()).add(key)
        return keys_by_day

    def settle(self, kinds: Sequence[str]) -> None:
        """Close the entries that were never sent, and creates without a page, after a run has checked all of them.

        Interrupted updates stay open until their page is written again.
        """
        self._connection.execute(
            "update sync.notion_journal set done_at = $now, outcome = $outcome where done_at is null "
            "and (sent_at is null or action = 'create') and kind in (select unnest($kinds))",
            {"now": naive_utc(datetime.now(UTC)), "outcome": VOID, "kinds": list(kinds)},
        )

    # -- runs and changes

    def begin_run(self, run_id: str, as_of_date: date, started_at: datetime) -> None:
        """Add a row with status ``running`` to ``sync.notion_runs``; it keeps that status if the run is killed."""
        self._connection.execute(
            f"insert into sync.notion_runs (run_id, as_of_date, started_at, ended_at, {', '.join(COUNTS)}, status) "
            f"values (?, ?, ?, ?, {', '.join('0' for _ in COUNTS)}, ?)",
            [run_id, as_of_date, naive_utc(started_at), naive_utc(started_at), RUNNING],
        )

    def end_run(self, run_id: str, counts: dict[str, int], status: str) -> None:
        """Complete the row of a run."""
        columns = ", ".join(f"{name} = ?" for name in COUNTS)
        self._connection.execute(
            f"update sync.notion_runs set ended_at = ?, status = ?, {columns} where run_id = ? and status = ?",
            [naive_utc(datetime.now(UTC)), status, *(counts[name] for name in COUNTS), run_id, RUNNING],
        )

    def add_changes(self, run_id: str, changes: Sequence[Change]) -> None:
        """Add rows to ``sync.notion_changes``."""
        if changes:
            self._connection.execute(
                "insert into sync.notion_changes (run_id, kind, key, account_id, action, page_id, error, changed_at) "
                "select $run, unnest($kinds), unnest($keys), unnest($accounts), unnest($actions), unnest($ids), "
                "unnest($errors), $now",
                {
                    "run": run_id,
                    "kinds": [one.kind for one in changes],
                    "keys": [one.key for one in changes],
                    "accounts": _accounts(one.key for one in changes),
                    "actions": [one.action for one in changes],
                    "ids": [one.page_id for one in changes],
                    "errors": [one.error for one in changes],
                    "now": naive_utc(datetime.now(UTC)),
                },
            )

    def recent_requests(self, seconds: float) -> int:
        """The number of requests of runs that ended in the last ``seconds``, including runs of other processes."""
        row = self._connection.execute(
            "select coalesce(sum(requests), 0) from sync.notion_runs where ended_at > ?",
            [naive_utc(datetime.now(UTC) - timedelta(seconds=seconds))],
        ).fetchone()
        return int(row[0]) if row else 0


def _accounts(keys: Iterable[str]) -> list[str | None]:
    """The account of each natural key; None if the key has no account."""
    return [account_of(key) or None for key in keys]


def _marks(text: str) -> tuple[str, ...] | None:
    marks = json.loads(text)
    return None if marks is None else tuple(marks)
