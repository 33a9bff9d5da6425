"""Reads the `Health Status` that technical account managers select on account pages back as `tam_assessments`.

Each read is a load, like a file: raw records and an entry in ``raw.loads``; the next run stages them through the gate.
An assessment has the time of the read, so past days do not change. A selected status stays in effect: while the page
shows it, further records confirm it before it expires. When the page no longer shows it, it expires like every
assessment. This module does not read pages.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from csm_core.publishing.notion import databases as names
from csm_core.publishing.notion.rich_text import clean
from csm_core.warehouse.catalog import table_exists, transaction

SYSTEM = "notion"
ENTITY = "tam_assessments"
TABLE = f"raw.{SYSTEM}__{ENTITY}"
DEFAULT_WINDOW_DAYS = 90

_ACCOUNTS = "staging.stg_accounts"
# Common names of the three levels, letters only.
_LEVELS = {
    **dict.fromkeys(("green", "healthy", "good", "ontrack"), "GREEN"),
    **dict.fromkeys(("amber", "yellow", "orange", "atrisk", "warning"), "AMBER"),
    **dict.fromkeys(("red", "critical", "unhealthy", "offtrack"), "RED"),
}
_SIGNS = {"🟢": "GREEN", "🟡": "AMBER", "🟠": "AMBER", "🔴": "RED"}


@dataclass(frozen=True)
class Status:
    """The `Health Status` that an account's page shows."""

    page_id: str
    account_id: str
    option: str


@dataclass(frozen=True)
class ReadBack:
    """The result of a read: ``new`` and ``unchanged`` assessments (``confirmed`` ones got a new record), ignored pages.

    ``unknown`` counts pages by option, for options other than the three levels; ``unplaced`` counts pages of accounts
    that are not in the warehouse or that have several pages.
    """

    new: int = 0
    unchanged: int = 0
    confirmed: int = 0
    unknown: Mapping[str, int] = field(default_factory=dict[str, int])
    unplaced: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "new": self.new,
            "unchanged": self.unchanged,
            "confirmed": self.confirmed,
            "unknown": dict(self.unknown),
            "unplaced": self.unplaced,
        }


def level_of(option: str) -> str | None:
    """GREEN, AMBER or RED for an option's name or its emoji; None for anything else."""
    letters = "".join(character for character in option.casefold() if character.isalpha())
    if letters:
        return _LEVELS.get(letters)
    return next((level for sign, level in _SIGNS.items() if sign in option), None)


def statuses_of(pages: Iterable[Mapping[str, Any]]) -> tuple[Status, ...]:
    """The statuses of account pages (as the adapter's facts); pages without a status are skipped."""
    return tuple(
        Status(str(page["id"]), page[names.ACCOUNT_ID] or "", page[names.HEALTH_STATUS])
        for page in pages
        if page[names.HEALTH_STATUS]
    )


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the raw table if it does not exist, so that staging can read it before the first read."""
    connection.execute(
        f"create table if not exists {TABLE} (assessment_id varchar not null, account_id varchar not null, "
        "rag varchar not null, assessed_at timestamp not null, page_id varchar not null, said varchar not null, "
        "_source_file varchar not null, _source_line bigint not null, _loaded_at timestamp not null, "
        "_load_id bigint not null)"
    )


def record(
    connection: duckdb.DuckDBPyConnection,
    statuses: Sequence[Status],
    read_at: datetime,
    *,
    window_days: int = DEFAULT_WINDOW_DAYS,
) -> ReadBack:
    """Record the statuses that changed since the last read as assessments, and confirm unchanged ones.

    ``read_at`` is a UTC time. ``window_days`` is how long an assessment counts; an assessment is confirmed when it has
    reached a third of that age, so two reads can be missed.
    """
    prepare(connection)
    at = read_at.astimezone(UTC).replace(tzinfo=None)
    accounts = known_accounts(connection)
    pages_of = Counter(status.account_id for status in statuses)
    last = {
        account_id: (level, assessed_at)
        for account_id, level, assessed_at in connection.execute(
            "select account_id, arg_max(rag, _load_id), arg_max(assessed_at, _load_id) "
            f"from {TABLE} group by account_id"
        ).fetchall()
    }
    confirm_after = timedelta(days=max(1, window_days // 3))
    unknown: Counter[str] = Counter()
    fresh: list[tuple[Status, str, str]] = []
    unchanged = unplaced = confirmed = 0
    for status in statuses:
        level, account_id = level_of(status.option), accounts.get(status.account_id)
        if level is None:
            unknown[status.option] += 1
        # The gate would reject an unknown account, and one rejected record can fail a whole run.
        elif account_id is None or pages_of[status.account_id] > 1:
            unplaced += 1
        elif account_id in last and last[account_id][0] == level:
            unchanged += 1
            # In whole days: the time of day at which runs start varies.
            if at.date() - last[account_id][1].date() >= confirm_after:
                confirmed += 1
                fresh.append((status, account_id, level))
        else:
            fresh.append((status, account_id, level))
    if fresh:
        _store(connection, fresh, at)
    return ReadBack(len(fresh) - confirmed, unchanged, confirmed, dict(sorted(unknown.items())), unplaced)


def known_accounts(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Account ids by their text in Notion, which has no control characters."""
    if not table_exists(connection, _ACCOUNTS):
        return {}
    return {
        clean(account_id).text: account_id
        for (account_id,) in connection.execute(f"select account_id from {_ACCOUNTS}").fetchall()
    }


def _store(connection: duckdb.DuckDBPyConnection, fresh: Sequence[tuple[Status, str, str]], at: datetime) -> None:
    # Each read is a source of its own. As versions of one source, later assessments would replace earlier ones.
    reading = f"{SYSTEM}:account pages read at {at.isoformat()}Z"
    ids = [f"notion:{status.page_id}:{at.date()}:{level}" for status, _, level in fresh]
    fingerprint = hashlib.sha256("\n".join(ids).encode()).hexdigest()
    with transaction(connection):
        row = connection.execute("select coalesce(max(load_id), 0) + 1 from raw.loads").fetchone()
        load_id = int(row[0]) if row else 1
        connection.execute(
            f"insert into {TABLE} select unnest($ids), unnest($accounts), unnest($levels), $at, unnest($pages), "
            "unnest($said), $reading, unnest($lines), $at, $load",
            {
                "ids": ids,
                "accounts": [account_id for _, account_id, _ in fresh],
                "levels": [level for _, _, level in fresh],
                "pages": [status.page_id for status, _, _ in fresh],
                "said": [status.option for status, _, _ in fresh],
                "lines": list(range(1, len(fresh) + 1)),
                "at": at,
                "reading": reading,
                "load": load_id,
            },
        )
        connection.execute(
            "insert into raw.loads values (?, ?, ?, ?, ?, 0, 0, ?, ?, ?, 0, ?, 'loaded')",
            [load_id, SYSTEM, ENTITY, TABLE, reading, fingerprint, len(fresh), len(fresh), at],
        )
