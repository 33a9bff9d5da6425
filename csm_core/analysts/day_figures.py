"""The figures of each scored day: accounts, mean score, bands, alerts and MRR at risk."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb

# The figures of csm_portfolio_daily for all tenants and segments, before that mart is built. account_id is unique.
_FIGURES = """
    with scored as (
        select
            scores.as_of_date,
            scores.score,
            scores.rag,
            scores.should_alert,
            scores.churn_risk_level in ('high', 'critical') as is_at_risk,
            subscriptions.mrr,
            subscriptions.currency
        from marts.csm_health_scores as scores
        left join intermediate.int_account_subscriptions as subscriptions
            on scores.account_id = subscriptions.account_id
            and scores.as_of_date = subscriptions.as_of_date
            and subscriptions.as_of_date between $first_date and $last_date
        where scores.as_of_date between $first_date and $last_date
    ),
    billed as (
        select as_of_date, currency, count(*) as accounts
        from scored
        where mrr is not null and currency is not null
        group by as_of_date, currency
    ),
    leading_currency as (
        select as_of_date, currency
        from billed
        qualify row_number() over (partition by as_of_date order by accounts desc, currency) = 1
    )
    select
        scored.as_of_date,
        count(*),
        avg(scored.score),
        count(*) filter (where scored.rag = 'RED'),
        count(*) filter (where scored.rag = 'AMBER'),
        count(*) filter (where scored.rag = 'GREEN'),
        count(*) filter (where scored.should_alert),
        coalesce(
            cast(sum(scored.mrr) filter (where scored.is_at_risk and scored.currency = leading_currency.currency)
                as double),
            0
        ),
        leading_currency.currency,
        count(*) filter (
            where scored.is_at_risk and scored.mrr is not null
            and scored.currency is distinct from leading_currency.currency
        )
    from scored
    left join leading_currency on scored.as_of_date = leading_currency.as_of_date
    group by scored.as_of_date, leading_currency.currency
"""


@dataclass(frozen=True)
class DayFigures:
    """The figures of a scored day.

    ``mrr_at_risk`` is the MRR of accounts with high or critical churn risk, in the most common billing currency (the
    alphabetically first if several are equally common; None if no account is billed). At-risk accounts with another
    currency are counted.
    """

    accounts: int
    mean_score: float
    red_accounts: int
    amber_accounts: int
    green_accounts: int
    alerts: int
    mrr_at_risk: float
    currency: str | None
    at_risk_in_other_currencies: int


def day_figures(connection: duckdb.DuckDBPyConnection, days: tuple[date, date]) -> dict[date, DayFigures]:
    """The figures of each scored day in the range ``days`` (inclusive). Days without scores are omitted."""
    rows: list[Any] = connection.execute(_FIGURES, {"first_date": days[0], "last_date": days[1]}).fetchall()
    return {day: DayFigures(*figures) for day, *figures in rows}
