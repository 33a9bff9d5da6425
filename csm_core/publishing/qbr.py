"""Business reviews of a day: the rows of the marts, and the health of the account in words.

``customer_review`` has the texts for the customer, ``internal_notes`` those for the own team. Each statement comes from
a column of the marts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import duckdb

from csm_core.config import RoiMetric
from csm_core.display_names import SIGNALS
from csm_core.publishing import opportunity_status
from csm_core.publishing.customer_review import (
    Figure,
    comparison,
    figures_of,
    is_compared,
    joint_steps,
    overview_of,
    scorecard_of,
    summary_of,
)
from csm_core.publishing.internal_notes import common_integrations, notes_of, weak_signals
from csm_core.publishing.roi_metrics import feature_usage, roi_figures
from csm_core.schemas import QBRContent
from csm_core.system.text_table import counted
from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.rows import fetch_dicts

NO_METRICS: Mapping[str, RoiMetric] = {}


@dataclass(frozen=True)
class QBRRecord:
    """A review with its account."""

    content: QBRContent
    account_name: str
    tenant_id: str


def load_qbrs(
    connection: duckdb.DuckDBPyConnection,
    day: date,
    trigger: str | None = None,
    *,
    roi: Mapping[str, RoiMetric] = NO_METRICS,
) -> list[QBRRecord]:
    """All reviews of the partition ``day``, or only those of one trigger, ordered by key.

    ``roi`` are the configured metrics.
    """
    if not table_exists(connection, "marts.csm_qbr"):
        return []
    rows = fetch_dicts(
        connection,
        "select reviews.*, scores.churn_risk_level, scores.churn_triggered_by from marts.csm_qbr as reviews "
        "left join marts.csm_health_scores as scores on reviews.account_id = scores.account_id "
        "and reviews.health_end_date = scores.as_of_date "
        "where reviews.as_of_date = $day and ($trigger is null or reviews.trigger = $trigger) "
        "order by reviews.tenant_id, reviews.account_id, reviews.period, reviews.trigger",
        {"day": day, "trigger": trigger},
    )
    scorecards = _scorecards(connection, day)
    opportunities = _opportunities(connection, day)
    without_data = _signals_without_data(connection, day)
    usage = feature_usage(connection, day, roi)
    return [
        QBRRecord(
            compose(
                row,
                scorecards.get((row["account_id"], row["period"]), []),
                opportunities[row["account_id"]],
                without_data.get((row["account_id"], row["health_end_date"]), frozenset()),
                roi_figures(roi, usage.get((row["account_id"], row["period"]), {}), compared=is_compared(row)),
            ),
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
    row: Mapping[str, Any],
    scorecard: Sequence[Mapping[str, Any]],
    opportunities: Sequence[Mapping[str, Any]],
    without_data: Collection[str] = (),
    configured: Sequence[Figure] = (),
) -> QBRContent:
    """Compose a review from a row of ``marts.csm_qbr`` and the account's adoption rows and opportunities.

    ``without_data`` are the signals without data at the end of the period, ``configured`` the figures of the setting
    ``roi``.
    """
    figures = figures_of(row, configured)
    metrics = {figure.name: figure.sentence() for figure in figures}
    if row["seats"]:
        metrics["Seats"] = f"{row['seats']:,}"
    return QBRContent(
        account_id=row["account_id"],
        period=row["period"],
        health_summary=summary_of(row),
        overview=overview_of(row),
        roi_metrics=metrics,
        usage_comparison=comparison(figures),
        feature_adoption_scorecard=scorecard_of(scorecard),
        expansion_next_steps=tuple(joint_steps(weak_signals(row), without_data, common_integrations(scorecard))),
        internal_notes=tuple(notes_of(row, _health_summary(row), without_data, scorecard, opportunities)),
        trigger=row["trigger"],
        generated_at=datetime.combine(row["as_of_date"], time.max, UTC).replace(microsecond=0),
        health_rag=row["rag_end"],
    )


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
        select latest.period, adoption.account_id, adoption.feature, adoption.display_name,
            adoption.module, adoption.adopted,
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


def _signals_without_data(connection: duckdb.DuckDBPyConnection, day: date) -> dict[tuple[str, date], frozenset[str]]:
    """The signals without data at the end of the health of each review, by account and day."""
    if not table_exists(connection, "marts.csm_health_signals"):
        return {}
    rows = connection.execute(
        """
        select distinct signals.account_id, signals.as_of_date, signals.missing_signals
        from marts.csm_qbr as reviews
        inner join marts.csm_health_signals as signals
            on reviews.account_id = signals.account_id and reviews.health_end_date = signals.as_of_date
        where reviews.as_of_date = ? and signals.missing_signals <> ''
        """,
        [day],
    ).fetchall()
    return {(account_id, as_of_date): frozenset(names.split(",")) for account_id, as_of_date, names in rows}


def _opportunities(connection: duckdb.DuckDBPyConnection, day: date) -> dict[str, list[dict[str, Any]]]:
    """The opportunities of the day by account, without those that users closed by then."""
    opportunities: dict[str, list[dict[str, Any]]] = defaultdict(list)
    if table_exists(connection, "marts.csm_expansion_opportunities"):
        closed = opportunity_status.closed_on(connection, day)
        for row in fetch_dicts(
            connection,
            "select account_id, opportunity_type, subject, recommended_talk_track, evidence "
            "from marts.csm_expansion_opportunities where as_of_date = ? order by account_id, "
            "case confidence when 'high' then 1 when 'medium' then 2 else 3 end, opportunity_type, subject",
            [day],
        ):
            if (row["account_id"], row["opportunity_type"], row["subject"]) not in closed:
                opportunities[row["account_id"]].append(row)
    return opportunities
