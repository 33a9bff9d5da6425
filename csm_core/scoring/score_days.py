"""Scores the days of a run inside the warehouse: marts.csm_health_signals and the policies become csm_health_scores.

The expressions are the vectorised scorer's; this module only decides which thresholds apply to which account and day.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import duckdb

from csm_core.config import Config, Policy
from csm_core.errors import SignalError
from csm_core.scoring.sql import ENUM, Written, refusal_sql, scoring_sql
from csm_core.thresholds import THRESHOLDS
from csm_core.warehouse.database import ModelResult, build_table, table_exists, transaction
from csm_core.warehouse.models import SqlModel

KEYS = ("tenant_id", "account_id", "as_of_date")


def score_days(
    connection: duckdb.DuckDBPyConnection, model: SqlModel, config: Config, days: tuple[date, date]
) -> ModelResult:
    """Replace the given days of ``marts.csm_health_scores``. Raises SignalError if a signal row is out of contract."""
    store_policies(connection, config.policies)
    span: dict[str, Any] = {"first_date": days[0], "last_date": days[1]}
    signals = "(select * from marts.csm_health_signals where as_of_date between $first_date and $last_date)"
    refused = connection.execute(f"{refusal_sql(signals, KEYS)} order by {', '.join(KEYS)} limit 1", span).fetchone()
    if refused:
        tenant, account, day, field, value = refused
        message = (
            f"marts.csm_health_signals holds a row outside the scorer's contract: account {account!r} of tenant "
            f"{tenant!r} on {day}: {field} is {value}"
        )
        raise SignalError(message)
    parameters = {"config_hash": config.config_hash, "scored_at": datetime.now(UTC).replace(tzinfo=None)}
    return build_table(connection, model, scores_sql(), parameters, days)


def other_configurations(
    connection: duckdb.DuckDBPyConnection, config: Config, days: tuple[date, date]
) -> list[tuple[str, int]]:
    """Configurations, by hash, other than this one that the days are scored under as yet, and how many days each."""
    if not table_exists(connection, "marts.csm_health_scores"):
        return []
    return connection.execute(
        "select config_hash, count(distinct as_of_date) from marts.csm_health_scores "
        "where as_of_date between ? and ? and config_hash <> ? group by config_hash order by config_hash",
        [*days, config.config_hash],
    ).fetchall()


def scores_sql(written: Written = ENUM) -> str:
    """The SELECT that fills ``marts.csm_health_scores`` for the days between $first_date and $last_date.

    The levels are DuckDB enumerations unless ``written`` is ``TEXT``, with which the same SELECT runs on Spark.
    """
    keys = (*KEYS, *THRESHOLDS)
    scored = scoring_sql(
        f"({_SIGNALS_WITH_POLICY})",
        green="green_threshold",
        amber="amber_threshold",
        churn_window_days="churn_window_days",
        keys=keys,
        written=written,
    )
    return f"""
        with scored as ({scored})
        select scored.* exclude ({", ".join(THRESHOLDS)}), {", ".join(f"scored.{name}" for name in THRESHOLDS)},
            $config_hash as config_hash, cast($scored_at as timestamp) as scored_at
        from scored
        order by as_of_date, tenant_id, account_id
    """


def store_policies(connection: duckdb.DuckDBPyConnection, policies: Sequence[Policy]) -> None:
    """Put the policies into ``run.policies``, by precedence; the defaults of scoring.md close the list.

    The first that matches in the order of the file wins; of several with the same tenant and segment the one with the
    latest ``from`` that has come: a change of thresholds is a further entry, and the past keeps its own.
    """
    ordered = ranked(policies)
    with transaction(connection):
        connection.execute(
            "create or replace table run.policies (precedence integer, tenant varchar, segment varchar, "
            "from_date date, green_threshold double, amber_threshold double, churn_window_days bigint)"
        )
        connection.executemany(
            "insert into run.policies values (?, ?, ?, ?, ?, ?, ?)",
            [
                [
                    precedence,
                    policy.tenant,
                    policy.segment,
                    policy.from_date,
                    policy.green_threshold,
                    policy.amber_threshold,
                    policy.churn_window_days,
                ]
                for precedence, policy in enumerate(ordered)
            ],
        )


def ranked(policies: Sequence[Policy]) -> list[Policy]:
    """The policies in order of precedence, the defaults last."""
    place: dict[tuple[str | None, str | None], int] = {}
    for position, policy in enumerate(policies):
        place.setdefault((policy.tenant, policy.segment), position)
    ordered = sorted(
        policies,
        key=lambda policy: (place[policy.tenant, policy.segment], -(policy.from_date or date.min).toordinal()),
    )
    return [*ordered, Policy()]


_SIGNALS_WITH_POLICY = """
    select signals.*, policies.green_threshold, policies.amber_threshold, policies.churn_window_days
    from marts.csm_health_signals as signals
    inner join (
        select account_days.account_id, account_days.as_of_date, min(policies.precedence) as precedence
        from intermediate.int_account_days as account_days
        inner join run.policies as policies
            on (policies.tenant is null or policies.tenant = account_days.tenant_id)
            and (policies.segment is null or policies.segment = account_days.segment)
            and (policies.from_date is null or policies.from_date <= account_days.as_of_date)
        where account_days.as_of_date between $first_date and $last_date
        group by account_days.account_id, account_days.as_of_date
    ) as applied
        on signals.account_id = applied.account_id and signals.as_of_date = applied.as_of_date
    inner join run.policies as policies on applied.precedence = policies.precedence
    where signals.as_of_date between $first_date and $last_date
"""
