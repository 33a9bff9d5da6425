"""What other thresholds would have done: the stored scores judged again under other policies; nothing is written.

Scores do not depend on thresholds, so only bands, churn risk and alerts are computed anew, by the expressions that
filled the marts. What a day has stored is the one side of the comparison, whatever policy it was scored under.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import duckdb

from csm_core.config import Policy
from csm_core.errors import InputError
from csm_core.health_scores import ranked
from csm_core.rubric import CHURN_RISKS, RAGS
from csm_core.scoring_sql import alert_sql, rag_sql, risk_sql, trigger_sql
from csm_core.warehouse import table_exists

SIGNALS = "marts.csm_health_signals"
SCORES = "marts.csm_health_scores"
ACCOUNT_DAYS = "intermediate.int_account_days"
SUBSCRIPTIONS = "intermediate.int_account_subscriptions"
CURRENT = "marts.csm_health_current"


@dataclass(frozen=True)
class WhatIfDay:
    """What would differ on one day. ``mrr_moved`` (per currency) is that of the accounts whose band would change."""

    as_of_date: date
    accounts: int
    rag_changed: int
    risk_changed: int
    alerts_before: int
    alerts_after: int
    alerts_more: int
    alerts_fewer: int
    mrr_moved: Mapping[str, Decimal]


@dataclass(frozen=True)
class WhatIfReport:
    """Every day of the span, and the migrations over it: account-days by (before, after), all pairs that occur."""

    days: Sequence[WhatIfDay]
    rag_migrations: Mapping[tuple[str, str], int]
    risk_migrations: Mapping[tuple[str, str], int]
    mrr_known: bool

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``; amounts are text, so that no digit is lost."""
        return {
            "days": [
                {
                    **{name: getattr(day, name) for name in _COUNTS},
                    "as_of_date": day.as_of_date.isoformat(),
                    "mrr_moved": {currency: str(amount) for currency, amount in day.mrr_moved.items()},
                }
                for day in self.days
            ],
            "rag_migrations": _pairs(self.rag_migrations),
            "risk_migrations": _pairs(self.risk_migrations),
            "mrr_known": self.mrr_known,
        }

    def text(self) -> str:
        """For people: the days, then the two matrices with rows for before and columns for after."""
        rows = [("day", "accounts", "band changed", "risk changed", "alerts", "more", "fewer", "MRR moved")]
        for day in self.days:
            moved = ", ".join(f"{amount:,.2f} {currency}" for currency, amount in day.mrr_moved.items())
            alerts = f"{day.alerts_before} → {day.alerts_after}"
            numbers = (f"{day.accounts:,}", f"{day.rag_changed:,}", f"{day.risk_changed:,}")
            unknown = "" if self.mrr_known else "not known here"
            rows.append(
                (str(day.as_of_date), *numbers, alerts, f"+{day.alerts_more}", f"-{day.alerts_fewer}", moved or unknown)
            )
        parts = [_table(rows)]
        for title, order, found in (
            ("band, account-days", RAGS, self.rag_migrations),
            ("churn risk, account-days", CHURN_RISKS, self.risk_migrations),
        ):
            matrix = [("before \\ after", *order)]
            matrix += [(level, *(f"{found.get((level, to), 0):,}" for to in order)) for level in order]
            parts.append(f"{title}:\n{_table(matrix)}")
        return "\n\n".join(parts)


_COUNTS = ("accounts", "rag_changed", "risk_changed", "alerts_before", "alerts_after", "alerts_more", "alerts_fewer")


def what_if(
    connection: duckdb.DuckDBPyConnection,
    policies: Sequence[Policy],
    date_from: date | None = None,
    date_to: date | None = None,
) -> WhatIfReport:
    """Judge the stored scores of the days from ``date_from`` to ``date_to`` (default: the last day) by these policies.

    The first policy that matches an account's tenant and segment counts, of several for the same tenant and segment
    the one with the latest ``from_date`` that has come; where none matches, the defaults. Segments and revenue are
    those of the intermediate tables; in a copy without them the segment is the current one, and revenue not known.
    Works on a read-only connection. Raises InputError when there is no scored day in the span.
    """
    if not (table_exists(connection, SCORES) and table_exists(connection, SIGNALS)):
        message = f"nothing has been scored yet: {SCORES} is not there. `csm run` fills it."
        raise InputError(message)
    first, last = _span(connection, date_from, date_to)
    mrr_known = table_exists(connection, SUBSCRIPTIONS)
    _store_policies(connection, policies)
    try:
        span = {"first_date": first, "last_date": last}
        connection.execute(f"create or replace temp table whatif_judged as {_judged_sql(connection)}", span)
        days = _days(connection, _revenue(connection, span) if mrr_known else {})
        rags, risks = _migrations(connection, "rag"), _migrations(connection, "churn_risk_level")
    finally:
        connection.execute("drop table if exists temp.whatif_judged")
        connection.execute("drop table if exists temp.whatif_policies")
    return WhatIfReport(days, rags, risks, mrr_known)


def _span(connection: duckdb.DuckDBPyConnection, first: date | None, last: date | None) -> tuple[date, date]:
    row = connection.execute(f"select min(as_of_date), max(as_of_date) from {SCORES}").fetchone()
    if row is None or row[0] is None:
        message = "no day has been scored yet: `csm run` scores one"
        raise InputError(message)
    to = last or row[1]
    since = first or (to if last else row[1])
    if since > to:
        message = f"--from {since} is after --to {to}"
        raise InputError(message)
    if to < row[0] or since > row[1]:
        message = f"no day from {since} to {to} has been scored; the scored days are from {row[0]} to {row[1]}"
        raise InputError(message)
    return since, to


def _store_policies(connection: duckdb.DuckDBPyConnection, policies: Sequence[Policy]) -> None:
    # A temporary table lives outside the file: a read-only copy can be asked, too.
    connection.execute(
        "create or replace temp table whatif_policies (precedence integer, tenant varchar, segment varchar, "
        "from_date date, green_threshold double, amber_threshold double, churn_window_days bigint)"
    )
    connection.executemany(
        "insert into whatif_policies values (?, ?, ?, ?, ?, ?, ?)",
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
            for precedence, policy in enumerate(ranked(policies))
        ],
    )


def _judged_sql(connection: duckdb.DuckDBPyConnection) -> str:
    """One row per account-day: what is stored, and what these policies would say."""
    if table_exists(connection, ACCOUNT_DAYS):
        segments, on_day = ACCOUNT_DAYS, "and scored.as_of_date = segments.as_of_date"
        segments = f"(select * from {ACCOUNT_DAYS} where as_of_date between $first_date and $last_date)"
    else:
        segments, on_day = CURRENT, ""
    trigger = trigger_sql("rag_after", "churn_window_days")
    return f"""
        with scored as (
            select * from {SCORES} where as_of_date between $first_date and $last_date
        ),
        signals as (
            select tenant_id, account_id, as_of_date, usage_trend, login_frequency_days, days_to_renewal
            from {SIGNALS}
            where as_of_date between $first_date and $last_date
        ),
        placed as (
            select scored.tenant_id, scored.account_id, scored.as_of_date, segments.segment, scored.score,
                scored.rag as rag_before, scored.churn_risk_level as churn_risk_level_before,
                scored.should_alert as should_alert_before
            from scored
            left join {segments} as segments
                on scored.tenant_id = segments.tenant_id and scored.account_id = segments.account_id {on_day}
        ),
        -- The policy is looked up once per tenant, segment and day, not once per account.
        groups as (
            select distinct tenant_id, segment, as_of_date from placed
        ),
        applied as (
            select groups.tenant_id, groups.segment, groups.as_of_date, min(policies.precedence) as precedence
            from groups
            inner join whatif_policies as policies
                on (policies.tenant is null or policies.tenant = groups.tenant_id)
                and (policies.segment is null or policies.segment = groups.segment)
                and (policies.from_date is null or policies.from_date <= groups.as_of_date)
            group by groups.tenant_id, groups.segment, groups.as_of_date
        ),
        ruled as (
            select placed.*, policies.green_threshold, policies.amber_threshold, policies.churn_window_days
            from placed
            inner join applied
                on placed.tenant_id = applied.tenant_id and placed.as_of_date = applied.as_of_date
                and placed.segment is not distinct from applied.segment
            inner join whatif_policies as policies on applied.precedence = policies.precedence
        ),
        banded as (
            select ruled.*, signals.usage_trend, signals.login_frequency_days, signals.days_to_renewal,
                {rag_sql("score", "green_threshold", "amber_threshold")} as rag_after
            from ruled
            inner join signals
                on ruled.tenant_id = signals.tenant_id and ruled.account_id = signals.account_id
                and ruled.as_of_date = signals.as_of_date
        ),
        risked as (
            select banded.*, {risk_sql(trigger, "rag_after")} as churn_risk_level_after from banded
        )
        select tenant_id, account_id, as_of_date, rag_before, rag_after, churn_risk_level_before,
            churn_risk_level_after, should_alert_before,
            {alert_sql("rag_after", "churn_risk_level_after")} as should_alert_after
        from risked
    """


def _days(connection: duckdb.DuckDBPyConnection, revenue: Mapping[date, Mapping[str, Decimal]]) -> list[WhatIfDay]:
    found = connection.execute(
        "select as_of_date, count(*), count(*) filter (where rag_before <> rag_after), "
        "count(*) filter (where churn_risk_level_before <> churn_risk_level_after), "
        "count(*) filter (where should_alert_before), count(*) filter (where should_alert_after), "
        "count(*) filter (where should_alert_after and not should_alert_before), "
        "count(*) filter (where should_alert_before and not should_alert_after) "
        "from whatif_judged group by as_of_date order by as_of_date"
    ).fetchall()
    return [WhatIfDay(day, *counts, mrr_moved=revenue.get(day, {})) for day, *counts in found]


def _revenue(connection: duckdb.DuckDBPyConnection, span: Mapping[str, date]) -> dict[date, dict[str, Decimal]]:
    found = connection.execute(
        "select moved.as_of_date, coalesce(paid.currency, ''), sum(paid.mrr) "
        "from (select * from whatif_judged where rag_before <> rag_after) as moved "
        f"inner join (select * from {SUBSCRIPTIONS} where as_of_date between $first_date and $last_date) as paid "
        "on moved.tenant_id = paid.tenant_id and moved.account_id = paid.account_id "
        "and moved.as_of_date = paid.as_of_date "
        "where paid.mrr is not null group by all order by all",
        dict(span),
    ).fetchall()
    revenue: dict[date, dict[str, Decimal]] = {}
    for day, currency, amount in found:
        revenue.setdefault(day, {})[currency] = amount
    return revenue


def _migrations(connection: duckdb.DuckDBPyConnection, column: str) -> dict[tuple[str, str], int]:
    found = connection.execute(
        f"select {column}_before, {column}_after, count(*) from whatif_judged group by all order by all"
    ).fetchall()
    return {(before, after): count for before, after, count in found}


def _pairs(migrations: Mapping[tuple[str, str], int]) -> list[dict[str, Any]]:
    return [{"before": before, "after": after, "account_days": count} for (before, after), count in migrations.items()]


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
