"""What technical account managers choose as `Health Status` of an account's page, read back as `tam_assessments`.

A reading is a load like that of a file: raw records, an entry in ``raw.loads``, and from there through the gate into
staging by the next run. An assessment is dated when it was read, so that no past day changes. A choice is no event but
a standing word: as long as the page shows it, it is confirmed by further records, soon enough that it never lapses
meanwhile; once it is not read any more, it lapses like every assessment. Not here: reading pages.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from csm_core.ingest.raw_tables import prepare as prepare_loads
from csm_core.publishing.notion import databases as names
from csm_core.publishing.notion.rich_text import clean
from csm_core.warehouse.database import table_exists, transaction

SYSTEM = "notion"
ENTITY = "tam_assessments"
TABLE = f"raw.{SYSTEM}__{ENTITY}"
DEFAULT_WINDOW_DAYS = 90

_ACCOUNTS = "staging.stg_accounts"
# What people call the three levels, by letters only.
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
    said: str


@dataclass(frozen=True)
class ReadBack:
    """What a reading brought: ``new`` assessments, ``unchanged`` ones (``confirmed`` by a record), what was ignored.

    ``unknown`` are options that are none of the three levels, with how many pages show them; ``unplaced`` counts pages
    of accounts that the warehouse does not have, or that have several pages.
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


def level_of(said: str) -> str | None:
    """GREEN, AMBER or RED for an option's name or its emoji; None for anything else."""
    letters = "".join(character for character in said.casefold() if character.isalpha())
    if letters:
        return _LEVELS.get(letters)
    return next((level for sign, level in _SIGNS.items() if sign in said), None)


def statuses_of(pages: Iterable[Mapping[str, Any]]) -> tuple[Status, ...]:
    """The statuses that account pages (as the adapter's facts) show; pages without one are left out."""
    return tuple(
        Status(str(page["id"]), page[names.ACCOUNT_ID] or "", page[names.HEALTH_STATUS])
        for page in pages
        if page[names.HEALTH_STATUS]
    )


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the raw table where it is not there yet, so that staging can read it before anything was read back."""
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
    """Keep as assessments what changed since the last reading, and confirm what stands.

    ``read_at`` is a UTC instant; ``window_days`` is how long an assessment counts: one that is a third of that old is
    confirmed, so that two readings may be missed.
    """
    prepare_loads(connection)
    prepare(connection)
    at = read_at.astimezone(UTC).replace(tzinfo=None)
    accounts = _accounts(connection)
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
        level, account_id = level_of(status.said), accounts.get(status.account_id)
        if level is None:
            unknown[status.said] += 1
        # The gate would refuse an account that it does not know, and one refused record can hold a whole run.
        elif account_id is None or pages_of[status.account_id] > 1:
            unplaced += 1
        elif account_id in last and last[account_id][0] == level:
            unchanged += 1
            # By days, as they count: the time of day at which runs start varies.
            if at.date() - last[account_id][1].date() >= confirm_after:
                confirmed += 1
                fresh.append((status, account_id, level))
        else:
            fresh.append((status, account_id, level))
    if fresh:
        _store(connection, fresh, at)
    return ReadBack(len(fresh) - confirmed, unchanged, confirmed, dict(sorted(unknown.items())), unplaced)


def _accounts(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Account ids by what Notion keeps of them."""
    if not table_exists(connection, _ACCOUNTS):
        return {}
    return {
        clean(account_id).text: account_id
        for (account_id,) in connection.execute(f"select account_id from {_ACCOUNTS}").fetchall()
    }


def _store(connection: duckdb.DuckDBPyConnection, fresh: Sequence[tuple[Status, str, str]], at: datetime) -> None:
    # Each reading is a source of its own: were they versions of one, the gate would let a later replace an earlier.
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
                "said": [status.said for status, _, _ in fresh],
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
