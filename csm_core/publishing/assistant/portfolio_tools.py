"""The data of the tools for the portfolio: its figures, its accounts, renewals and alerts. Reads the published copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

import duckdb

from csm_core.errors import InputError
from csm_core.publishing.alerts.tables import LIVE, RESOLVED
from csm_core.publishing.assistant.answers import UNKNOWN, Answer, based_on
from csm_core.publishing.portfolio import has_portfolio, load_portfolio
from csm_core.warehouse.catalog import identifier, table_exists
from csm_core.warehouse.day_status import HELD, require_newest, require_scored, statuses
from csm_core.warehouse.rows import fetch_dicts

# So that a portfolio with long names is below the limit of an answer; other tools page through all rows.
_MOST = 10
_OVERVIEW, _RENEWALS = "marts.csm_overview", "marts.csm_renewals"


@dataclass(frozen=True)
class Page:
    """The part of a list that an answer has: ``limit`` rows from ``offset``, in the order of a column."""

    limit: int
    offset: int
    sort: str
    descending: bool = False


def portfolio(connection: duckdb.DuckDBPyConnection, as_of: date | None) -> Answer:
    """The portfolio of a day: bands, mean score, movers, renewals, MRR at risk by owner, and data quality.

    ``renewals`` and ``at_risk`` are the first of ``renewal_count`` and ``owner_count``.
    """
    newest = require_newest(connection)
    day = as_of or newest
    require_scored(connection, day)
    if not has_portfolio(connection, day):
        message = (
            f"the published copy has no accounts of {day}: a version before this table built it. Run the day again"
        )
        raise InputError(message)
    found = load_portfolio(connection, day)
    data: dict[str, Any] = asdict(found)
    # The copy has no quarantine; the statuses of days are in csm_days.
    del data["rejected"]
    data["held_days"] = [one.day for one in statuses(connection).values() if one.status == HELD]
    data["bands"] = [{**asdict(one), "mrr": _by_currency(one.mrr)} for one in found.bands]
    data["renewals"] = data["renewals"][:_MOST]
    data["at_risk"] = [{**asdict(one), "mrr": _by_currency(one.mrr)} for one in found.at_risk[:_MOST]]
    data["movers"] = [{**asdict(one), "signals": dict(one.signals)} for one in found.movers]
    data["missing"] = dict(found.missing)
    return based_on(connection, day, data)


def accounts(connection: duckdb.DuckDBPyConnection, filters: Mapping[str, Any], page: Page) -> Answer:
    """Rows of ``csm_overview``: the customers on the newest day."""
    conditions = {
        "owner": "lower(csm_owner) = lower($owner)",
        "segment": "segment = $segment",
        "tenant": "tenant_id = $tenant",
        "rag": "rag = $rag",
        "churn_risk_level": "churn_risk_level = $churn_risk_level",
        "currency": "currency = $currency",
        "should_alert": "should_alert = $should_alert",
        "name_contains": "contains(lower(account_name), lower($name_contains))",
        "renewal_within_days": "date_diff('day', as_of_date, renewal_date) between 0 and $renewal_within_days",
    }
    return _listed(connection, _OVERVIEW, conditions, filters, page)


def renewals(connection: duckdb.DuckDBPyConnection, filters: Mapping[str, Any], page: Page) -> Answer:
    """Rows of ``csm_renewals``: the renewals of the customers on the newest day, by default not the overdue ones."""
    conditions = {
        "owner": "lower(csm_owner) = lower($owner)",
        "rag": "rag = $rag",
        "churn_risk_level": "churn_risk_level = $churn_risk_level",
        "within_days": "days_to_renewal <= $within_days",
        "overdue": "(days_to_renewal >= 0 or $overdue)",
    }
    return _listed(connection, _RENEWALS, conditions, filters, page)


def alerts(connection: duckdb.DuckDBPyConnection, owner: str | None, page: Page) -> Answer:
    """The open alerts of the rules; in a copy without them, the accounts of ``csm_overview`` with ``should_alert``."""
    if not table_exists(connection, LIVE.states):
        filters = {"should_alert": True, "owner": owner}
        found = accounts(connection, filters, page)
        return replace(found, data={"source": _OVERVIEW, **found.data})
    select = f"""
        select states.rule, states.severity, states.state, states.since, states.notified_on, states.tenant_id,
            states.account_id, {_silenced(connection)} as silenced_until,
            accounts.account_name, accounts.csm_owner, accounts.score, accounts.rag, accounts.churn_risk_level
        from {LIVE.states} as states
        left join marts.csm_health_last as accounts on states.account_id = accounts.account_id
        where states.state <> '{RESOLVED}' and ($owner is null or lower(accounts.csm_owner) = lower($owner))
    """
    order = "list_position(['critical', 'high', 'medium', 'low'], severity), since, account_id, rule"
    data = {"source": LIVE.states, **_rows(connection, select, {"owner": owner}, order, page)}
    return based_on(connection, require_newest(connection), data)


def _silenced(connection: duckdb.DuckDBPyConnection) -> str:
    """The day until which the account of an alert is silenced, as SQL; null for an account that is not."""
    if not table_exists(connection, LIVE.silences):
        return "cast(null as date)"
    day = require_newest(connection)
    return (
        f"(select max(silences.until_date) from {LIVE.silences} as silences "
        f"where silences.account_id = states.account_id and silences.until_date >= date '{day}')"
    )


def _listed(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    conditions: Mapping[str, str],
    filters: Mapping[str, Any],
    page: Page,
) -> Answer:
    """A page of the rows of a table that fulfil the conditions of the filters with a value."""
    day = require_newest(connection)
    given = {name: value for name, value in filters.items() if value is not None}
    where = " and ".join(conditions[name] for name in given) or "true"
    direction = "desc" if page.descending else "asc"
    order = f"{identifier(page.sort)} {direction} nulls last, account_id"
    return based_on(connection, day, _rows(connection, f"select * from {table} where {where}", given, order, page))


def _rows(
    connection: duckdb.DuckDBPyConnection, select: str, values: Mapping[str, Any], order: str, page: Page
) -> dict[str, Any]:
    ((total,),) = connection.execute(f"select count(*) from ({select})", values).fetchall()
    rows = fetch_dicts(
        connection,
        f"select * from ({select}) order by {order} limit $page_limit offset $page_offset",
        {**values, "page_limit": page.limit, "page_offset": page.offset},
    )
    end = page.offset + len(rows)
    return {"total": total, "offset": page.offset, "next_offset": end if end < total else None, "rows": rows}


def _by_currency(amounts: Sequence[tuple[str, Decimal]]) -> dict[str, Decimal]:
    return {currency or UNKNOWN: amount for currency, amount in amounts}
