"""The ledger of a destination in the warehouse: what was sent to each record, runs and changes.

Analysts may query these tables; they contain no secrets. Every method commits before it returns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import duckdb

from csm_core.publishing.crm.targets import Value
from csm_core.redaction import without_secrets
from csm_core.warehouse.catalog import transaction

WRITTEN, SENDING, REJECTED = "written", "sending", "rejected"
RUNNING, DONE, STOPPED, INTERRUPTED = "running", "done", "stopped", "interrupted"
CREATED, UPDATED, FAILED = "created", "updated", "failed"
COUNTS = ("created", "updated", "skipped", "absent", "rejected", "failed", "requests")


@dataclass(frozen=True)
class KnownRecord:
    """What the ledger has about the record of an account."""

    account_id: str
    state: str
    content_hash: str
    values: Mapping[str, Value] = field(default_factory=dict[str, Value])
    record_id: str | None = None
    message: str | None = None
    day: date | None = None


@dataclass(frozen=True)
class Change:
    """The outcome of one record in a run; ``message`` says why it was not written."""

    account_id: str
    action: str
    record_id: str | None = None
    message: str | None = None


class CrmLedger:
    """The rows of one destination in ``sync.crm_records``, ``sync.crm_runs`` and ``sync.crm_changes``."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, destination: str) -> None:
        self._connection = connection
        self._destination = destination

    def records(self) -> dict[str, KnownRecord]:
        """Return what is known about each record, by account."""
        rows = self._connection.execute(
            "select account_id, state, content_hash, sent_values, record_id, message, as_of_date "
            "from sync.crm_records where destination = ? order by account_id",
            [self._destination],
        ).fetchall()
        return {
            account_id: KnownRecord(account_id, state, content, json.loads(values), record_id, message, day)
            for account_id, state, content, values, record_id, message, day in rows
        }

    def begin_run(self, run_id: str, day: date) -> None:
        """Add a row with status ``running``; it keeps that status if the run is killed."""
        self._connection.execute(
            f"insert into sync.crm_runs (run_id, destination, as_of_date, started_at, status, {', '.join(COUNTS)}) "
            f"values (?, ?, ?, ?, ?, {', '.join('0' for _ in COUNTS)})",
            [run_id, self._destination, day, _now(), RUNNING],
        )

    def end_run(self, run_id: str, counts: Mapping[str, int], status: str) -> None:
        """Complete the row of a run."""
        columns = ", ".join(f"{name} = ?" for name in COUNTS)
        self._connection.execute(
            f"update sync.crm_runs set ended_at = ?, status = ?, {columns} "
            "where run_id = ? and destination = ? and status = ?",
            [_now(), status, *(counts[name] for name in COUNTS), run_id, self._destination, RUNNING],
        )

    def store(self, records: Sequence[KnownRecord], run_id: str = "", changes: Sequence[Change] = ()) -> None:
        """Replace the rows of these accounts and add the changes of a run, in one transaction."""
        if not records and not changes:
            return
        with transaction(self._connection):
            if records:
                self._replace(records)
            if changes:
                self._connection.execute(
                    "insert into sync.crm_changes (run_id, destination, account_id, action, record_id, message, "
                    "changed_at) select $run, $destination, unnest($accounts), unnest($actions), unnest($ids), "
                    "unnest($messages), $now",
                    {
                        "run": run_id,
                        "destination": self._destination,
                        "accounts": [one.account_id for one in changes],
                        "actions": [one.action for one in changes],
                        "ids": [one.record_id for one in changes],
                        "messages": [_safe(one.message) for one in changes],
                        "now": _now(),
                    },
                )

    def _replace(self, records: Sequence[KnownRecord]) -> None:
        self._connection.execute(
            "delete from sync.crm_records where destination = ? and account_id in (select unnest(?))",
            [self._destination, [one.account_id for one in records]],
        )
        self._connection.execute(
            "insert into sync.crm_records (destination, account_id, state, content_hash, sent_values, record_id, "
            "message, as_of_date, changed_at) select $destination, unnest($accounts), unnest($states), "
            "unnest($hashes), unnest($values), unnest($ids), unnest($messages), unnest($days), $now",
            {
                "destination": self._destination,
                "accounts": [one.account_id for one in records],
                "states": [one.state for one in records],
                "hashes": [one.content_hash for one in records],
                "values": [json.dumps(dict(one.values), sort_keys=True) for one in records],
                "ids": [one.record_id for one in records],
                "messages": [_safe(one.message) for one in records],
                "days": [one.day for one in records],
                "now": _now(),
            },
        )


def run_summaries(connection: duckdb.DuckDBPyConnection, destination: str, limit: int = 1) -> list[dict[str, Any]]:
    """Return the latest runs of a destination, the newest first."""
    columns = ("run_id", "as_of_date", "started_at", "ended_at", "status", *COUNTS)
    rows = connection.execute(
        f"select {', '.join(columns)} from sync.crm_runs where destination = ? order by started_at desc limit ?",
        [destination, limit],
    ).fetchall()
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _safe(message: str | None) -> str | None:
    return None if message is None else without_secrets(message)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
