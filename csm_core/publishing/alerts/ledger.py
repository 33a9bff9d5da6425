"""The ledger of digests: each intent is recorded before anything is sent, and each outcome after it.

Every method commits before it returns, except ``add``, which belongs into the transaction that evaluates a day.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import duckdb

from csm_core.publishing.alerts.digest import (
    DATA_PROBLEM,
    FAILED,
    INTENDED,
    POSSIBLY_SENT,
    SENDING,
    Digest,
    Line,
)
from csm_core.publishing.alerts.tables import LIVE, AlertTables
from csm_core.redaction import without_secrets

INTERRUPTED = "the run ended while the digest was being sent; check whether the receiver has it"


def add(connection: duckdb.DuckDBPyConnection, tables: AlertTables, digests: Sequence[Digest]) -> None:
    """Record digests that are to be sent; a digest that is recorded already is left as it is."""
    known = {one for (one,) in connection.execute(f"select digest_id from {tables.digests}").fetchall()}
    for digest in digests:
        if digest.digest_id in known:
            continue
        connection.execute(
            f"insert into {tables.digests} (digest_id, route, owner, as_of_date, kind, failed_checks, status, "
            "attempts, intended_at) values (?, ?, ?, ?, ?, ?, ?, 0, ?)",
            [
                *(digest.digest_id, digest.route, digest.owner, digest.day, digest.kind),
                *(",".join(digest.failed_checks), INTENDED, digest.intended_at),
            ],
        )
        if not digest.lines:
            continue
        connection.execute(
            f"insert into {tables.lines} (digest_id, position, account_id, account_name, kind, rules, severity, "
            "score, rag, change_text, reason, next_step, link) select $digest, unnest($positions), "
            "unnest($accounts), unnest($names), unnest($kinds), unnest($rules), unnest($severities), unnest($scores), "
            "unnest($rags), unnest($changes), "
            "unnest($reasons), unnest($steps), unnest($links)",
            {
                "digest": digest.digest_id,
                "positions": list(range(1, len(digest.lines) + 1)),
                "accounts": [line.account_id for line in digest.lines],
                "names": [line.account_name for line in digest.lines],
                "kinds": [line.kind for line in digest.lines],
                "rules": [",".join(line.rules) for line in digest.lines],
                "severities": [line.severity for line in digest.lines],
                "scores": [line.score for line in digest.lines],
                "rags": [line.rag for line in digest.lines],
                "changes": [line.change for line in digest.lines],
                "reasons": [line.reason for line in digest.lines],
                "steps": [line.next_step for line in digest.lines],
                "links": [line.link for line in digest.lines],
            },
        )


def load(
    connection: duckdb.DuckDBPyConnection,
    *,
    statuses: Sequence[str] = (),
    kinds: Sequence[str] = (),
    since: date | None = None,
    day: date | None = None,
    tables: AlertTables = LIVE,
) -> list[Digest]:
    """Return digests in the order of their days, with all lines; empty filters include every status and kind."""
    rows: list[Any] = connection.execute(
        f"""
        select digests.digest_id, digests.route, digests.owner, digests.as_of_date, digests.kind, digests.intended_at,
            digests.failed_checks, coalesce(days_status.message, ''), digests.status, digests.attempts, digests.error
        from {tables.digests} as digests
        left join run.days_status
            on digests.kind = '{DATA_PROBLEM}' and digests.as_of_date = days_status.as_of_date
        where (len($statuses) = 0 or list_contains($statuses, digests.status))
            and (len($kinds) = 0 or list_contains($kinds, digests.kind))
            and digests.as_of_date >= coalesce($since, digests.as_of_date)
            and digests.as_of_date = coalesce($day, digests.as_of_date)
        order by digests.as_of_date, digests.kind, digests.route, digests.owner
        """,
        {"statuses": list(statuses), "kinds": list(kinds), "since": since, "day": day},
    ).fetchall()
    lines = _lines(connection, tables, [row[0] for row in rows])
    return [
        Digest(
            digest_id=row[0],
            route=row[1],
            owner=row[2],
            day=row[3],
            kind=row[4],
            intended_at=row[5],
            lines=lines.get(row[0], []),
            failed_checks=tuple(filter(None, row[6].split(","))),
            found=row[7],
            status=row[8],
            attempts=row[9],
            error=row[10],
        )
        for row in rows
    ]


def _lines(connection: duckdb.DuckDBPyConnection, tables: AlertTables, digests: Sequence[str]) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = {}
    if not digests:
        return found
    rows: list[Any] = connection.execute(
        "select digest_id, account_id, coalesce(account_name, ''), kind, rules, severity, score, rag, "
        "coalesce(change_text, ''), coalesce(reason, ''), coalesce(next_step, ''), coalesce(link, '') "
        f"from {tables.lines} where list_contains($digests, digest_id) order by digest_id, position",
        {"digests": list(digests)},
    ).fetchall()
    for digest, account, name, kind, rules, *rest in rows:
        found.setdefault(digest, []).append(Line(account, name, kind, tuple(rules.split(",")), *rest))
    return found


def recover(connection: duckdb.DuckDBPyConnection, repeatable_routes: Sequence[str], now: datetime) -> int:
    """Close the digests that a killed run was sending: the receiver may have them. Returns their number.

    Sending again is safe on ``repeatable_routes``, such as a file, so their digests are intended again.
    """
    connection.execute(
        "update sync.alert_digests set status = $intended where status = $sending and list_contains($routes, route)",
        {"intended": INTENDED, "sending": SENDING, "routes": list(repeatable_routes)},
    )
    closed = connection.execute(
        "update sync.alert_digests set status = $possibly, error = $error, ended_at = $now where status = $sending "
        "returning digest_id",
        {"possibly": POSSIBLY_SENT, "error": INTERRUPTED, "now": now, "sending": SENDING},
    ).fetchall()
    return len(closed)


def begin(connection: duckdb.DuckDBPyConnection, digest: str, now: datetime) -> None:
    """Record that a digest is about to be sent: from now on the receiver may have it."""
    connection.execute(
        "update sync.alert_digests set status = ?, attempts = attempts + 1, sent_at = ?, ended_at = null, error = null "
        "where digest_id = ?",
        [SENDING, now, digest],
    )


def end(connection: duckdb.DuckDBPyConnection, digest: str, status: str, error: str | None, now: datetime) -> None:
    """Record the outcome of a digest. The error never contains an address."""
    reason = None if error is None else without_secrets(error)
    connection.execute(
        "update sync.alert_digests set status = ?, error = ?, ended_at = ? where digest_id = ?",
        [status, reason, now, digest],
    )


def expire(connection: duckdb.DuckDBPyConnection, before: date, now: datetime) -> None:
    """Close the digests of days before ``before`` that were never sent: their news is too old."""
    connection.execute(
        "update sync.alert_digests set status = $failed, error = coalesce(error, 'it was not sent in time'), "
        "ended_at = $now where status = $intended and as_of_date < $before",
        {"failed": FAILED, "now": now, "intended": INTENDED, "before": before},
    )


def newest_day(connection: duckdb.DuckDBPyConnection) -> date | None:
    """Return the last day with digests; None without one."""
    row = connection.execute(f"select max(as_of_date) from {LIVE.digests}").fetchone()
    return row[0] if row else None
