"""Loads the target pages of a day from the marts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import duckdb

from csm_core.config import RoiMetric
from csm_core.publishing import expansion, qbr
from csm_core.publishing.notion.account_details import load_details
from csm_core.publishing.notion.databases import EXPANSION, HEALTH, QBR
from csm_core.publishing.notion.target_pages import (
    TargetPage,
    account_page,
    opportunity_page,
    review_page,
)
from csm_core.rubric import SIGNAL_NAMES
from csm_core.schemas import CSMHealthScore
from csm_core.warehouse.rows import fetch_dicts

# The place of the internal notes of a review: a toggle at the end of its page, a page of their own, or none.
TOGGLE, NOTES_PAGE, NO_NOTES = "toggle", "page", "none"


def load(
    connection: duckdb.DuckDBPyConnection,
    day: date,
    kinds: Sequence[str],
    *,
    qbr_internal: str = TOGGLE,
    roi: Mapping[str, RoiMetric] = qbr.NO_METRICS,
) -> dict[str, list[TargetPage]]:
    """The target pages of a day by kind, with one query per kind, and one for the details of account pages.

    Health records depend on those already published (``health_records``). ``qbr_internal`` is the place of the internal
    notes of reviews (the setting ``notion.qbr_internal``), and ``roi`` are their configured metrics.
    """
    pages: dict[str, list[TargetPage]] = {kind: [] for kind in kinds}
    if HEALTH in kinds:
        details = load_details(connection, day)
        for score, name in _scores(connection, day):
            more = details.get(score.account_id)
            pages[HEALTH].append(account_page(score.account_id, name, score.score, score.rag, day, more))
    if QBR in kinds:
        pages[QBR] = [
            review_page(
                one.content if qbr_internal == TOGGLE else one.content.model_copy(update={"internal_notes": ()}),
                one.account_name,
                day,
                one.content.internal_notes if qbr_internal == NOTES_PAGE else (),
            )
            for one in qbr.load_qbrs(connection, day, roi=roi)
        ]
    if EXPANSION in kinds:
        pages[EXPANSION] = [
            opportunity_page(one.opportunity, one.account_name, day, currency=one.currency)
            for one in expansion.load_opportunities(connection, day)
        ]
    return pages


def _scores(connection: duckdb.DuckDBPyConnection, day: date) -> list[tuple[CSMHealthScore, str]]:
    rows = fetch_dicts(
        connection,
        "select scores.*, account_days.account_name from marts.csm_health_scores as scores "
        "inner join intermediate.int_account_days as account_days on scores.account_id = account_days.account_id "
        "and scores.as_of_date = account_days.as_of_date where scores.as_of_date = ? order by scores.account_id",
        [day],
    )
    return [
        (
            CSMHealthScore(
                account_id=row["account_id"],
                score=row["score"],
                raw_score=row["raw_score"],
                rag=row["rag"],
                churn_risk_level=row["churn_risk_level"],
                churn_triggered_by=row["churn_triggered_by"],
                signal_breakdown={name: row[f"{name}_points"] for name in SIGNAL_NAMES},
            ),
            row["account_name"],
        )
        for row in rows
    ]
