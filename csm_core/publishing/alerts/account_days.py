"""The columns that conditions of alert rules may use, for each account and scored day, in a temporary table.

They are those of ``marts.csm_health_current``, which has only the newest day, and a few more. A condition on a past day
reads the values of that day.
"""

from __future__ import annotations

from datetime import date

import duckdb

from csm_core.rubric import FIELDS, SIGNAL_NAMES
from csm_core.warehouse.alert_conditions import ALERT_COLUMNS
from csm_core.warehouse.day_status import counted_sql

ACCOUNT_DAYS = "temp.alert_account_days"


def create_account_days(connection: duckdb.DuckDBPyConnection, first: date, last: date) -> None:
    """Create the table with the complete and accepted days from ``first`` to ``last``."""
    scored = {
        "tenant_id": "scores.tenant_id",
        "account_id": "scores.account_id",
        "as_of_date": "scores.as_of_date",
        "account_name": "account_days.account_name",
        "csm_owner": "account_days.csm_owner",
        "segment": "account_days.segment",
        "plan": "account_days.plan",
        "seats": "subscriptions.seats",
        "mrr": "subscriptions.mrr",
        "arr": "subscriptions.mrr * 12",
        "currency": "subscriptions.currency",
        "mrr_reporting": "subscriptions.mrr_reporting",
        "reporting_currency": "subscriptions.reporting_currency",
        "renewal_date": "subscriptions.renewal_date",
        "is_customer": "true",
        "previous_score": "previous.score",
        "previous_rag": "previous.rag",
        "score_change_28d": "scores.score - month_before.score",
        "score_change_7d": "scores.score - week_before.score",
        "days_without_usage": "date_diff('day', usage.usage_date, scores.as_of_date)",
        "key_contacts": "interactions.key_contacts",
        **{field.name: f"signals.{field.name}" for field in FIELDS},
        "missing_signals": "signals.missing_signals",
        "signal_coverage": "signals.signal_coverage",
        **{f"{name}_points": f"scores.{name}_points" for name in SIGNAL_NAMES},
        **{name: f"pulses.{name}" for name in ("pulse", "pulse_age_days", "pulse_note")},
        "disagrees": "disagreements.account_id is not null",
    }
    selected = ", ".join(
        f"cast({scored.get(name, f'scores.{name}')} as {kind}) as {name}" for name, kind in ALERT_COLUMNS.items()
    )
    counted = counted_sql(connection)
    connection.execute(
        f"""
        create or replace temp table {ACCOUNT_DAYS.removeprefix("temp.")} as
        with counted_scores as (
            select account_id, as_of_date, score, rag from marts.csm_health_scores where {counted}
        ),

        scores as (
            select * from marts.csm_health_scores where as_of_date between $first and $last and {counted}
        )

        select {selected}
        from scores
        inner join marts.csm_health_signals as signals
            on scores.account_id = signals.account_id and scores.as_of_date = signals.as_of_date
        inner join intermediate.int_account_days as account_days
            on scores.account_id = account_days.account_id and scores.as_of_date = account_days.as_of_date
        left join intermediate.int_account_subscriptions as subscriptions
            on scores.account_id = subscriptions.account_id and scores.as_of_date = subscriptions.as_of_date
        left join intermediate.int_account_interactions as interactions
            on scores.account_id = interactions.account_id and scores.as_of_date = interactions.as_of_date
        left join marts.csm_pulses_daily as pulses
            on scores.account_id = pulses.account_id and scores.as_of_date = pulses.as_of_date
        left join (select distinct account_id, as_of_date from marts.csm_disagreements) as disagreements
            on scores.account_id = disagreements.account_id and scores.as_of_date = disagreements.as_of_date
        left join counted_scores as month_before
            on scores.account_id = month_before.account_id and scores.as_of_date = month_before.as_of_date + 28
        left join counted_scores as week_before
            on scores.account_id = week_before.account_id and scores.as_of_date = week_before.as_of_date + 7
        asof left join counted_scores as previous
            on scores.account_id = previous.account_id and scores.as_of_date > previous.as_of_date
        asof left join intermediate.int_usage_daily_accounts as usage
            on scores.account_id = usage.account_id and scores.as_of_date >= usage.usage_date
        """,
        {"first": first, "last": last},
    )
