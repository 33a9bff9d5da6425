"""Loads the portfolio of a day for its page in Notion: bands, movers, renewals, MRR at risk and data quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import duckdb

from csm_core.analysts.day_summary import accounts_without_data
from csm_core.rubric import SIGNAL_NAMES
from csm_core.warehouse.catalog import identifier, table_exists
from csm_core.warehouse.day_status import counted_sql
from csm_core.warehouse.rows import fetch_dicts

# Movers are compared with the latest scored day at least this many days before, and at most four weeks before.
COMPARED_DAYS = 7
RENEWAL_DAYS = 60
MOVERS = 10
MOST_RENEWALS = 40
MOST_OWNERS = 40
_LOOK_BACK = 28


@dataclass(frozen=True)
class Band:
    """A band: accounts, accounts on the compared day (None without one), the MRR by currency, and all of it converted.

    ``mrr_reporting`` is None without rates.
    """

    rag: str
    accounts: int
    accounts_before: int | None
    mrr: Sequence[tuple[str, Decimal]]
    mrr_reporting: Decimal | None


@dataclass(frozen=True)
class Mover:
    """An account with a changed score, and the two signals whose points changed most."""

    account_id: str
    account_name: str
    csm_owner: str | None
    score_before: float
    score: float
    rag_before: str
    rag: str
    signals: Sequence[tuple[str, float]]


@dataclass(frozen=True)
class Renewal:
    """A renewal of a customer."""

    account_id: str
    account_name: str
    csm_owner: str | None
    renewal_date: date
    mrr: Decimal | None
    currency: str | None
    rag: str
    churn_risk_level: str


@dataclass(frozen=True)
class OwnerAtRisk:
    """The accounts of an owner at high or critical churn risk, their MRR by currency, and all of it converted."""

    csm_owner: str | None
    accounts: int
    mrr: Sequence[tuple[str, Decimal]]
    mrr_reporting: Decimal | None


@dataclass(frozen=True)
class Portfolio:
    """The portfolio of a day.

    ``compared_day`` is the day that movers are compared with, None without one. ``renewals`` and ``at_risk`` are the
    first of ``renewal_count`` and ``owner_count``. ``missing`` counts accounts without data by signal, ``rejected``
    counts rejected records by entity; ``mean_coverage`` is a share, 0.0-1.0. ``reporting_currency`` is that of the
    converted amounts, None without rates; ``accounts_without_rate`` counts the accounts whose MRR is not converted, and
    ``mrr_at_risk_reporting`` is the converted MRR at risk of all owners.
    """

    day: date
    compared_day: date | None
    accounts: int
    mean_score: float
    mean_score_before: float | None
    bands: Sequence[Band]
    movers: Sequence[Mover]
    renewals: Sequence[Renewal]
    renewal_count: int
    at_risk: Sequence[OwnerAtRisk]
    owner_count: int
    mean_coverage: float
    missing: Sequence[tuple[str, int]]
    held_days: Sequence[date]
    rejected: Sequence[tuple[str, int]]
    reporting_currency: str | None = None
    mrr_at_risk_reporting: Decimal | None = None
    accounts_without_rate: int = 0


_TABLES = ("marts.csm_health_scores", "marts.csm_health_signals", "marts.csm_accounts_daily")
_DAY = """
    select scores.account_id, scores.rag, scores.score, scores.churn_risk_level, account_days.account_name,
        account_days.csm_owner, account_days.mrr, account_days.currency, account_days.renewal_date,
        account_days.mrr_reporting, account_days.reporting_currency
    from marts.csm_health_scores as scores
    inner join marts.csm_accounts_daily as account_days
        on scores.account_id = account_days.account_id and scores.as_of_date = account_days.as_of_date
    where scores.as_of_date = $day
"""


def has_portfolio(connection: duckdb.DuckDBPyConnection, day: date) -> bool:
    """Whether the marts of the page have the day; a warehouse of an earlier version has them after its next run."""
    return all(
        table_exists(connection, table)
        and _value(connection, f"select count(*) > 0 from {table} where as_of_date = $day", {"day": day})
        for table in _TABLES
    )


def load_portfolio(connection: duckdb.DuckDBPyConnection, day: date) -> Portfolio:
    """The portfolio of a scored day."""
    compared = _value(
        connection,
        "select max(as_of_date) from marts.csm_health_scores where as_of_date between $first and $last "
        f"and {counted_sql(connection)}",
        {"first": day - timedelta(days=_LOOK_BACK), "last": day - timedelta(days=COMPARED_DAYS)},
    )
    renewals = _renewals(connection, day)
    at_risk = _at_risk(connection, day)
    bands = _bands(connection, day, compared)
    coverage = "select avg(signal_coverage) from marts.csm_health_signals where as_of_date = $day"
    mean = "select avg(score) from marts.csm_health_scores where as_of_date = $day"
    reporting_currency = _value(connection, f"select min(reporting_currency) from ({_DAY})", {"day": day})
    return Portfolio(
        day=day,
        compared_day=compared,
        accounts=sum(band.accounts for band in bands),
        mean_score=_value(connection, mean, {"day": day}) or 0.0,
        mean_score_before=_value(connection, mean, {"day": compared}) if compared else None,
        bands=bands,
        movers=_movers(connection, day, compared) if compared else (),
        renewals=renewals[:MOST_RENEWALS],
        renewal_count=len(renewals),
        at_risk=at_risk[:MOST_OWNERS],
        owner_count=len(at_risk),
        mean_coverage=_value(connection, coverage, {"day": day}) or 0.0,
        missing=tuple(accounts_without_data(connection, day).items()),
        held_days=_held_days(connection, day),
        rejected=_rejected(connection),
        reporting_currency=reporting_currency,
        mrr_at_risk_reporting=sum((one.mrr_reporting or Decimal(0) for one in at_risk), Decimal(0))
        if reporting_currency
        else None,
        accounts_without_rate=_value(
            connection,
            f"select count(*) from ({_DAY}) where reporting_currency is not null and mrr > 0 and mrr_reporting is null",
            {"day": day},
        ),
    )


def _value(connection: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any]) -> Any:
    row = connection.execute(sql, parameters).fetchone()
    return row[0] if row else None


def _bands(connection: duckdb.DuckDBPyConnection, day: date, compared: date | None) -> list[Band]:
    accounts = dict(
        connection.execute(
            "select rag, count(*) from marts.csm_health_scores where as_of_date = ? group by rag", [day]
        ).fetchall()
    )
    before = dict(
        connection.execute(
            "select rag, count(*) from marts.csm_health_scores where as_of_date = ? group by rag", [compared]
        ).fetchall()
    )
    converted = dict(
        connection.execute(
            f"select rag, coalesce(sum(mrr_reporting), 0) from ({_DAY}) where reporting_currency is not null "
            "group by rag",
            {"day": day},
        ).fetchall()
    )
    mrr: dict[str, list[tuple[str, Decimal]]] = {}
    for rag, currency, amount in connection.execute(
        f"select rag, currency, sum(mrr) from ({_DAY}) where mrr > 0 group by rag, currency order by 3 desc, 2",
        {"day": day},
    ).fetchall():
        mrr.setdefault(rag, []).append((currency or "", amount))
    return [
        Band(rag, accounts.get(rag, 0), before.get(rag, 0) if compared else None, mrr.get(rag, ()), converted.get(rag))
        for rag in ("GREEN", "AMBER", "RED")
    ]


def _movers(connection: duckdb.DuckDBPyConnection, day: date, compared: date) -> list[Mover]:
    changes = ", ".join(f"today.{name}_points - before.{name}_points as {name}" for name in SIGNAL_NAMES)
    rows = fetch_dicts(
        connection,
        f"""
        select today.account_id, account_days.account_name, account_days.csm_owner, before.score as score_before,
            today.score, before.rag as rag_before, today.rag, {changes}
        from marts.csm_health_scores as today
        inner join marts.csm_health_scores as before
            on today.account_id = before.account_id and before.as_of_date = $compared
        inner join marts.csm_accounts_daily as account_days
            on today.account_id = account_days.account_id and account_days.as_of_date = $day
        where today.as_of_date = $day and abs(today.score - before.score) >= 1
        order by abs(today.score - before.score) desc, today.account_id
        limit {MOVERS}
        """,
        {"day": day, "compared": compared},
    )
    return [
        Mover(
            row["account_id"],
            row["account_name"],
            row["csm_owner"],
            row["score_before"],
            row["score"],
            row["rag_before"],
            row["rag"],
            sorted(
                ((name, row[name]) for name in SIGNAL_NAMES if abs(row[name]) >= 0.05), key=lambda one: -abs(one[1])
            )[:2],
        )
        for row in rows
    ]


def _renewals(connection: duckdb.DuckDBPyConnection, day: date) -> list[Renewal]:
    rows = fetch_dicts(
        connection,
        f"select account_id, account_name, csm_owner, renewal_date, mrr, currency, rag, churn_risk_level from ({_DAY}) "
        "where renewal_date between $day and $last order by renewal_date, mrr desc nulls last, account_id",
        {"day": day, "last": day + timedelta(days=RENEWAL_DAYS)},
    )
    return [Renewal(**row) for row in rows]


def _at_risk(connection: duckdb.DuckDBPyConnection, day: date) -> list[OwnerAtRisk]:
    rows = connection.execute(
        f"""
        with at_risk as (
            select csm_owner, coalesce(currency, '') as currency, count(*) as accounts, coalesce(sum(mrr), 0) as mrr,
                sum(mrr_reporting) as mrr_reporting
            from ({_DAY})
            where churn_risk_level in ('high', 'critical')
            group by csm_owner, coalesce(currency, '')
        )
        select csm_owner, sum(accounts), list({{'currency': currency, 'mrr': mrr}} order by mrr desc, currency),
            sum(mrr_reporting)
        from at_risk
        group by csm_owner
        order by sum(mrr_reporting) desc nulls last, max(mrr) desc, csm_owner nulls last
        """,
        {"day": day},
    ).fetchall()
    return [
        OwnerAtRisk(owner, int(accounts), [(one["currency"], one["mrr"]) for one in amounts if one["mrr"]], converted)
        for owner, accounts, amounts, converted in rows
    ]


def _held_days(connection: duckdb.DuckDBPyConnection, day: date) -> list[date]:
    if not table_exists(connection, "run.days_status"):
        return []
    rows = connection.execute(
        "select as_of_date from run.days_status where status = 'held' and as_of_date between ? and ? order by 1",
        [day - timedelta(days=_LOOK_BACK), day + timedelta(days=_LOOK_BACK)],
    ).fetchall()
    return [held for (held,) in rows]


def _rejected(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, int]]:
    tables = connection.execute(
        "select table_name from duckdb_tables() where schema_name = 'quarantine' order by 1"
    ).fetchall()
    counts = [
        (str(name), int(_value(connection, f"select count(*) from quarantine.{identifier(name)}", {})))
        for (name,) in tables
    ]
    return [(name, records) for name, records in counts if records]
