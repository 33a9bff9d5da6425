"""Reads the spells with an observation that churned: the alerts before their end, and those last observed as GREEN."""

from __future__ import annotations

from typing import Any

import duckdb

from csm_core.analysts.backtest.observation_rows import CHURNED, OBSERVATIONS, SCORES, Scope
from csm_core.analysts.backtest.observations import GreenChurn, LeadTime
from csm_core.rubric import RUBRIC

MISLEADING_SIGNALS = 3


def read_lead_times(connection: duckdb.DuckDBPyConnection, scope: Scope) -> tuple[LeadTime, ...]:
    """Return the lead time of each spell with an observation that churned, by end, tenant and account.

    It counts from the start of the last run of alerting days, which a scored day without an alert interrupts, to the
    end of the spell. All scored days of the spell count, not only those of the grid.
    """
    sql = f"""
with spells as (
    select distinct tenant_id, account_id, spell, ended_on
    from {OBSERVATIONS}
    where outcome = '{CHURNED}'
),

scored_days as (
    select
        spells.account_id,
        spells.spell,
        scores.as_of_date,
        scores.should_alert,
        max(scores.as_of_date) filter (where scores.should_alert)
            over (partition by spells.account_id, spells.spell) as last_alert
    from spells
    inner join marts.csm_outcomes as outcomes
        on spells.account_id = outcomes.account_id and spells.spell = outcomes.spell
    inner join {SCORES} as scores
        on spells.account_id = scores.account_id
        and scores.as_of_date < spells.ended_on
        and (outcomes.started_on is null or scores.as_of_date >= outcomes.started_on)
    where {scope.within(connection, "scores")}
),

interruptions as (
    select
        account_id,
        spell,
        max(as_of_date) as last_quiet_day
    from scored_days
    where not should_alert and as_of_date < last_alert
    group by account_id, spell
),

run_starts as (
    select
        scored_days.account_id,
        scored_days.spell,
        min(scored_days.as_of_date) as first_alert
    from scored_days
    left join interruptions
        on scored_days.account_id = interruptions.account_id and scored_days.spell = interruptions.spell
    where
        scored_days.should_alert
        and (interruptions.last_quiet_day is null or scored_days.as_of_date > interruptions.last_quiet_day)
    group by scored_days.account_id, scored_days.spell
)

select
    spells.tenant_id,
    spells.account_id,
    spells.ended_on,
    date_diff('day', run_starts.first_alert, spells.ended_on) as days
from spells
left join run_starts
    on spells.account_id = run_starts.account_id and spells.spell = run_starts.spell
order by spells.ended_on, spells.tenant_id, spells.account_id, spells.spell
"""
    return tuple(LeadTime(*row) for row in connection.execute(sql).fetchall())


def read_green_churn(connection: duckdb.DuckDBPyConnection) -> tuple[GreenChurn, ...]:
    """Return the spells whose last observation that churned was GREEN, by end, tenant and account."""
    points = ", ".join(f"{signal.name}_points" for signal in RUBRIC)
    sql = f"""
with last_observations as (
    select *
    from {OBSERVATIONS}
    where outcome = '{CHURNED}'
    qualify row_number() over (partition by account_id, spell order by as_of_date desc) = 1
)

select
    tenant_id,
    account_id,
    coalesce(account_name, account_id) as account_name,
    as_of_date,
    ended_on,
    score,
    mrr,
    currency,
    {points}
from last_observations
where rag = 'GREEN'
order by ended_on, tenant_id, account_id, spell
"""
    return tuple(_green_churn(row) for row in connection.execute(sql).fetchall())


def _green_churn(row: tuple[Any, ...]) -> GreenChurn:
    *described, points = (*row[: -len(RUBRIC)], row[-len(RUBRIC) :])
    return GreenChurn(*described, misleading=_misleading(points))


def _misleading(points: tuple[float, ...]) -> tuple[str, ...]:
    """The signals with the largest share of their weight; of equal shares, those with the largest weight."""
    ranked = sorted(
        (
            (-value / signal.weight, -signal.weight, place)
            for place, (signal, value) in enumerate(zip(RUBRIC, points, strict=True))
        ),
    )
    return tuple(RUBRIC[place].name for *_, place in ranked[:MISLEADING_SIGNALS])
