"""Reads `CSM Pulse` and `CSM Pulse Note`, which owners fill in on account pages, back as pulses.

Users own both properties; publishing creates them and never writes them. ``sync.pulse_readings`` has what each page
showed, so a value is recorded once, and a value that did not change does not replace a later pulse of the command. A
change is dated by the day of the read, so past days do not change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from csm_core.publishing.notion import databases as names
from csm_core.publishing.notion.adapter import NotionCSMAdapter
from csm_core.publishing.notion.assessments import known_accounts
from csm_core.publishing.notion.retry import RequestRejected
from csm_core.publishing.pulses import COMMAND, MAX_NOTE, NOTION, PulseChange, active_pulse, pulse_of, record
from csm_core.system.paths import shown
from csm_core.warehouse.catalog import transaction
from csm_core.warehouse.pulse_tables import PULSE_READINGS, PULSES

# Notion states the time of an edit without its seconds.
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class PulseReading:
    """What an account page shows: ``note`` is None if the database has no property for it.

    ``editor`` is the id of the user who last edited the page, and ``edited_at`` the minute of that edit.
    """

    page_id: str
    account_id: str
    name: str
    value: Any
    note: str | None
    editor: str = ""
    edited_at: datetime | None = None


@dataclass(frozen=True)
class PulsesRead:
    """The result of a read: pulses that are ``new`` or ``cleared``, and pages that were left out.

    ``rejected`` has a sentence for each value that is no pulse. ``outdated`` counts changes on pages that were last
    edited before a later `csm pulse`; ``unplaced`` pages of accounts that are not in the warehouse or have several
    pages.
    """

    new: int = 0
    cleared: int = 0
    outdated: int = 0
    unplaced: int = 0
    rejected: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "new": self.new,
            "cleared": self.cleared,
            "outdated": self.outdated,
            "unplaced": self.unplaced,
            "rejected": list(self.rejected),
        }


@dataclass(frozen=True)
class _Change:
    """A page whose values differ from those that were read before; ``pulse`` is None if it is empty now."""

    reading: PulseReading
    account_id: str
    pulse: int | None
    note: str


def readings_of(pages: Iterable[Mapping[str, Any]], present: Collection[str]) -> tuple[PulseReading, ...]:
    """What account pages (as the adapter's facts) show; nothing if the database has no property for pulses.

    A property that was removed or switched off is not an empty one, so nothing is read from its pages.
    """
    if names.CSM_PULSE not in present:
        return ()
    return tuple(
        PulseReading(
            str(page["id"]),
            page[names.ACCOUNT_ID] or "",
            page["name"],
            page[names.CSM_PULSE],
            page[names.CSM_PULSE_NOTE] or "" if names.CSM_PULSE_NOTE in present else None,
            page.get("last_edited_by") or "",
            _time(page.get("last_edited_time")),
        )
        for page in pages
    )


async def read_pulses(
    connection: duckdb.DuckDBPyConnection,
    adapter: NotionCSMAdapter,
    readings: Sequence[PulseReading],
    read_at: datetime,
) -> PulsesRead:
    """Record the pulses that changed on pages since the last read; ``read_at`` is the time of the read.

    The people of the workspace are only read if a page changed whose editor is not known.
    """
    at = read_at.astimezone(UTC).replace(tzinfo=None)
    changes, unplaced, rejected = _compare(connection, readings)
    if not changes:
        return PulsesRead(unplaced=unplaced, rejected=tuple(rejected))
    authors = await _authors(connection, adapter, {one.reading.editor for one in changes} - {""})
    recorded: list[PulseChange] = []
    outdated = 0
    for one in changes:
        before = active_pulse(connection, one.account_id, at.date())
        author = authors.get(one.reading.editor)
        if one.pulse is not None and _is_outdated(connection, one):
            outdated += 1
        elif one.pulse is not None or (before and before["origin"] == NOTION):
            recorded.append(
                PulseChange(one.account_id, at.date(), one.pulse, one.note, author=author, origin=NOTION),
            )
    with transaction(connection):
        _store(connection, changes, at)
        record(connection, recorded, at)
    cleared = sum(one.pulse is None for one in recorded)
    return PulsesRead(len(recorded) - cleared, cleared, outdated, unplaced, tuple(rejected))


def _compare(
    connection: duckdb.DuckDBPyConnection, readings: Sequence[PulseReading]
) -> tuple[list[_Change], int, list[str]]:
    """The pages that changed, the number of unplaced pages with a pulse, and a sentence for each invalid value."""
    accounts = known_accounts(connection)
    pages_of = Counter(one.account_id for one in readings)
    stored: dict[str, tuple[int | None, str]] = {
        page_id: (pulse, note or "")
        for page_id, pulse, note in connection.execute(f"select page_id, pulse, note from {PULSE_READINGS}").fetchall()
    }
    changes: list[_Change] = []
    rejected: list[str] = []
    unplaced = 0
    for one in readings:
        pulse_before, note_before = stored.get(one.page_id, (None, ""))
        if one.value is None and pulse_before is None:
            continue
        account_id = accounts.get(one.account_id)
        pulse = None if one.value is None else pulse_of(one.value)
        # A note without a pulse says nothing about the account.
        note = "" if pulse is None else note_before if one.note is None else " ".join(one.note.split())[:MAX_NOTE]
        if account_id is None or pages_of[one.account_id] > 1:
            unplaced += 1
        elif one.value is not None and pulse is None:
            rejected.append(
                f"{names.CSM_PULSE} {shown(one.value)} of {one.name or account_id} ({account_id}) is not a whole "
                "number from 1 to 5 and was not read; correct it on the page"
            )
        elif (pulse, note) != (pulse_before, note_before):
            changes.append(_Change(one, account_id, pulse, note))
    return changes, unplaced, rejected


def _is_outdated(connection: duckdb.DuckDBPyConnection, change: _Change) -> bool:
    """Whether a command set or cleared the pulse after the page was last edited: the newest judgement counts."""
    edited_at = change.reading.edited_at
    if edited_at is None:
        return False
    row = connection.execute(
        f"select max(recorded_at) from {PULSES} where account_id = ? and origin = ?", [change.account_id, COMMAND]
    ).fetchone()
    return bool(row and row[0] and row[0] >= edited_at + _MINUTE)


async def _authors(
    connection: duckdb.DuckDBPyConnection, adapter: NotionCSMAdapter, editors: set[str]
) -> dict[str, str]:
    """The e-mail addresses of editors by id, without integrations and people that cannot be read."""
    known = {
        str(user_id): str(email)
        for email, user_id in connection.execute(
            "select email, user_id from sync.notion_users where user_id is not null"
        ).fetchall()
    }
    if editors - known.keys():
        try:
            people = await adapter.read_users()
        except RequestRejected:
            # The integration may not read users: the author stays unknown.
            return known
        known |= {user_id: email for email, user_id in people.items()}
    return known


def _store(connection: duckdb.DuckDBPyConnection, changes: Sequence[_Change], at: datetime) -> None:
    for one in changes:
        connection.execute(f"delete from {PULSE_READINGS} where page_id = ?", [one.reading.page_id])
        connection.execute(
            f"insert into {PULSE_READINGS} (page_id, account_id, pulse, note, read_at) values (?, ?, ?, ?, ?)",
            [one.reading.page_id, one.account_id, one.pulse, one.note or None, at],
        )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None) if text else None
