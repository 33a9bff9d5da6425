"""Reads the input of a backtest from the published copy or the warehouse: one query for all columns of observations."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np

from csm_core.analysts.backtest.churned_spells import read_green_churn, read_lead_times
from csm_core.analysts.backtest.observation_rows import (
    CENSORED,
    CHURNED,
    DEAD_ZONE,
    OBSERVATIONS,
    STAYED,
    Scope,
    create_observations,
)
from csm_core.analysts.backtest.observations import BacktestInput, Observations
from csm_core.analysts.backtest.options import BacktestOptions
from csm_core.analysts.backtest.pulse_coverage import PULSE, SCORE_WITH_PULSE
from csm_core.rubric import CHURN_RISKS, CHURN_RULES, RAGS, SIGNAL_NAMES
from csm_core.thresholds import THRESHOLDS, Thresholds

if TYPE_CHECKING:
    from numpy.typing import NDArray

BASELINES = (
    "days_to_renewal",
    "usage_trend",
    "invoice_payment_status",
    "mrr_change_90d",
    "score_without_renewal_and_payment",
    PULSE,
    SCORE_WITH_PULSE,
)
"""Other measures that the score is compared with: columns of the observations, lower for a higher expected risk."""


def read_backtest(connection: duckdb.DuckDBPyConnection, options: BacktestOptions) -> BacktestInput:
    """Read what the figures of a backtest are computed from. The connection may be read-only.

    Raises InputError if there is nothing to read (see ``create_observations``).
    """
    return read_input(connection, create_observations(connection, options))


def read_input(connection: duckdb.DuckDBPyConnection, scope: Scope) -> BacktestInput:
    """Read the input of a backtest from the temporary table that ``create_observations`` wrote."""
    excluded = dict(
        connection.execute(f"select outcome, count(*) from {OBSERVATIONS} group by outcome order by outcome").fetchall()
    )
    return BacktestInput(
        first_date=scope.first,
        last_date=scope.last,
        every=scope.options.every,
        lead_days=scope.options.lead_days,
        horizon_days=scope.options.horizon_days,
        basis=scope.basis,
        observations=_observations(connection),
        dead_zone=excluded.get(DEAD_ZONE, 0),
        censored=excluded.get(CENSORED, 0),
        lead_times=read_lead_times(connection, scope),
        green_churn=read_green_churn(connection),
        thresholds=_thresholds(connection),
    )


def _observations(connection: duckdb.DuckDBPyConnection) -> Observations:
    known = f"outcome in ('{CHURNED}', '{STAYED}')"
    dates: list[tuple[date]] = connection.execute(
        f"select distinct as_of_date from {OBSERVATIONS} where {known} order by as_of_date"
    ).fetchall()
    accounts: list[tuple[str, str]] = connection.execute(
        f"select distinct tenant_id, account_id from {OBSERVATIONS} where {known} order by tenant_id, account_id"
    ).fetchall()
    columns = _columns(connection, known)
    return Observations(
        day=columns["day"],
        account=columns["account"],
        churned=columns["churned"],
        score=columns["score"],
        rag=columns["rag"],
        churn_risk=columns["churn_risk"],
        should_alert=columns["should_alert"],
        behavioural=columns["behavioural"],
        mrr=columns["mrr"],
        points={name: columns[f"{name}_points"] for name in SIGNAL_NAMES},
        baselines=_baselines(columns),
        dates=tuple(day for (day,) in dates),
        accounts=tuple(accounts),
    )


def _baselines(columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
    """The baselines in their order. Without any pulse, there is no score to compare with pulses."""
    without = (SCORE_WITH_PULSE,) if np.isnan(columns[PULSE]).all() else ()
    return {name: columns[name] for name in BASELINES if name not in without}


def _columns(connection: duckdb.DuckDBPyConnection, known: str) -> dict[str, NDArray[Any]]:
    numbers = ["mrr", *(f"{name}_points" for name in SIGNAL_NAMES), *BASELINES]
    behavioural = ", ".join(f"'{rule.called}'" for rule in CHURN_RULES if rule.behavioural)
    sql = f"""
with known as (
    select
        *,
        dense_rank() over (order by as_of_date) - 1 as day,
        dense_rank() over (order by tenant_id, account_id) - 1 as account
    from {OBSERVATIONS}
    where {known}
)

select
    day::bigint as day,
    account::bigint as account,
    outcome = '{CHURNED}' as churned,
    score::double as score,
    {_place_sql("rag", tuple(reversed(RAGS)))} as rag,
    {_place_sql("churn_risk_level", CHURN_RISKS)} as churn_risk,
    should_alert,
    coalesce(churn_triggered_by in ({behavioural}), false) as behavioural,
    {", ".join(f"coalesce({name}::double, 'nan'::double) as {name}" for name in numbers)}
from known
order by day, account, spell
"""
    found = connection.execute(sql).fetchnumpy()
    return {name: np.ascontiguousarray(np.asarray(values)) for name, values in found.items()}


def _place_sql(column: str, levels: tuple[str, ...]) -> str:
    whens = " ".join(f"when '{level}' then {place}" for place, level in enumerate(levels))
    return f"(case {column} {whens} end)::tinyint"


def _thresholds(connection: duckdb.DuckDBPyConnection) -> Thresholds:
    """The thresholds of most accounts of the last date; of equally many, the lowest."""
    names = ", ".join(THRESHOLDS)
    row = connection.execute(
        f"select {names} from {OBSERVATIONS} where as_of_date = (select max(as_of_date) from {OBSERVATIONS}) "
        f"group by {names} order by count(*) desc, {names} limit 1"
    ).fetchone()
    return Thresholds(**dict(zip(THRESHOLDS, row, strict=True))) if row else Thresholds()
