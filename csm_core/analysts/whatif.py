"""Applies other policies to the stored scores. Read-only.

Scores do not depend on thresholds, so only bands, churn risk and alerts are computed, with the expressions that fill
the marts. They are compared with the stored values of each day, whichever policy was in effect.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import duckdb

from csm_core.config import Policy
from csm_core.errors import InputError
from csm_core.rubric import CHURN_RISKS, RAGS
from csm_core.scoring.score_days import by_precedence
from csm_core.scoring.sql import ENUM, alert_sql, behavioural_sql, contract_sql, double, rag_sql, risk_sql
from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.day_status import counted_sql, no_complete_day, require_counted
from csm_core.warehouse.models import literal

SIGNALS = "marts.csm_health_signals"
SCORES = "marts.csm_health_scores"
ACCOUNT_DAYS = "intermediate.int_account_days"
SUBSCRIPTIONS = "intermediate.int_account_subscriptions"
# Name, owner, segment and MRR of each account and day. A published copy of an earlier version does not have it; a
# published copy does not have the two tables above.
ACCOUNTS = "marts.csm_accounts_daily"
# The latest segments. In tables of the previous version, the latter also has the accounts that left.
LATEST = ("marts.csm_health_last", "marts.csm_health_current")


@dataclass(frozen=True)
class WhatIfDay:
    """The differences on one day. ``mrr_moved`` is the MRR, per currency, of the accounts that would change band."""

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
class WhatIfAccount:
    """An account that would change band, risk or alert. Name, owner, MRR and currency are None if they are unknown."""

    tenant_id: str
    account_id: str
    account_name: str | None
    csm_owner: str | None
    mrr: Decimal | None
    currency: str | None
    rag_before: str
    rag_after: str
    risk_before: str
    risk_after: str
    alert_before: bool
    alert_after: bool

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``; the amount is text, to keep all digits."""
        return {**asdict(self), "mrr": None if self.mrr is None else str(self.mrr)}


@dataclass(frozen=True)
class WhatIfReport:
    """All days of the range, and the migrations: the number of account-days for each pair (before, after).

    ``accounts`` are the accounts that would change on the last of the days: changes of the band first, then the worst
    band and the worst risk after the change, then tenant and account.
    """

    days: Sequence[WhatIfDay]
    rag_migrations: Mapping[tuple[str, str], int]
    risk_migrations: Mapping[tuple[str, str], int]
    mrr_known: bool
    accounts: Sequence[WhatIfAccount] = ()

    def as_dict(self) -> dict[str, Any]:
        """The report for ``--json``; amounts are text, to keep all digits."""
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
            "accounts": [account.as_dict() for account in self.accounts],
        }


_DESCRIBED = ("account_name", "csm_owner", "mrr", "currency")
_COUNTS = ("accounts", "rag_changed", "risk_changed", "alerts_before", "alerts_after", "alerts_more", "alerts_fewer")


def what_if(
    connection: duckdb.DuckDBPyConnection,
    policies: Sequence[Policy],
    date_from: date | None = None,
    date_to: date | None = None,
) -> WhatIfReport:
    """Apply policies to the stored scores of the days from ``date_from`` to ``date_to`` (default: the last day).

    The first policy that matches an account's tenant and segment applies; of several for the same tenant and segment,
    the one with the latest ``from_date`` that is not after the day. If none matches, the defaults apply. Segments and
    revenue come from the intermediate tables, in the published copy from ``marts.csm_accounts_daily``; a copy without
    it has only the latest segment of each account, and no revenue. Held and unfinished days are excluded; a single day
    that is held or unfinished is an error. The connection may be read-only. Raises InputError if there is no scored day
    in the range.
    """
    if not (table_exists(connection, SCORES) and table_exists(connection, SIGNALS)):
        message = f"no day has been scored: the table {SCORES} does not exist. Run `csm run` first."
        raise InputError(message)
    first, last = _span(connection, date_from, date_to)
    revenue = next((table for table in (SUBSCRIPTIONS, ACCOUNTS) if table_exists(connection, table)), None)
    by_segment = any(policy.segment is not None for policy in policies)
    compared = _compared_ctes(
        by_precedence(policies), _segments(connection) if by_segment else None, counted=counted_sql(connection)
    )
    sql = _tally_sql(compared, revenue)
    groups = [_Group(*row) for row in connection.execute(sql, {"first_date": first, "last_date": last}).fetchall()]
    days = _unique_days(groups)
    return WhatIfReport(
        [_day(day, [group for group in groups if group.as_of_date == day]) for day in days],
        _migrations(groups, lambda group: (group.rag_before, group.rag_after), RAGS),
        _migrations(groups, lambda group: (group.risk_before, group.risk_after), CHURN_RISKS),
        revenue is not None,
        _changed_accounts(connection, compared, days[-1]) if days else [],
    )


@dataclass(frozen=True)
class _Group:
    """Accounts of a day with the same values before and after; ``mrr`` of those that change band, in one currency."""

    as_of_date: date
    rag_before: str
    rag_after: str
    risk_before: str
    risk_after: str
    alert_before: bool
    alert_after: bool
    currency: str | None
    mrr: Decimal | None
    accounts: int


def _span(connection: duckdb.DuckDBPyConnection, first: date | None, last: date | None) -> tuple[date, date]:
    bounds = f"select min(as_of_date), max(as_of_date) from {SCORES} where {counted_sql(connection)}"
    ((earliest, latest),) = connection.execute(bounds).fetchall()
    if latest is None:
        raise no_complete_day(connection)
    if last and (first is None or first == last):
        require_counted(connection, last)
    to = last or latest
    since = first or to
    if since > to:
        message = f"--from {since} is after --to {to}"
        raise InputError(message)
    if to < earliest or since > latest:
        message = f"no day from {since} to {to} is complete; the complete days are from {earliest} to {latest}"
        raise InputError(message)
    return since, to


def _segments(connection: duckdb.DuckDBPyConnection) -> tuple[str, str]:
    """The table of segments, and the additional condition that joins it to a scored day."""
    dated = next((table for table in (ACCOUNT_DAYS, ACCOUNTS) if table_exists(connection, table)), None)
    if dated:
        days = f"(select * from {dated} where as_of_date between $first_date and $last_date)"
        return days, "and scored.as_of_date = segments.as_of_date"
    return next((table for table in LATEST if table_exists(connection, table)), LATEST[0]), ""


def _compared_ctes(policies: Sequence[Policy], segments: tuple[str, str] | None, *, counted: str) -> str:
    """The leading CTEs of a query: ``banded`` has every account-day, ``risked`` those that can change band or risk."""
    # Few policies, many rows: a chain of conditions is cheaper than a join of every row with its policy.
    precedence = " ".join(f"when {_applies(policy)} then {place}" for place, policy in enumerate(policies))
    thresholds = ", ".join(
        f"({place}, {double(policy.green_threshold)}, {double(policy.amber_threshold)}, {policy.churn_window_days})"
        for place, policy in enumerate(policies)
    )
    joined = (
        f"left join {segments[0]} as segments on scored.account_id = segments.account_id {segments[1]}"
        if segments
        else ""
    )
    triggers = (contract_sql("rag_after", "churn_window_days", ENUM), behavioural_sql())
    return f"""
        with scored as (
            select * from {SCORES} where as_of_date between $first_date and $last_date and {counted}
        ),
        placed as (
            select scored.tenant_id, scored.account_id, scored.as_of_date, scored.score, scored.rag as rag_before,
                scored.churn_risk_level as risk_before, scored.should_alert as alert_before,
                scored.churn_window_days as window_before,
                {"segments.segment" if segments else "cast(null as varchar)"} as segment
            from scored
            {joined}
        ),
        policies (precedence, green_threshold, amber_threshold, churn_window_days) as (
            values {thresholds}
        ),
        banded as (
            select placed.*, policies.churn_window_days,
                {rag_sql("placed.score", "policies.green_threshold", "policies.amber_threshold", ENUM)} as rag_after
            from placed
            inner join policies on case {precedence} end = policies.precedence
        ),
        -- The risk depends on signals, band and window; it changes only if band or window differ from the stored ones.
        changed as materialized (
            select * from banded where rag_after <> rag_before or churn_window_days <> window_before
        ),
        signals as (
            select account_id, as_of_date, usage_trend, login_frequency_days, days_to_renewal
            from {SIGNALS}
            where as_of_date between $first_date and $last_date
        ),
        risked as (
            select changed.*, {risk_sql(*triggers, "rag_after", ENUM)} as risk_after
            from changed
            inner join signals
                on changed.account_id = signals.account_id and changed.as_of_date = signals.as_of_date
        )
    """


def _tally_sql(compared: str, paid_table: str | None) -> str:
    """A query that counts account-days by day and by their values before and after; revenue is that of the table."""
    paid = (
        f"left join (select * from {paid_table} where as_of_date between $first_date and $last_date) as paid "
        "on risked.rag_before <> risked.rag_after and risked.account_id = paid.account_id "
        "and risked.as_of_date = paid.as_of_date"
        if paid_table
        else ""
    )
    revenue = "paid.currency, sum(paid.mrr) as mrr" if paid_table else "null as currency, null as mrr"
    return f"""
        {compared}
        select risked.as_of_date, rag_before, rag_after, risk_before, risk_after, alert_before,
            {alert_sql("rag_after", "risk_after", ENUM)} as alert_after, {revenue}, count(*) as accounts
        from risked
        {paid}
        group by all
        union all
        select as_of_date, rag_before, rag_after, risk_before, risk_before, alert_before, alert_before, null, null,
            count(*)
        from banded
        where rag_after = rag_before and churn_window_days = window_before
        group by all
        order by all
    """


def _changed_accounts(connection: duckdb.DuckDBPyConnection, compared: str, day: date) -> list[WhatIfAccount]:
    """The accounts that change band, risk or alert on a day."""
    described = table_exists(connection, ACCOUNTS)
    columns = ", ".join(f"accounts.{name}" if described else f"null as {name}" for name in _DESCRIBED)
    joined = (
        f"left join {ACCOUNTS} as accounts on risked.account_id = accounts.account_id "
        "and risked.as_of_date = accounts.as_of_date and accounts.as_of_date between $first_date and $last_date"
        if described
        else ""
    )
    rows = connection.execute(
        f"""
        {compared}
        select risked.tenant_id, risked.account_id, {columns}, rag_before, rag_after, risk_before, risk_after,
            alert_before, {alert_sql("rag_after", "risk_after", ENUM)} as alert_after
        from risked
        {joined}
        where rag_before <> rag_after or risk_before <> risk_after
            or alert_before <> {alert_sql("rag_after", "risk_after", ENUM)}
        order by rag_before = rag_after, {_rank("rag_after", RAGS)} desc, {_rank("risk_after", CHURN_RISKS)} desc,
            risked.tenant_id, risked.account_id
        """,
        {"first_date": day, "last_date": day},
    ).fetchall()
    return [WhatIfAccount(*row) for row in rows]


def _rank(column: str, values: Sequence[str]) -> str:
    """The place of a value in the order of the rubric, best first."""
    listed = ", ".join(literal(value) for value in values)
    return f"list_position([{listed}], cast({column} as varchar))"


def _applies(policy: Policy) -> str:
    conditions = [
        *([f"placed.tenant_id = {literal(policy.tenant)}"] if policy.tenant is not None else []),
        *([f"placed.segment = {literal(policy.segment)}"] if policy.segment is not None else []),
        *([f"placed.as_of_date >= date {literal(policy.from_date)}"] if policy.from_date else []),
    ]
    return " and ".join(conditions) or "true"


def _unique_days(groups: Sequence[_Group]) -> list[date]:
    return list(dict.fromkeys(group.as_of_date for group in groups))


def _day(day: date, groups: Sequence[_Group]) -> WhatIfDay:
    def count(condition: Callable[[_Group], bool]) -> int:
        return sum(group.accounts for group in groups if condition(group))

    moved: dict[str, Decimal] = {}
    for group in groups:
        if group.mrr is not None:
            currency = group.currency or ""
            moved[currency] = moved.get(currency, Decimal(0)) + group.mrr
    return WhatIfDay(
        as_of_date=day,
        accounts=sum(group.accounts for group in groups),
        rag_changed=count(lambda group: group.rag_before != group.rag_after),
        risk_changed=count(lambda group: group.risk_before != group.risk_after),
        alerts_before=count(lambda group: group.alert_before),
        alerts_after=count(lambda group: group.alert_after),
        alerts_more=count(lambda group: group.alert_after and not group.alert_before),
        alerts_fewer=count(lambda group: group.alert_before and not group.alert_after),
        mrr_moved=dict(sorted(moved.items())),
    )


def _migrations(
    groups: Sequence[_Group], pair: Callable[[_Group], tuple[str, str]], order: Sequence[str]
) -> dict[tuple[str, str], int]:
    counts: Counter[tuple[str, str]] = Counter()
    for group in groups:
        counts[pair(group)] += group.accounts
    return {(before, after): counts[before, after] for before in order for after in order if counts[before, after]}


def _pairs(migrations: Mapping[tuple[str, str], int]) -> list[dict[str, Any]]:
    return [{"before": before, "after": after, "account_days": count} for (before, after), count in migrations.items()]
