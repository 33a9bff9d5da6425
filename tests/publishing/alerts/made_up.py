"""What the tests of alerts share: a warehouse with made-up scores."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta

import duckdb

from csm_core.rubric import FIELDS, SIGNAL_NAMES
from csm_core.warehouse.migrations import upgrade
from csm_core.warehouse.pulse_tables import add_pulses_to_built_tables

FIRST = date(2026, 6, 1)
NOW = datetime(2026, 7, 1, 7)  # noqa: DTZ001  # times in the warehouse are UTC without a zone
Score = tuple[str, date, float]
"""An account, a day and its score: below 50 is RED, below 70 AMBER."""


def day(number: int) -> date:
    """The day with this number; the first is 0."""
    return FIRST + timedelta(days=number)


def fill(connection: duckdb.DuckDBPyConnection, scores: Iterable[Score], names: dict[str, str] | None = None) -> None:
    """Replace the scores. Every account has the owner of its first letter, and loses its points by usage."""
    upgrade(connection)
    rows = list(scores)
    kinds = {"integer": "bigint", "rate": "double"}
    inputs = ", ".join(f"cast(null as {kinds.get(field.kind, 'varchar')}) as {field.name}" for field in FIELDS)
    points = ", ".join(
        f"cast({'score / 10' if name == 'usage_trend' else 1} as double) as {name}_points" for name in SIGNAL_NAMES
    )
    connection.execute("create or replace temp table given (account_id varchar, as_of_date date, score double)")
    if rows:
        connection.execute(
            "insert into given select unnest($a), unnest($d), unnest($s)",
            {"a": [row[0] for row in rows], "d": [row[1] for row in rows], "s": [row[2] for row in rows]},
        )
    connection.execute("create or replace temp table named (account_id varchar, account_name varchar)")
    for account, name in (names or {}).items():
        connection.execute("insert into named values (?, ?)", [account, name])
    day_of_account = "'t' as tenant_id, account_id, as_of_date"
    connection.execute(
        f"create or replace table marts.csm_health_scores as select {day_of_account}, score, score as raw_score, "
        "case when score < 50 then 'RED' when score < 70 then 'AMBER' else 'GREEN' end as rag, "
        "case when score < 20 then 'critical' else 'low' end as churn_risk_level, cast(null as varchar) as "
        f"churn_triggered_by, score < 50 as should_alert, {points}, 70.0 as green_threshold, 50.0 as amber_threshold, "
        "90 as churn_window_days, 'x' as config_hash, timestamp '2026-07-01' as scored_at from given"
    )
    add_pulses_to_built_tables(connection)
    connection.execute(
        f"create or replace table marts.csm_health_signals as select {day_of_account}, {inputs}, "
        "'' as missing_signals, 1.0 as signal_coverage from given"
    )
    connection.execute(
        f"create or replace table intermediate.int_account_days as select {day_of_account}, "
        "coalesce(account_name, 'Account ' || account_id) as account_name, "
        "cast(null as varchar) as segment, 'pro' as plan, left(account_id, 1) || '@example.com' as csm_owner "
        "from given left join named using (account_id)"
    )
    connection.execute(
        f"create or replace table intermediate.int_account_subscriptions as select {day_of_account}, 10 as seats, "
        "cast(100 as decimal(38, 2)) as mrr, 'EUR' as currency, cast(null as decimal(38, 2)) as mrr_reporting, "
        "cast(null as varchar) as reporting_currency, cast(null as date) as renewal_date from given"
    )
    connection.execute(
        f"create or replace table intermediate.int_account_interactions as select {day_of_account}, 1 as key_contacts "
        "from given"
    )
    connection.execute(
        "create or replace table intermediate.int_usage_daily_accounts as select account_id, as_of_date as usage_date "
        "from given where false"
    )
    connection.execute(
        f"create or replace table marts.csm_signal_points as select {day_of_account}, 'usage_trend' as signal, "
        "'declining' as value, score / 10 as points, cast(15 as bigint) as weight, '3 events' as fact from given"
    )
