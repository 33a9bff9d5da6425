"""Evaluates the rules day by day: which alerts are pending, firing and resolved, and which are due for a message.

Each day is one set of SQL statements for all rules and accounts. The state after a day depends only on the state before
it and on the conditions of the day, so evaluating the same days again from the same state gives the same result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import duckdb

from csm_core.errors import InputError
from csm_core.publishing.alerts.account_days import ACCOUNT_DAYS, create_account_days
from csm_core.publishing.alerts.tables import FIRED, FIRING, PENDING, REMINDER, RESOLVED, AlertTables
from csm_core.warehouse.alert_settings import AlertRule
from csm_core.warehouse.day_status import counted_sql

_RULES, _TRUE, _NEXT = "temp.alert_rules", "temp.alert_conditions", "temp.alert_next_states"


@dataclass(frozen=True)
class DueAlert:
    """An alert that the digest of a day reports: fired, a reminder, or resolved."""

    rule: str
    severity: str
    account_id: str
    kind: str
    since: date


def days_to_evaluate(connection: duckdb.DuckDBPyConnection, tables: AlertTables, first: date, last: date) -> list[date]:
    """Return the scored days after the last evaluated one, up to ``last``; without one, those since ``first``.

    A day before the last evaluated one is never evaluated: a backfill of old days changes no alert.
    """
    rows = connection.execute(
        f"select distinct as_of_date from marts.csm_health_scores where {counted_sql(connection)} "
        "and as_of_date <= $last and as_of_date > "
        f"coalesce((select max(as_of_date) from {tables.days}), cast($first as date) - 1) order by 1",
        {"first": first, "last": last},
    ).fetchall()
    return [day for (day,) in rows]


def load_conditions(connection: duckdb.DuckDBPyConnection, rules: Sequence[AlertRule], first: date, last: date) -> None:
    """Evaluate the condition of every rule on every account and day. Raises InputError if one cannot be evaluated."""
    create_account_days(connection, first, last)
    connection.execute(
        f"create or replace temp table {_RULES.removeprefix('temp.')} (rule varchar, severity varchar, "
        "for_days integer, clear_days integer, repeat_days integer)"
    )
    connection.execute(
        f"create or replace temp table {_TRUE.removeprefix('temp.')} "
        "(rule varchar, tenant_id varchar, account_id varchar, as_of_date date)"
    )
    for rule in rules:
        connection.execute(
            f"insert into {_RULES} values (?, ?, ?, ?, ?)",
            [rule.name, rule.severity, rule.for_days, rule.clear_days, rule.repeat_days],
        )
        try:
            # The condition was checked when the configuration was read; the line breaks end a comment in it.
            connection.execute(
                f"insert into {_TRUE} select $rule, tenant_id, account_id, as_of_date from {ACCOUNT_DAYS} "
                f"where (\n{rule.when}\n)",
                {"rule": rule.name},
            )
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            message = f"alerts.rules: the condition of {rule.name} cannot be evaluated: {reason}. Correct `when`."
            raise InputError(message) from None


def evaluate_day(connection: duckdb.DuckDBPyConnection, tables: AlertTables, day: date, now: datetime) -> None:
    """Change the states by the conditions of a day, and add an event for each change.

    ``load_conditions`` comes first, for a range with this day. Call it in a transaction.
    """
    connection.execute(
        f"""
        create or replace temp table {_NEXT.removeprefix("temp.")} as
        with conditions as (
            select rule, tenant_id, account_id from {_TRUE} where as_of_date = $day
        ),

        joined as (
            select
                coalesce(states.rule, conditions.rule) as rule,
                coalesce(conditions.tenant_id, states.tenant_id) as tenant_id,
                coalesce(states.account_id, conditions.account_id) as account_id,
                states.state as from_state,
                states.severity,
                states.since,
                states.fired_on,
                states.notified_on,
                conditions.rule is not null as holds,
                case when conditions.rule is not null then coalesce(states.true_since, $day) end as true_since,
                case when conditions.rule is null then coalesce(states.false_since, $day) end as false_since
            from {tables.states} as states
            full join conditions
                on states.rule = conditions.rule and states.account_id = conditions.account_id
        ),

        decided as (
            select
                joined.* exclude (severity),
                coalesce(rules.severity, joined.severity) as severity,
                case
                    when rules.rule is null then '{RESOLVED}'
                    when joined.holds and joined.from_state = '{FIRING}' then '{FIRING}'
                    when joined.holds and date_diff('day', joined.true_since, $day) + 1 >= rules.for_days
                        then '{FIRING}'
                    when joined.holds then '{PENDING}'
                    when
                        joined.from_state = '{FIRING}'
                        and date_diff('day', joined.false_since, $day) + 1 < rules.clear_days
                        then '{FIRING}'
                    else '{RESOLVED}'
                end as state
            from joined
            left join {_RULES} as rules
                on joined.rule = rules.rule
        )

        select
            rule, tenant_id, account_id, from_state, state, severity,
            case when state is distinct from from_state then $day else since end as since,
            true_since, false_since,
            case when state = '{FIRING}' and from_state is distinct from '{FIRING}' then $day else fired_on end
                as fired_on,
            notified_on
        from decided
        """,
        {"day": day},
    )
    connection.execute(
        f"insert into {tables.events} (event_id, rule, tenant_id, account_id, as_of_date, from_state, to_state) "
        f"select (select coalesce(max(event_id), 0) from {tables.events}) "
        "+ row_number() over (order by rule, account_id), "
        f"rule, tenant_id, account_id, $day, from_state, state from {_NEXT} where state is distinct from from_state",
        {"day": day},
    )
    columns = "rule, tenant_id, account_id, state, severity, since, true_since, false_since, fired_on, notified_on"
    connection.execute(f"delete from {tables.states}")
    connection.execute(
        f"insert into {tables.states} ({columns}) select {columns} from {_NEXT} order by rule, account_id"
    )
    connection.execute(f"insert into {tables.days} (as_of_date, evaluated_at) values (?, ?)", [day, now])


def take_due(connection: duckdb.DuckDBPyConnection, tables: AlertTables, day: date) -> list[DueAlert]:
    """Return the alerts that the digest of the day reports, and record that it does. Call it in a transaction.

    A reminder is due only if the condition has been true for the whole time since the last message, so an account that
    changes every day causes none. Silenced accounts wait until their silence ends.
    """
    silenced = f"select account_id from {tables.silences} where until_date >= $day"
    rows: list[Any] = connection.execute(
        f"""
        with kinds as (
            select
                states.rule,
                states.severity,
                states.account_id,
                states.since,
                case
                    when states.state = '{RESOLVED}' and states.notified_on is not null then '{RESOLVED}'
                    when states.state <> '{FIRING}' or states.true_since is null then null
                    when states.notified_on is null or states.notified_on < states.fired_on then '{FIRED}'
                    when
                        date_diff('day', greatest(states.notified_on, states.true_since), $day) >= rules.repeat_days
                        then '{REMINDER}'
                end as kind
            from {tables.states} as states
            left join {_RULES} as rules
                on states.rule = rules.rule
            where states.account_id not in ({silenced})
        )

        select rule, severity, account_id, kind, since
        from kinds
        where kind is not null
        order by account_id, rule
        """,
        {"day": day},
    ).fetchall()
    due = [DueAlert(rule, severity, account, kind, since) for rule, severity, account, kind, since in rows]
    if due:
        connection.execute(
            f"update {tables.states} as states set notified_on = case when due.kind = '{RESOLVED}' then null else "
            "cast($day as date) end from (select unnest($rules) as rule, unnest($accounts) as account_id, "
            "unnest($kinds) as kind) as due where states.rule = due.rule and states.account_id = due.account_id",
            {
                "day": day,
                "rules": [one.rule for one in due],
                "accounts": [one.account_id for one in due],
                "kinds": [one.kind for one in due],
            },
        )
    return due
