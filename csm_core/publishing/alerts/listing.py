"""The open alerts as data and as text, for ``csm alerts list``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb

from csm_core.publishing.alerts.tables import LIVE, RESOLVED
from csm_core.system.terminal import printable
from csm_core.system.text_table import counted, text_table
from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.rows import fetch_dicts


def open_alerts(
    connection: duckdb.DuckDBPyConnection, owner: str | None = None, *, every: bool = False
) -> list[dict[str, Any]]:
    """Return the pending and firing alerts, with ``every`` also the resolved ones; the severe ones first."""
    if not table_exists(connection, "intermediate.int_account_days"):
        return []
    return fetch_dicts(
        connection,
        f"""
        with newest as (
            select account_id, arg_max(account_name, as_of_date) as account_name,
                arg_max(struct_pack(owner := csm_owner), as_of_date).owner as owner
            from intermediate.int_account_days
            where account_id in (select account_id from {LIVE.states})
            group by account_id
        ),

        silences as (
            select account_id, max(until_date) as silenced_until
            from {LIVE.silences}
            where until_date >= coalesce((select max(as_of_date) from {LIVE.days}), until_date)
            group by account_id
        )

        select states.rule, states.severity, states.state, states.since, states.account_id, newest.account_name,
            newest.owner, states.notified_on, silences.silenced_until
        from {LIVE.states} as states
        left join newest using (account_id)
        left join silences using (account_id)
        where ($every or states.state <> '{RESOLVED}')
            and ($owner is null or lower(newest.owner) = lower($owner))
        order by list_position(['critical', 'high', 'medium', 'low'], states.severity), states.since, states.account_id,
            states.rule
        """,
        {"every": every, "owner": owner},
    )


def list_lines(alerts: Sequence[dict[str, Any]]) -> list[str]:
    """The alerts as a table."""
    if not alerts:
        return ["no alert is open"]
    rows = [
        [
            one["severity"],
            one["state"],
            str(one["since"]),
            one["rule"],
            printable(f"{one['account_name'] or ''} ({one['account_id']})", 60),
            printable(one["owner"] or "", 40),
            f"silenced until {one['silenced_until']}" if one["silenced_until"] else "",
        ]
        for one in alerts
    ]
    return [*text_table(rows), counted(len(alerts), "alert")]
