"""The status of expansion opportunities: ``open``, or how a user closed them in Notion. A history, one row per change.

Users own the status. Publishing sets it to ``open`` on a new page and reads it back. A closed opportunity is neither
updated nor proposed until ``expansion.reopen_days`` later, when it is opened again if its rule still applies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import duckdb

from csm_core.warehouse.catalog import transaction

TABLE = "sync.opportunity_statuses"
OPEN = "open"
CLOSED = ("won", "lost", "not now")
DEFAULT_REOPEN_DAYS = 180

# The account, the type and the subject of an opportunity: its natural key.
OpportunityKey = tuple[str, str, str]


@dataclass(frozen=True)
class OpportunityStatus:
    """The status of an opportunity, and the published day on which it was first read."""

    key: OpportunityKey
    status: str
    since: date

    @property
    def is_closed(self) -> bool:
        """Whether a user closed the opportunity. Options that users added do not close it."""
        return self.status in CLOSED

    def may_reopen(self, day: date, reopen_days: int) -> bool:
        """Whether a closed opportunity is opened again on ``day`` if its rule applies."""
        return day - self.since >= timedelta(days=reopen_days)


def status_of(option: str | None) -> str:
    """The status for an option in Notion; an empty property means ``open``."""
    text = " ".join((option or "").casefold().split())
    return text or OPEN


def current(connection: duckdb.DuckDBPyConnection) -> dict[OpportunityKey, OpportunityStatus]:
    """The latest status of each opportunity whose status was ever changed."""
    rows = connection.execute(
        f"select account_id, opportunity_type, subject, status, since from {TABLE} "
        "qualify row_number() over (partition by account_id, opportunity_type, subject order by change_id desc) = 1"
    ).fetchall()
    return {
        (account_id, kind, subject): OpportunityStatus((account_id, kind, subject), status, since)
        for account_id, kind, subject, status, since in rows
    }


def closed_on(connection: duckdb.DuckDBPyConnection, day: date) -> set[OpportunityKey]:
    """The opportunities that were closed at the end of a day."""
    rows = connection.execute(
        f"select account_id, opportunity_type, subject, status from {TABLE} where since <= ? "
        "qualify row_number() over (partition by account_id, opportunity_type, subject order by change_id desc) = 1",
        [day],
    ).fetchall()
    return {(account_id, kind, subject) for account_id, kind, subject, status in rows if status in CLOSED}


def changes(
    known: Mapping[OpportunityKey, OpportunityStatus], found: Mapping[OpportunityKey, str], day: date
) -> list[OpportunityStatus]:
    """The statuses that differ from the known ones; an opportunity without a known status is open."""
    return [
        OpportunityStatus(key, status, day)
        for key, status in sorted(found.items())
        if status != (known[key].status if key in known else OPEN)
    ]


def record(connection: duckdb.DuckDBPyConnection, changed: Sequence[OpportunityStatus]) -> None:
    """Add rows to the history; a status that is already the latest one is not added again."""
    known = current(connection)
    fresh = changes(known, {one.key: one.status for one in changed}, date.min)
    since = {one.key: one.since for one in changed}
    if not fresh:
        return
    with transaction(connection):
        connection.executemany(
            f"insert into {TABLE} (change_id, account_id, opportunity_type, subject, status, since) "
            f"select coalesce(max(change_id), 0) + 1, ?, ?, ?, ?, ? from {TABLE}",
            [[*one.key, one.status, since[one.key]] for one in fresh],
        )
