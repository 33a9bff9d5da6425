"""The facts of accounts in digests: owner, score, the change in a week, the two signals behind it, and the page."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import duckdb

from csm_core.display_names import SIGNALS
from csm_core.publishing.internal_notes import NEXT_STEPS
from csm_core.publishing.portfolio import COMPARED_DAYS
from csm_core.rubric import SIGNAL_NAMES
from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.day_status import counted_sql
from csm_core.warehouse.rows import fetch_dicts

_LOOK_BACK = 28
# A smaller change of points is not a reason.
_LEAST_POINTS = 0.5


@dataclass(frozen=True)
class AccountFacts:
    """The facts of an account; empty texts where there is nothing to say."""

    account_name: str
    owner: str
    score: float | None = None
    rag: str | None = None
    change: str = ""
    reason: str = ""
    next_step: str = ""
    link: str = ""


def facts_of(connection: duckdb.DuckDBPyConnection, day: date, accounts: Collection[str]) -> dict[str, AccountFacts]:
    """Return the facts of accounts as of a day, by account."""
    wanted = {"day": day, "accounts": sorted(accounts)}
    names = fetch_dicts(
        connection,
        "select account_id, arg_max(account_name, as_of_date) as account_name, "
        "arg_max(struct_pack(owner := csm_owner), as_of_date).owner as owner from intermediate.int_account_days "
        "where as_of_date <= $day and list_contains($accounts, account_id) group by account_id",
        wanted,
    )
    row = connection.execute(
        "select max(as_of_date) from marts.csm_health_scores where as_of_date between $first and $last "
        f"and {counted_sql(connection)}",
        {"first": day - timedelta(days=_LOOK_BACK), "last": day - timedelta(days=COMPARED_DAYS)},
    ).fetchone()
    compared: date | None = row[0] if row else None
    scores, before = _scores(connection, day, wanted), _scores(connection, compared, wanted)
    signals = _signals(connection, wanted)
    links = _links(connection, wanted)
    found: dict[str, AccountFacts] = {}
    for one in names:
        account = one["account_id"]
        named: dict[str, Any] = {"account_name": one["account_name"] or account, "owner": one["owner"] or ""}
        now = scores.get(account)
        if now is None:
            found[account] = AccountFacts(**named, change="no customer any more", link=links.get(account, ""))
            continue
        weakest = _weakest(now, before.get(account), signals.get(account, {}))
        found[account] = AccountFacts(
            **named,
            score=now["score"],
            rag=now["rag"],
            change=_change(now, before.get(account), compared),
            reason="; ".join(_reason_text(name, lost, signals.get(account, {})) for name, lost in weakest),
            next_step=NEXT_STEPS[weakest[0][0]] if weakest else "",
            link=links.get(account, ""),
        )
    return found


def _scores(
    connection: duckdb.DuckDBPyConnection, day: date | None, wanted: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    points = ", ".join(f"{name}_points as {name}" for name in SIGNAL_NAMES)
    rows = fetch_dicts(
        connection,
        f"select account_id, score, cast(rag as varchar) as rag, {points} from marts.csm_health_scores "
        "where as_of_date = $day and list_contains($accounts, account_id)",
        {**wanted, "day": day},
    )
    return {row["account_id"]: row for row in rows}


def _signals(connection: duckdb.DuckDBPyConnection, wanted: Mapping[str, Any]) -> dict[str, dict[str, tuple[int, str]]]:
    """The weight and the fact of each signal, by account."""
    found: dict[str, dict[str, tuple[int, str]]] = {}
    for account, signal, weight, fact in connection.execute(
        "select account_id, signal, weight, coalesce(fact, '') from marts.csm_signal_points "
        "where as_of_date = $day and list_contains($accounts, account_id)",
        wanted,
    ).fetchall():
        found.setdefault(account, {})[signal] = (weight, fact)
    return found


def _links(connection: duckdb.DuckDBPyConnection, wanted: Mapping[str, Any]) -> dict[str, str]:
    """The page of each account in Notion that has a web address."""
    if not table_exists(connection, "sync.notion_pages"):
        return {}
    rows = connection.execute(
        "select account_id, url from sync.notion_pages where kind = 'health' and state <> 'trashed' "
        "and list_contains($accounts, account_id) and (starts_with(url, 'https://') or starts_with(url, 'http://'))",
        {"accounts": wanted["accounts"]},
    ).fetchall()
    return dict(rows)


def _change(now: Mapping[str, Any], before: Mapping[str, Any] | None, compared: date | None) -> str:
    text = f"{now['rag']}, score {now['score']:.1f}"
    if before is None:
        return text
    moved = now["score"] - before["score"]
    if abs(moved) >= 0.05:
        text += f", {abs(moved):.1f} {'lower' if moved < 0 else 'higher'} than on {compared}"
    return text if now["rag"] == before["rag"] else f"{text} (then {before['rag']})"


def _weakest(
    now: Mapping[str, Any], before: Mapping[str, Any] | None, signals: Mapping[str, tuple[int, str]]
) -> list[tuple[str, float]]:
    """The two signals that lost most points since the compared day, or else those that lack most points."""
    lost = {name: now[name] - before[name] for name in SIGNAL_NAMES} if before else {}
    lost = {name: points for name, points in lost.items() if points <= -_LEAST_POINTS}
    if not lost:
        lost = {name: now[name] - weight for name, (weight, _) in signals.items() if name in NEXT_STEPS}
        lost = {name: points for name, points in lost.items() if points <= -_LEAST_POINTS}
    return sorted(lost.items(), key=lambda one: (one[1], one[0]))[:2]


def _reason_text(name: str, lost: float, signals: Mapping[str, tuple[int, str]]) -> str:
    fact = signals.get(name, (0, ""))[1]
    return f"{SIGNALS[name]} {lost:+.1f}" + (f" ({fact})" if fact else "")
