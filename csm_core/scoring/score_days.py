"""Scores the days of a run in the warehouse: from marts.csm_health_signals and the policies to csm_health_scores.

The expressions are those of the vectorised scorer; this module only selects the thresholds for each account and day.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import date, datetime
from functools import cache
from typing import Any

import duckdb

from csm_core.config import Config, Policy
from csm_core.errors import SignalError
from csm_core.scoring.known_scores import (
    BASIS,
    KEYS,
    KNOWN,
    OUTCOME,
    SIGNALS,
    Versions,
    create_known_scores,
    same_sql,
    supersede_scores,
    time_of_knowledge,
)
from csm_core.scoring.sql import (
    ENUM,
    POINT_COLUMNS,
    RESULT_COLUMNS,
    TEXT,
    LiteralEncoding,
    invalid_rows_sql,
    scoring_sql,
)
from csm_core.thresholds import THRESHOLDS
from csm_core.warehouse.catalog import table_exists, transaction
from csm_core.warehouse.engine import Engine
from csm_core.warehouse.materialize import ModelResult
from csm_core.warehouse.models import SqlModel, load_models, version_of


def score_days(
    engine: Engine, model: SqlModel, config: Config, days: tuple[date, date], *, scored_at: datetime
) -> ModelResult:
    """Replace days of ``marts.csm_health_scores``; ``scored_at`` is a UTC time.

    Rows that differ from the previous ones are known from ``scored_at``; the previous ones are superseded. Raises
    SignalError for a row of signals outside the contract.
    """
    store_policies(engine.warehouse, config.policies)
    span: dict[str, Any] = {"first_date": days[0], "last_date": days[1]}
    signals = "(select * from marts.csm_health_signals where as_of_date between $first_date and $last_date)"
    invalid = engine.query(f"{invalid_rows_sql(signals, KEYS)} order by {', '.join(KEYS)} limit 1", span)
    if invalid:
        tenant, account, day, field, value = invalid[0]
        message = (
            f"marts.csm_health_signals has a row outside the scorer's contract: account {account!r} of tenant "
            f"{tenant!r} on {day}: {field} is {value}"
        )
        raise SignalError(message)
    create_known_scores(engine.warehouse)
    known_at = time_of_knowledge(engine.warehouse, days, scored_at)
    parameters = {
        "config_hash": config.config_hash,
        "scored_at": scored_at.replace(tzinfo=None),
        "known_at": known_at,
        "late_arrival_days": config.late_arrival_days,
    }
    versions = Versions(code_version(), parameters_hash(config))
    return engine.build(
        model,
        parameters,
        days,
        sql=scores_sql(),
        portable_sql=scores_sql(TEXT),
        around=supersede_scores(versions, known_at),
    )


@cache
def code_version() -> str:
    """Return a hash of the code of a score: the rubric as SQL, and the models behind the signals."""
    models = {model.table: model for layer in ("intermediate", "marts") for model in load_models(layer).values()}
    found: dict[str, str] = {}
    waiting = [SIGNALS]
    while waiting:
        table = waiting.pop()
        if table in models and table not in found:
            found[table] = models[table].version
            waiting += models[table].dependencies
    return version_of(scores_sql(), json.dumps(found, sort_keys=True))


def parameters_hash(config: Config) -> str:
    """Return a hash of the parameters of the models, such as the windows of the signals."""
    parameters = json.dumps(config.sql_parameters(), sort_keys=True, default=str)
    return hashlib.sha256(parameters.encode()).hexdigest()[:16]


def other_configurations(
    connection: duckdb.DuckDBPyConnection, config: Config, days: tuple[date, date]
) -> list[tuple[str, int]]:
    """Return other configurations, by hash, with which the days were scored, and the number of days of each."""
    if not table_exists(connection, "marts.csm_health_scores"):
        return []
    return connection.execute(
        "select config_hash, count(distinct as_of_date) from marts.csm_health_scores "
        "where as_of_date between ? and ? and config_hash <> ? group by config_hash order by config_hash",
        [*days, config.config_hash],
    ).fetchall()


def scores_sql(encoding: LiteralEncoding = ENUM) -> str:
    """The SELECT that fills ``marts.csm_health_scores`` for the days between $first_date and $last_date.

    The levels are DuckDB enumerations. With ``encoding=TEXT``, they are text and the SELECT also runs on Spark.
    """
    keys = (*KEYS, *THRESHOLDS)
    scored = scoring_sql(
        f"({_SIGNALS_WITH_POLICY})",
        green="green_threshold",
        amber="amber_threshold",
        churn_window_days="churn_window_days",
        keys=keys,
        encoding=encoding,
    )
    columns = (*KEYS, *RESULT_COLUMNS, *POINT_COLUMNS, *THRESHOLDS)
    return f"""
        with scored as ({scored}),

        -- An outcome that is known already stays known from the same time.
        dated as (
            select {", ".join(f"scored.{name}" for name in columns)},
                case
                    when known.account_id is not null and {same_sql(OUTCOME, "scored", "known")} then known.known_from
                    else cast($known_at as timestamp)
                end as known_from
            from scored
            left join {KNOWN} as known
                on scored.account_id = known.account_id and scored.as_of_date = known.as_of_date
        )

        select {", ".join(columns)},
            $config_hash as config_hash, cast($scored_at as timestamp) as scored_at, known_from,
            {BASIS} as basis
        from dated
        order by as_of_date, tenant_id, account_id
    """


def store_policies(connection: duckdb.DuckDBPyConnection, policies: Sequence[Policy]) -> None:
    """Replace ``run.policies`` with the policies by precedence, followed by the default policy.

    The first matching policy in the order of the file applies; of several with the same tenant and segment, the one
    with the latest ``from`` on or before the day. To change thresholds, add an entry: past days keep their thresholds.
    """
    ordered = by_precedence(policies)
    with transaction(connection):
        connection.execute("delete from run.policies")
        connection.executemany(
            "insert into run.policies (precedence, tenant, segment, from_date, green_threshold, amber_threshold, "
            "churn_window_days) values (?, ?, ?, ?, ?, ?, ?)",
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


def by_precedence(policies: Sequence[Policy]) -> list[Policy]:
    """Return the policies in order of precedence, the default policy last."""
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
