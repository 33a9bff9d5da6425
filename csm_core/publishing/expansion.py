"""Loads the expansion opportunities of a day from the marts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import duckdb

from csm_core.schemas import ExpansionOpportunity
from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.rows import fetch_dicts


@dataclass(frozen=True)
class OpportunityRecord:
    """An opportunity with its account; ``currency`` is the currency of the estimate, None if there is no estimate."""

    opportunity: ExpansionOpportunity
    account_name: str
    tenant_id: str
    currency: str | None


def load_opportunities(connection: duckdb.DuckDBPyConnection, day: date) -> list[OpportunityRecord]:
    """All opportunities of the partition ``day``, ordered by key."""
    if not table_exists(connection, "marts.csm_expansion_opportunities"):
        return []
    rows = fetch_dicts(
        connection,
        "select opportunities.*, account_days.account_name from marts.csm_expansion_opportunities as opportunities "
        "inner join intermediate.int_account_days as account_days "
        "on opportunities.account_id = account_days.account_id "
        "and opportunities.as_of_date = account_days.as_of_date where opportunities.as_of_date = ? "
        "order by opportunities.tenant_id, opportunities.account_id, opportunity_type, subject",
        [day],
    )
    return [_record(row) for row in rows]


def _record(row: dict[str, Any]) -> OpportunityRecord:
    return OpportunityRecord(
        opportunity=ExpansionOpportunity(
            account_id=row["account_id"],
            opportunity_type=row["opportunity_type"],
            subject=row["subject"],
            evidence=row["evidence"],
            estimated_arr_impact=row["estimated_arr_impact"],
            recommended_talk_track=row["recommended_talk_track"],
            confidence=row["confidence"],
            # The end of the partition's day: a run of the same day creates the same record.
            created_at=datetime.combine(row["as_of_date"], time.max, UTC).replace(microsecond=0),
        ),
        account_name=row["account_name"],
        tenant_id=row["tenant_id"],
        currency=row["currency"],
    )
