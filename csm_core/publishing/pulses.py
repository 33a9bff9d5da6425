"""Pulses: dated judgements of accounts by their owners, from 1 (very poor) to 5 (very good). They change no score.

Every change is a row of ``sync.pulses``: a pulse that was set, or a clearing. ``int_account_pulses`` decides when a
pulse ends; this module records changes, and lists pulses with the same SQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import duckdb

from csm_core.errors import InputError
from csm_core.system.text_table import counted
from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.late_changes import record_counted_changes
from csm_core.warehouse.models import load_models
from csm_core.warehouse.pulse_tables import PULSES
from csm_core.warehouse.rows import fetch_dicts

LOWEST, HIGHEST = 1, 5
DEFAULT_DAYS = 30
"""The days between the first and the last day of a pulse without a stated end."""
MAX_NOTE = 2_000
MAX_AUTHOR = 200
COMMAND, NOTION = "command", "notion"
_PULSES = {str(number): number for number in range(LOWEST, HIGHEST + 1)}
_ENTITY = PULSES.partition(".")[2]
_STATUSES = {"expired": "expired", "replaced": "replaced", "cleared": "cleared", "owner_changed": "owner changed"}
ACTIVE, FUTURE = "active", "not yet active"


@dataclass(frozen=True)
class PulseChange:
    """A pulse to record; without ``pulse``, the account's pulse is cleared on ``set_on``.

    ``until`` is the last day, by default ``DEFAULT_DAYS`` after ``set_on``. ``author`` is None if it is not known.
    """

    account_id: str
    set_on: date
    pulse: int | None
    note: str = ""
    until: date | None = None
    author: str | None = None
    origin: str = COMMAND

    @property
    def until_date(self) -> date | None:
        """The last day of the pulse; None for a clearing."""
        return None if self.pulse is None else self.until or self.set_on + timedelta(days=DEFAULT_DAYS)


def pulse_of(value: object) -> int | None:
    """The pulse that a number or a text states: 1 to 5; None for anything else."""
    return _PULSES.get(str(value).strip().removesuffix(".0"))


def checked_change(change: PulseChange, today: date) -> PulseChange:
    """Return a change of a user's command with its texts on one line.

    Raises InputError for a first day in the future, an end before the first day, a long note, or a missing or long
    author.
    """
    note, author = " ".join(change.note.split()), " ".join((change.author or "").split())
    if change.set_on > today:
        message = f"--on {change.set_on} is in the future: today is {today} (UTC); choose today or an earlier day"
        raise InputError(message)
    if change.until and change.until < change.set_on:
        what = "in the past" if change.set_on == today else "before the first day of the pulse"
        message = f"--until {change.until} is {what}; choose {change.set_on} or a later day"
        raise InputError(message)
    if len(note) > MAX_NOTE:
        message = f"--note: expected at most {counted(MAX_NOTE, 'character')}, not {len(note):,}; shorten the note"
        raise InputError(message)
    if not author or len(author) > MAX_AUTHOR:
        message = f"--author: expected a text of 1 to {MAX_AUTHOR} characters, such as ann@example.com"
        raise InputError(message)
    return PulseChange(change.account_id, change.set_on, change.pulse, note, change.until, author, change.origin)


def record(connection: duckdb.DuckDBPyConnection, changes: list[PulseChange], recorded_at: datetime) -> None:
    """Add changes to the history, and mark the materialised days that they touch as stale; in the caller's transaction.

    ``recorded_at`` is a UTC time without a zone.
    """
    days: dict[date, int] = {}
    for one in changes:
        connection.execute(
            f"insert into {PULSES} "
            "(pulse_id, account_id, set_on, pulse, note, until_date, author, origin, recorded_at) "
            f"select coalesce(max(pulse_id), 0) + 1, ?, ?, ?, ?, ?, ?, ?, ? from {PULSES}",
            [
                *(one.account_id, one.set_on, one.pulse, one.note or None, one.until_date, one.author),
                *(one.origin, recorded_at),
            ],
        )
        days[one.set_on] = days.get(one.set_on, 0) + 1
    record_counted_changes(connection, _ENTITY, days, recorded_at)


def active_pulse(connection: duckdb.DuckDBPyConnection, account_id: str, day: date) -> dict[str, Any] | None:
    """The pulse of an account that counts on a day; None without one."""
    found = fetch_dicts(
        connection,
        f"with pulses as ({_ended_pulses()}) select * from pulses "
        "where account_id = $account and set_on <= $day and ended_on > $day",
        {"account": account_id, "day": day},
    )
    return found[0] if found else None


def list_pulses(
    connection: duckdb.DuckDBPyConnection, day: date, *, owner: str | None = None, every: bool = False
) -> list[dict[str, Any]]:
    """The pulses that count on a day, with ``every`` also the ended ones; the lowest first, then the oldest.

    Names and owners are those of the newest scored day of each account; ``owner`` selects the accounts of one owner,
    regardless of case.
    """
    names = "select cast(null as varchar) as account_id, null as account_name, null as csm_owner where false"
    if table_exists(connection, "marts.csm_health_last"):
        names = "select account_id, account_name, csm_owner from marts.csm_health_last"
    rows = fetch_dicts(
        connection,
        f"""
        with pulses as ({_ended_pulses()}), names as ({names})
        select pulses.*, names.account_name, names.csm_owner
        from pulses left join names using (account_id)
        where ($every or (set_on <= $day and ended_on > $day))
            and ($owner is null or lower(csm_owner) = lower($owner))
        order by set_on <= $day and ended_on > $day desc, pulse, set_on, pulse_id
        """,
        {"day": day, "owner": owner, "every": every},
    )
    return [_listed(row, day) for row in rows]


def _ended_pulses() -> str:
    return load_models("intermediate")["int_account_pulses"].sql


def _listed(row: dict[str, Any], day: date) -> dict[str, Any]:
    if row["set_on"] > day:
        status = FUTURE
    elif row["ended_on"] > day:
        status = ACTIVE
    else:
        status = _STATUSES[row["ended_by"]]
    return {
        "account_id": row["account_id"],
        "account_name": row["account_name"],
        "csm_owner": row["csm_owner"],
        "pulse": row["pulse"],
        "note": row["note"],
        "author": row["author"],
        "origin": row["origin"],
        "set_on": row["set_on"],
        "until": row["until_date"],
        "age_days": (day - row["set_on"]).days,
        "status": status,
        "ended_on": None if row["ended_on"] > day else row["ended_on"],
    }
