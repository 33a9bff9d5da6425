"""Silences: until a day, no digest has the alerts of an account. The states are evaluated as before."""

from __future__ import annotations

from datetime import date, datetime

import duckdb

from csm_core.errors import InputError
from csm_core.publishing.alerts.tables import LIVE

MAX_REASON = 500


def silence(
    connection: duckdb.DuckDBPyConnection, account: str, until: date, reason: str, user: str, now: datetime
) -> None:
    """Silence an account up to and including a day; a silence with an earlier day ends the current one.

    Raises InputError for an empty or long reason.
    """
    text = " ".join(reason.split())
    if not text or len(text) > MAX_REASON:
        message = f"--reason: expected a text of 1 to {MAX_REASON} characters; write why the account is silenced"
        raise InputError(message)
    connection.execute(f"delete from {LIVE.silences} where account_id = ? and until_date >= ?", [account, until])
    connection.execute(
        f"insert into {LIVE.silences} (account_id, until_date, reason, created_by, created_at) values (?, ?, ?, ?, ?)",
        [account, until, text, user, now],
    )
