"""Business reviews of a day: text and figures from mart rows, two or three sentences per section.

Each statement comes from a column of the marts.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import duckdb

from csm_core.display_names import SIGNALS
from csm_core.schemas import QBRContent
from csm_core.system.text_table import counted
from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.rows import fetch_dicts


@dataclass(frozen=True)
class QBRRecord:
    """A review with its account."""

    content: QBRContent
    account_name: str
    tenant_id: str


NEXT_STEPS: dict[str, str] = {
    "feature_adoption_rate": "Choose two unused features of the plan and schedule a short training session for each.",
    "usage_trend": "Ask the main users what changed and agree on one use case to restart.",
    "login_frequency_days": "Identify who should use the product every week and what prevents it.",
    "days_since_last_interaction": "Schedule a regular check-in.",
    "invoice_payment_status": "Resolve the open invoices with their finance team.",
    "support_sentiment": "Review the open tickets and the tickets with negative sentiment with the support team.",
    "days_to_renewal": "Start the renewal conversation and send the terms and dates in writing.",
    "seats_utilization_rate": "Compare seats with active users and adjust the seat count.",
    "stakeholder_engagement": "Engage an executive sponsor and two more contacts.",
    "nps_score": "Call the respondents with the lowest scores and close the loop with them.",
    "escalation_count_90_days": "Review the escalated tickets and agree on measures to prevent further escalations.",
}
"""The next step for each weak signal."""

# An integration is a next step where at least this share of the tenant's accounts with it in their plan uses it.
_COMMON_RATE = 0.5
_MOST_INTEGRATIONS = 2


def load_qbrs(connection: duckdb.DuckDBPyConnection, day: date, trigger: str | None = None) -> list[QBRRecord]:
    """All reviews of the partition ``day``, or only those of one trigger, ordered by key."""
    if not table_exists(connection, "marts.csm_qbr"):
        return []
    rows = fetch_dicts(
        connection,
        "select * from marts.csm_qbr where as_of_date = $day and ($trigger is null or trigger = $trigger) "
        "order by tenant_id, account_id, period, trigger",
        {"day": day, "trigger": trigger},
    )
    scorecards = _scorecards(connection, day)
    opportunities = _opportunities(connection, day)
    return [
        QBRRecord(
            compose(row, scorecards.get((row["account_id"], row["period"]), []), opportunities[row["account_id"]]),
            row["account_name"],
            row["tenant_id"],
        )
        for row in rows
    ]


def review_days(connection: duckdb.DuckDBPyConnection, first: date, last: date) -> list[date]:
    """The days of a range on which reviews were due."""
    if not table_exists(connection, "marts.csm_qbr"):
        return []
    return [
        day
        for (day,) in connection.execute(
            "select distinct as_of_date from marts.csm_qbr where as_of_date between ? and ? order by 1", [first, last]
        ).fetchall()
    ]


def compose(
    row: Mapping[str, Any], scorecard: Sequence[Mapping[str, Any]], opportunities: Sequence[Mapping[str, Any]]
) -> QBRContent:
    """Compose a review from a row of ``marts.csm_qbr`` and the account's adoption rows and opportunities."""
    return QBRContent(
        account_id=row["account_id"],
        period=row["period"],
        health_summary=_health_summary(row),
        roi_metrics=_roi_metrics(row),
        feature_adoption_scorecard={entry["feature"]: _scorecard_entry(entry) for entry in scorecard},
        expansion_next_steps=tuple(_next_steps(row, scorecard, opportunities)),
        trigger=row["trigger"],
        generated_at=datetime.combine(row["as_of_date"], time.max, UTC).replace(microsecond=0),
        health_rag=row["rag_end"],
    )


def _scorecard_entry(entry: Mapping[str, Any]) -> dict[str, str]:
    rate = entry["portfolio_adoption_rate"]
    others = {} if rate is None else {"in use at": f"{100 * rate:.0f} % of customers"}
    window = "the adoption window" if entry["window_days"] is None else f"{entry['window_days']} days"
    if not entry["adopted"]:
        return {"not used": f"in {window}", **others}
    count, events = entry["users_in_window"], entry["events_in_window"]
    users = f" by {count:,} user{'' if count == 1 else 's'}" if count else ""
    times = "once" if events == 1 else f"{events:,} times"
    return {"used": f"{times}{users} in {window}", **others}


def _health_summary(row: Mapping[str, Any]) -> str:
    if row["score_end"] is None:
        return f"The account was not scored between {row['period_start']} and {row['period_end']}."
    start, end = row["score_start"], row["score_end"]
    change = end - start
    if row["health_start_date"] == row["health_end_date"]:
        opening = (
            f"The health score is {end:.1f} ({row['rag_end']}); the account was first scored on "
            f"{row['health_end_date']}."
        )
    elif abs(change) < 0.05:
        opening = (
            f"The health score stayed at {end:.1f} ({row['rag_end']}) from {row['health_start_date']} to "
            f"{row['health_end_date']}."
        )
    else:
        verb = "rose" if change > 0 else "fell"
        opening = (
            f"The health score {verb} from {start:.1f} ({row['rag_start']}) to {end:.1f} ({row['rag_end']}), "
            f"{abs(change):.1f} points between {row['health_start_date']} and {row['health_end_date']}."
        )
    sentences = [opening]
    if row["rag_path"] and "→" in row["rag_path"]:
        sentences.append(
            f"Band changes: {row['rag_path']}; scores between {row['lowest_score']:.1f} and {row['highest_score']:.1f}."
        )
    up, down = _movers(row, "up"), _movers(row, "down")
    if up:
        sentences.append(f"Largest gains: {up}.")
    if down:
        sentences.append(f"Largest losses: {down}.")
    if row["days_to_renewal"] is not None and row["trigger"] == "contract_proximity":
        sentences.append(f"The contract renews on {row['renewal_date']}, in {counted(row['days_to_renewal'], 'day')}.")
    return " ".join(sentences)


def _movers(row: Mapping[str, Any], direction: str) -> str:
    parts = [
        f"{SIGNALS[row[f'{direction}_signal_{place}']]} ({row[f'{direction}_points_{place}']:+.1f})"
        for place in (1, 2)
        if row[f"{direction}_signal_{place}"]
    ]
    return " and ".join(parts)


def _roi_metrics(row: Mapping[str, Any]) -> dict[str, str]:
    metrics: dict[str, str] = {}
    # Events without a user id: zero active users does not mean zero usage.
    if row["active_users"] or row["active_users_previous"] or not row["events"]:
        metrics["Active users"] = _against(row["active_users"], row["active_users_previous"])
    metrics |= {
        "Events": _against(row["events"], row["events_previous"]),
        "Features used": _against(row["adopted_features"], row["adopted_features_previous"]),
        "Tickets solved": _against(row["tickets_solved"], row["tickets_solved_previous"]),
    }
    hours, before = row["median_hours_to_solve"], row["median_hours_to_solve_previous"]
    if hours is not None:
        compared = f" (previous period: {before:.1f})" if before is not None else ""
        metrics["Median hours to solve a ticket"] = f"{hours:.1f}{compared}"
    if row["mrr"] is not None:
        metrics["Monthly recurring revenue"] = f"{row['mrr']:,.2f} {row['currency'] or ''}".strip()
    if row["seats"]:
        metrics["Seats"] = f"{row['seats']:,}"
    return metrics


def _against(now: int, before: int) -> str:
    if not before:
        return f"{now:,} (previous period: 0)" if now else "none"
    if now == before:
        return f"{now:,} (previous period: the same)"
    change = 100 * (now - before) / before
    return f"{now:,} (previous period: {before:,}, {change:+.0f} %)"


def _next_steps(
    row: Mapping[str, Any], scorecard: Sequence[Mapping[str, Any]], opportunities: Sequence[Mapping[str, Any]]
) -> list[str]:
    steps = [f"{one['recommended_talk_track']} {one['evidence']}" for one in opportunities[:5]]
    weak = [row[f"weak_signal_{place}"] for place in (1, 2, 3) if row[f"weak_signal_{place}"]]
    return steps + _unused_integrations(scorecard) + [NEXT_STEPS[signal] for signal in weak]


def _unused_integrations(scorecard: Sequence[Mapping[str, Any]]) -> list[str]:
    """A step for each of the most used integrations that the account has in its plan and does not use."""
    unused = [
        entry
        for entry in scorecard
        if entry["module"] == "integrations"
        and not entry["adopted"]
        and (entry["portfolio_adoption_rate"] or 0) >= _COMMON_RATE
    ]
    return [
        f"Offer help with the setup of {entry['feature']}: it is in the plan and not used, and "
        f"{math.floor(100 * entry['portfolio_adoption_rate'])} % of customers with it in their plan use it."
        for entry in unused[:_MOST_INTEGRATIONS]
    ]


def _scorecards(connection: duckdb.DuckDBPyConnection, day: date) -> dict[tuple[str, str], list[dict[str, Any]]]:
    # The adoption on the last materialised day of the period; a review is due on that day or on the next. Used features
    # come first, ordered by events; unused features follow, ordered by adoption in the portfolio.
    rows = fetch_dicts(
        connection,
        """
        with latest as (
            select reviews.account_id, reviews.period, max(adoption.as_of_date) as as_of_date
            from (select distinct account_id, period, period_end from marts.csm_qbr where as_of_date = $day) as reviews
            inner join marts.csm_feature_adoption as adoption
                on reviews.account_id = adoption.account_id and adoption.as_of_date <= reviews.period_end
                and adoption.as_of_date >= reviews.period_end - 28
            group by reviews.account_id, reviews.period
        )
        select latest.period, adoption.account_id, adoption.feature, adoption.module, adoption.adopted,
            adoption.window_days, adoption.users_in_window, adoption.events_in_window, adoption.portfolio_adoption_rate
        from latest
        inner join marts.csm_feature_adoption as adoption
            on latest.account_id = adoption.account_id and latest.as_of_date = adoption.as_of_date
        where adoption.in_plan
        order by adoption.account_id, adoption.adopted desc, adoption.events_in_window desc,
            adoption.portfolio_adoption_rate desc nulls last, adoption.feature
        """,
        {"day": day},
    )
    scorecards: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        scorecards[row["account_id"], row["period"]].append(row)
    return scorecards


def _opportunities(connection: duckdb.DuckDBPyConnection, day: date) -> dict[str, list[dict[str, Any]]]:
    opportunities: dict[str, list[dict[str, Any]]] = defaultdict(list)
    if table_exists(connection, "marts.csm_expansion_opportunities"):
        for row in fetch_dicts(
            connection,
            "select account_id, recommended_talk_track, evidence from marts.csm_expansion_opportunities "
            "where as_of_date = ? order by account_id, "
            "case confidence when 'high' then 1 when 'medium' then 2 else 3 end, opportunity_type, subject",
            [day],
        ):
            opportunities[row["account_id"]].append(row)
    return opportunities
