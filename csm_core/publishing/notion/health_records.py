"""Decides which accounts get a health record on a day, and makes its page.

A record is due when the settled band or churn risk differs from that of the last record, when there is none yet, and
when the score moved by ``MOVE_POINTS`` within ``MOVE_DAYS`` in the same band. The page shows the exact score and band.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import duckdb

from csm_core.publishing.notion import databases as names
from csm_core.publishing.notion.ledger import Page
from csm_core.publishing.notion.record_details import LastRecord, RecordDetails, Settled, SignalChange
from csm_core.publishing.notion.target_pages import (
    SETTLED_CHURN_RISK_LEVEL,
    SETTLED_RAG,
    TargetPage,
    account_of,
    key_of,
    record_page,
    shown_score,
)
from csm_core.rubric import CHURN_RISKS, RAGS, SIGNAL_NAMES
from csm_core.schemas import CSMHealthScore
from csm_core.system.text_table import counted
from csm_core.warehouse.catalog import columns_of, table_exists
from csm_core.warehouse.day_status import counted_sql
from csm_core.warehouse.rows import fetch_dicts

MOVE_POINTS = 10.0
MOVE_DAYS = 7

_SCORES = "marts.csm_health_scores"
_SETTLED = "marts.csm_settled_bands"
_POINTS = "marts.csm_signal_points"
_MOST_MOVED = 2
_DATES = ("rag_changed_on", "rag_settled_on", "risk_changed_on", "risk_settled_on")
_NO_LONGER = "The day was scored again after this record was written, and the change no longer applies."


@dataclass(frozen=True)
class _Due:
    """A row of ``_rows`` with the facts of the last record, None without one, and the reasons for a new one."""

    row: Mapping[str, Any]
    last: Mapping[str, Any] | None
    reasons: Sequence[str]


def load_due(
    connection: duckdb.DuckDBPyConnection, day: date, known: Mapping[str, Page]
) -> tuple[list[TargetPage], int]:
    """The health records of a day that are due or already exist, and the number of accounts without one.

    ``known`` are the pages of all records. The facts of all due records are read in one query.
    """
    before, newest = _last_records(known.values(), day)
    rows = _rows(connection, day)
    scores = _scores_of(connection, rows, before)
    due: list[_Due] = []
    for row in rows:
        key = key_of(row["account_id"], day.isoformat())
        last = before.get(account_of(key))
        reasons = _reasons(row, last, scores.get(row["account_id"]))
        if key in known or (reasons and newest.get(account_of(key), "") <= day.isoformat()):
            due.append(_Due(row, last, reasons))
    details = _details(connection, day, due, scores)
    pages = [
        record_page(
            _score(one.row),
            one.row["account_name"],
            day,
            details=stated,
        )
        for one, stated in zip(due, details, strict=True)
    ]
    return pages, len(rows) - len(due)


def _last_records(pages: Iterable[Page], day: date) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """The facts of the last record of each account before ``day``, and the day of its newest record."""
    before: dict[str, dict[str, Any]] = {}
    newest: dict[str, str] = {}
    for page in pages:
        account_id, on = account_of(page.key), page.facts.get(names.AS_OF_DATE) or ""
        newest[account_id] = max(on, newest.get(account_id, ""))
        if on < day.isoformat() and on >= before.get(account_id, {}).get(names.AS_OF_DATE, ""):
            before[account_id] = {**page.facts, names.AS_OF_DATE: on}
    return before, newest


def _rows(connection: duckdb.DuckDBPyConnection, day: date) -> list[dict[str, Any]]:
    """The health of each account, its settled band, and the latest days' score that differs most in the same band.

    A warehouse of an earlier version has no settled bands; the exact ones are used.
    """
    settled = (
        f"(select * from {_SETTLED} where as_of_date = $day)"
        if table_exists(connection, _SETTLED)
        else "(select null as account_id, null as settled_rag, null as settled_churn_risk_level, "
        f"{', '.join(f'null as {name}' for name in _DATES)} where false)"
    )
    columns = ("score", "raw_score", "rag", "churn_risk_level", "churn_triggered_by")
    points = [f"{name}_points" for name in SIGNAL_NAMES]
    return fetch_dicts(
        connection,
        f"""
        with today as (
            select account_id, {", ".join((*columns, *points))} from {_SCORES} where as_of_date = $day
        ),
        moves as (
            select today.account_id,
                arg_max(recent.as_of_date, (abs(today.score - recent.score), recent.as_of_date)) as moved_since,
                arg_max(recent.score, (abs(today.score - recent.score), recent.as_of_date)) as moved_from
            from today inner join {_SCORES} as recent on today.account_id = recent.account_id
                and today.rag = recent.rag
            where recent.as_of_date between $earliest and $day - 1
                and {counted_sql(connection, "recent.as_of_date")}
            group by today.account_id
        )
        select today.*, account_days.account_name, moves.moved_since, moves.moved_from,
            coalesce(settled.settled_rag, today.rag) as settled_rag,
            coalesce(settled.settled_churn_risk_level, today.churn_risk_level) as settled_churn_risk_level,
            {", ".join(f"settled.{name}" for name in _DATES)}
        from today
        inner join intermediate.int_account_days as account_days
            on today.account_id = account_days.account_id and account_days.as_of_date = $day
        left join moves on today.account_id = moves.account_id
        left join {settled} as settled on today.account_id = settled.account_id
        order by today.account_id
        """,
        {"day": day, "earliest": day - timedelta(days=MOVE_DAYS)},
    )


def _scores_of(
    connection: duckdb.DuckDBPyConnection, rows: Sequence[Mapping[str, Any]], before: Mapping[str, Mapping[str, Any]]
) -> dict[str, float]:
    """The score in the last record of each account; of a record of an earlier version, the score of its day."""
    scores: dict[str, float] = {}
    lacking: dict[str, date] = {}
    for row in rows:
        last = before.get(account_of(key_of(row["account_id"])))
        if last and last.get(names.SCORE) is not None:
            scores[row["account_id"]] = float(last[names.SCORE])
        elif on := _day_of(last):
            lacking[row["account_id"]] = on
    if lacking:
        found = connection.execute(
            f"select scores.account_id, scores.score from {_SCORES} as scores "
            "inner join "
            "(select unnest($accounts) as account_id, unnest(cast($days as date[])) as as_of_date) as wanted "
            "on scores.account_id = wanted.account_id and scores.as_of_date = wanted.as_of_date",
            {"accounts": list(lacking), "days": list(lacking.values())},
        ).fetchall()
        scores.update((account_id, shown_score(score)) for account_id, score in found)
    return scores


def _reasons(row: Mapping[str, Any], last: Mapping[str, Any] | None, last_score: float | None) -> list[str]:
    """Why a record is due, in sentences; none if it is not."""
    if last is None:
        return ["This is the account's first health record."]
    band = last.get(SETTLED_RAG) or last.get(names.RAG)
    risk = last.get(SETTLED_CHURN_RISK_LEVEL) or last.get(names.CHURN_RISK_LEVEL)
    reasons: list[str] = []
    if band != row[SETTLED_RAG]:
        dates = (row["rag_changed_on"], row["rag_settled_on"])
        reasons.append(_changed("The band", band, row[SETTLED_RAG], RAGS, dates, "a band"))
    if risk != row[SETTLED_CHURN_RISK_LEVEL]:
        dates = (row["risk_changed_on"], row["risk_settled_on"])
        reasons.append(_changed("The churn risk", risk, row[SETTLED_CHURN_RISK_LEVEL], CHURN_RISKS, dates, "a level"))
    if not reasons and row["moved_from"] is not None:
        score, moved_from = shown_score(row["score"]), shown_score(row["moved_from"])
        moved = round(score - moved_from, 2)
        is_new = last_score is None or abs(round(score - last_score, 2)) >= MOVE_POINTS
        if abs(moved) >= MOVE_POINTS and is_new:
            verb = "rose" if moved > 0 else "fell"
            reasons.append(f"The score {verb} by {abs(moved):.1f} points since {row['moved_since']}.")
    return reasons


def _changed(
    what: str,
    before: str | None,
    now: str,
    order: Sequence[str],
    dates: tuple[date | None, date | None],
    step: str,
) -> str:
    """A sentence about a settled change: from which value, on which day, and why it settled."""
    changed_on, settled_on = dates
    on = f" on {changed_on}" if changed_on else ""
    if now == CHURN_RISKS[-1]:
        return f"{what} became {now}{on}."
    change = f"{what} changed from {before or 'unknown'} to {now}{on}"
    if not changed_on or not settled_on:
        return f"{change}."
    if settled_on == changed_on and before in order and abs(order.index(before) - order.index(now)) > 1:
        return f"{change} and skipped {step}."
    return f"{change} and has lasted {counted((settled_on - changed_on).days + 1, 'day')}."


def _details(
    connection: duckdb.DuckDBPyConnection, day: date, due: Sequence[_Due], scores: Mapping[str, float]
) -> list[RecordDetails]:
    points = _points(connection, day, due)
    details: list[RecordDetails] = []
    for one in due:
        account_id = one.row["account_id"]
        now = points.get((account_id, day), {})
        last = _last_record(one.last, scores.get(account_id))
        then = points.get((account_id, last.day), {}) if last else {}
        changes = [
            SignalChange(name, then[name][0], one.row[f"{name}_points"], then[name][1], now.get(name, (0, None))[1])
            for name in SIGNAL_NAMES
            if name in then
        ]
        moved = sorted((change for change in changes if change.change), key=lambda change: -abs(change.change))
        details.append(
            RecordDetails(
                reason=" ".join(one.reasons) or _NO_LONGER,
                settled=_settled(one.row),
                last=last,
                moved=tuple(moved[:_MOST_MOVED]),
                facts={name: fact for name, (_, fact) in now.items() if fact},
            )
        )
    return details


def _points(
    connection: duckdb.DuckDBPyConnection, day: date, due: Sequence[_Due]
) -> dict[tuple[str, date], dict[str, tuple[float, str | None]]]:
    """Points and fact of each signal of the due accounts, on the day and on the day of the last record."""
    if not due or not table_exists(connection, _POINTS):
        return {}
    wanted = [(one.row["account_id"], day) for one in due]
    wanted += [(one.row["account_id"], on) for one in due if (on := _day_of(one.last))]
    # Days that an earlier version built have no facts.
    fact = "points.fact" if "fact" in columns_of(connection, _POINTS) else "cast(null as varchar)"
    rows = connection.execute(
        f"select points.account_id, points.as_of_date, points.signal, points.points, {fact} from {_POINTS} as points "
        "inner join (select unnest($accounts) as account_id, unnest(cast($days as date[])) as as_of_date) as wanted "
        "on points.account_id = wanted.account_id and points.as_of_date = wanted.as_of_date",
        {"accounts": [account_id for account_id, _ in wanted], "days": [on for _, on in wanted]},
    ).fetchall()
    found: dict[tuple[str, date], dict[str, tuple[float, str | None]]] = {}
    for account_id, on, signal, points, text in rows:
        found.setdefault((account_id, on), {})[signal] = (points, text)
    return found


def _last_record(facts: Mapping[str, Any] | None, score: float | None) -> LastRecord | None:
    day = _day_of(facts)
    if not facts or not day:
        return None
    return LastRecord(day, score, facts.get(names.RAG), facts.get(names.CHURN_RISK_LEVEL), _settled(facts))


def _settled(values: Mapping[str, Any]) -> Settled:
    return Settled(values.get(SETTLED_RAG), values.get(SETTLED_CHURN_RISK_LEVEL))


def _day_of(facts: Mapping[str, Any] | None) -> date | None:
    """The day of a record; None if its page has no valid date, which users can change."""
    try:
        return date.fromisoformat(str(facts[names.AS_OF_DATE])[:10]) if facts else None
    except ValueError:
        return None


def _score(row: Mapping[str, Any]) -> CSMHealthScore:
    return CSMHealthScore(
        account_id=row["account_id"],
        score=row["score"],
        raw_score=row["raw_score"],
        rag=row["rag"],
        churn_risk_level=row["churn_risk_level"],
        churn_triggered_by=row["churn_triggered_by"],
        signal_breakdown={name: row[f"{name}_points"] for name in SIGNAL_NAMES},
    )
