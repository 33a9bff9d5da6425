"""Rehearses alerts on past days: what the rules would have sent if each day had been the newest one. Sends nothing.

The days are evaluated by the same functions as live ones, in temporary tables that begin empty. Silences of today are
not applied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb

from csm_core.errors import InputError
from csm_core.publishing.alerts import ledger
from csm_core.publishing.alerts.digest import Digest
from csm_core.publishing.alerts.digests_of_day import digests_of
from csm_core.publishing.alerts.states import days_to_evaluate, evaluate_day, load_conditions, take_due
from csm_core.publishing.alerts.tables import rehearsal_tables
from csm_core.system.terminal import printable
from csm_core.system.text_table import counted, text_table
from csm_core.warehouse.alert_settings import AlertSettings
from csm_core.warehouse.catalog import columns_of

OUTCOMES = "marts.csm_outcomes"


@dataclass(frozen=True)
class OwnerWeek:
    """The digests and alerts of an owner on a route in a week, which begins on a Monday.

    ``accounts`` counts the different accounts; ``churned`` those of them that churned later, None if it is unknown.
    """

    week: date
    route: str
    owner: str
    digests: int
    alerts: int
    resolved: int
    accounts: int
    churned: int | None


@dataclass(frozen=True)
class Rehearsal:
    """The digests that the rules would have sent on the scored days of a range."""

    days: Sequence[date]
    digests: Sequence[Digest]
    weeks: Sequence[OwnerWeek]

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "from": self.days[0].isoformat(),
            "to": self.days[-1].isoformat(),
            "scored_days": len(self.days),
            "digests": len(self.digests),
            "weeks": [
                {
                    "week": one.week.isoformat(),
                    "route": one.route,
                    "owner": one.owner or None,
                    "digests": one.digests,
                    "alerts": one.alerts,
                    "resolved": one.resolved,
                    "accounts": one.accounts,
                    "churned": one.churned,
                    "churned_share": None if one.churned is None else one.churned / one.accounts if one.accounts else 0,
                }
                for one in self.weeks
            ],
        }

    def lines(self) -> list[str]:
        """The rehearsal as a table."""
        rows = [["week", "route", "owner", "digests", "alerts", "resolved", "accounts", "churned later"]]
        rows += [
            [
                str(one.week),
                one.route,
                printable(one.owner or "(no owner)", 40),
                *(f"{count:,}" for count in (one.digests, one.alerts, one.resolved, one.accounts)),
                "unknown" if one.churned is None else f"{one.churned:,}",
            ]
            for one in self.weeks
        ]
        total = f"{counted(len(self.digests), 'digest')} on {counted(len(self.days), 'scored day')}; nothing was sent"
        return [*text_table(rows, right=range(3, 8)), total]


def rehearse(connection: duckdb.DuckDBPyConnection, settings: AlertSettings, first: date, last: date) -> Rehearsal:
    """Evaluate the scored days from ``first`` to ``last``. Raises InputError without one."""
    if last < first:
        message = f"--from {first} is after --to {last}"
        raise InputError(message)
    tables = rehearsal_tables(connection)
    days = days_to_evaluate(connection, tables, first, last)
    if not days:
        message = f"no day from {first} to {last} is complete; choose days that `csm run` has scored"
        raise InputError(message)
    load_conditions(connection, settings.active_rules, days[0], days[-1])
    now = datetime.now(UTC).replace(tzinfo=None)
    for day in days:
        evaluate_day(connection, tables, day, now)
        due = take_due(connection, tables, day)
        ledger.add(connection, tables, digests_of(connection, settings, day, due, now))
    digests = ledger.load(connection, tables=tables)
    alerted = {line.account_id for digest in digests for line in digest.alerts}
    return Rehearsal(days, digests, _weeks(digests, churn_days(connection, alerted)))


def churn_days(connection: duckdb.DuckDBPyConnection, accounts: set[str]) -> Mapping[str, date] | None:
    """Return the last day on which each of the accounts churned, from ``marts.csm_outcomes``; None without the table.

    An account that returned and left again has several rows: the last end counts.
    """
    if not {"account_id", "outcome", "ended_on"} <= set(columns_of(connection, OUTCOMES)):
        return None
    rows = connection.execute(
        f"select account_id, max(ended_on) from {OUTCOMES} "
        "where outcome = 'churned' and list_contains($accounts, account_id) group by account_id",
        {"accounts": sorted(accounts)},
    ).fetchall()
    return dict(rows)


def _weeks(digests: Sequence[Digest], churned: Mapping[str, date] | None) -> list[OwnerWeek]:
    groups: dict[tuple[date, str, str], list[Digest]] = {}
    for digest in digests:
        monday = digest.day - timedelta(days=digest.day.weekday())
        groups.setdefault((monday, digest.route, digest.owner), []).append(digest)
    return [
        OwnerWeek(
            week=week,
            route=route,
            owner=owner,
            digests=len(of_week),
            alerts=sum(len(digest.alerts) for digest in of_week),
            resolved=sum(len(digest.resolved) for digest in of_week),
            accounts=len(accounts := {line.account_id for digest in of_week for line in digest.alerts}),
            churned=None if churned is None else sum(churned.get(one, week) > week for one in accounts),
        )
        for (week, route, owner), of_week in sorted(groups.items())
    ]
