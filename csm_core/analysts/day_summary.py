"""The summary of a day at the end of a run: accounts by RAG, alerts, churn risk and the largest score changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import duckdb

from csm_core.analysts.near_renewals import NearRenewal, near_renewals
from csm_core.config import ReviewSettings
from csm_core.rubric import SIGNAL_NAMES
from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.day_status import counted_sql

MOVERS = 5
RAGS = ("GREEN", "AMBER", "RED")


@dataclass(frozen=True)
class Mover:
    """An account with a changed score, and the signal with the largest change of points."""

    account_id: str
    account_name: str
    score_before: float
    score: float
    rag_before: str
    rag: str
    signal: str
    signal_change: float


@dataclass(frozen=True)
class DaySummary:
    """The portfolio on one day, compared with the latest complete day before it.

    ``mrr_at_risk`` is the MRR of the accounts with high or critical churn risk, by currency, and
    ``mrr_at_risk_reporting`` all of it, converted to ``reporting_currency``; both are None without rates.
    ``accounts_without_rate`` counts the accounts, at risk or not, whose MRR is not converted because a currency has no
    rate. ``missing`` counts the accounts without data for a signal, for signals that some account lacks;
    ``mean_coverage`` is the mean share of the weights with data, 0.0-1.0. ``near_renewals`` are too near for a business
    review.
    """

    day: date
    accounts: int
    by_rag: Mapping[str, int]
    by_rag_before: Mapping[str, int]
    previous_day: date | None
    mean_score: float
    mean_score_before: float | None
    mrr_at_risk: Mapping[str, Decimal]
    mean_coverage: float
    missing: Mapping[str, int]
    alerts: int
    by_risk: Mapping[str, int]
    movers: Sequence[Mover]
    near_renewals: Sequence[NearRenewal] = ()
    mrr_at_risk_reporting: Decimal | None = None
    reporting_currency: str | None = None
    accounts_without_rate: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        amounts = {currency: str(amount) for currency, amount in self.mrr_at_risk.items()}
        converted = self.mrr_at_risk_reporting
        return {
            **asdict(self),
            "mrr_at_risk": amounts,
            "mrr_at_risk_reporting": None if converted is None else str(converted),
            "near_renewals": [renewal.as_dict() for renewal in self.near_renewals],
            "day": str(self.day),
            "previous_day": str(self.previous_day or "") or None,
        }


def summarise_day(
    connection: duckdb.DuckDBPyConnection, day: date, qbr_min_days: int = ReviewSettings().qbr_min_days
) -> DaySummary | None:
    """The summary of a scored day; None if the day is not scored. ``qbr_min_days`` is the setting of reviews."""
    if not table_exists(connection, "marts.csm_health_scores"):
        return None
    by_rag = _counts(connection, "rag", day)
    if not by_rag:
        return None
    row = connection.execute(
        f"select max(as_of_date) from marts.csm_health_scores where as_of_date < ? and {counted_sql(connection)}", [day]
    ).fetchone()
    previous_day = row[0] if row else None
    alerts = connection.execute(
        "select count(*) from marts.csm_health_scores where as_of_date = ? and should_alert", [day]
    ).fetchone()
    coverage = connection.execute(
        "select avg(signal_coverage) from marts.csm_health_signals where as_of_date = ?", [day]
    ).fetchone()
    converted, reporting_currency, without_rate = _converted(connection, day)
    return DaySummary(
        day=day,
        accounts=sum(by_rag.values()),
        by_rag=by_rag,
        by_rag_before=_counts(connection, "rag", previous_day) if previous_day else {},
        previous_day=previous_day,
        mean_score=_mean_score(connection, day) or 0.0,
        mean_score_before=_mean_score(connection, previous_day) if previous_day else None,
        mrr_at_risk=_mrr_at_risk(connection, day),
        mean_coverage=float(coverage[0] or 0.0) if coverage else 0.0,
        missing=accounts_without_data(connection, day),
        alerts=int(alerts[0]) if alerts else 0,
        by_risk=_counts(connection, "churn_risk_level", day),
        movers=_movers(connection, day, previous_day) if previous_day else (),
        near_renewals=near_renewals(connection, day, qbr_min_days),
        mrr_at_risk_reporting=converted,
        reporting_currency=reporting_currency,
        accounts_without_rate=without_rate,
    )


def _counts(connection: duckdb.DuckDBPyConnection, column: str, day: date) -> dict[str, int]:
    rows = connection.execute(
        f"select {column}, count(*) from marts.csm_health_scores where as_of_date = ? group by 1 order by 1", [day]
    ).fetchall()
    return {str(name): int(count) for name, count in rows}


def _mean_score(connection: duckdb.DuckDBPyConnection, day: date) -> float | None:
    row = connection.execute("select avg(score) from marts.csm_health_scores where as_of_date = ?", [day]).fetchone()
    return row[0] if row else None


def _mrr_at_risk(connection: duckdb.DuckDBPyConnection, day: date) -> dict[str, Decimal]:
    rows = connection.execute(
        """
        select subscriptions.currency, sum(subscriptions.mrr)
        from marts.csm_health_scores as scores
        inner join intermediate.int_account_subscriptions as subscriptions
            on scores.account_id = subscriptions.account_id and scores.as_of_date = subscriptions.as_of_date
        where
            scores.as_of_date = ? and scores.churn_risk_level in ('high', 'critical')
            and subscriptions.mrr is not null
        group by subscriptions.currency
        order by 2 desc, 1
        """,
        [day],
    ).fetchall()
    return {str(currency or "currency unknown"): amount for currency, amount in rows}


def _converted(connection: duckdb.DuckDBPyConnection, day: date) -> tuple[Decimal | None, str | None, int]:
    """The converted MRR at risk, the reporting currency, and the number of accounts whose MRR is not converted."""
    row = connection.execute(
        """
        select
            sum(subscriptions.mrr_reporting) filter (where scores.churn_risk_level in ('high', 'critical')),
            min(subscriptions.reporting_currency),
            count(*) filter (
                where subscriptions.reporting_currency is not null and subscriptions.mrr > 0
                and subscriptions.mrr_reporting is null
            )
        from marts.csm_health_scores as scores
        inner join intermediate.int_account_subscriptions as subscriptions
            on scores.account_id = subscriptions.account_id and scores.as_of_date = subscriptions.as_of_date
        where scores.as_of_date = ?
        """,
        [day],
    ).fetchone()
    amount, currency, without_rate = row or (None, None, 0)
    return (None if currency is None else amount or Decimal(0)), currency, int(without_rate)


def accounts_without_data(connection: duckdb.DuckDBPyConnection, day: date) -> dict[str, int]:
    """The number of accounts without data for each signal that some account lacks, the largest number first."""
    rows = connection.execute(
        """
        select signal, count(*)
        from (
            select unnest(string_split(missing_signals, ',')) as signal
            from marts.csm_health_signals
            where as_of_date = ? and missing_signals <> ''
        )
        group by signal
        order by 2 desc, 1
        """,
        [day],
    ).fetchall()
    return {str(signal): int(accounts) for signal, accounts in rows}


def _movers(connection: duckdb.DuckDBPyConnection, day: date, previous_day: date) -> list[Mover]:
    points = ", ".join(f"today.{name}_points - before.{name}_points" for name in SIGNAL_NAMES)
    rows = connection.execute(
        f"""
        select today.account_id, account_days.account_name, before.score, today.score, before.rag, today.rag, {points}
        from marts.csm_health_scores as today
        inner join marts.csm_health_scores as before
            on today.account_id = before.account_id and before.as_of_date = $previous_day
        inner join intermediate.int_account_days as account_days
            on today.account_id = account_days.account_id and today.as_of_date = account_days.as_of_date
        where today.as_of_date = $day and today.score <> before.score
        order by abs(today.score - before.score) desc, today.account_id
        limit {MOVERS}
        """,
        {"day": day, "previous_day": previous_day},
    ).fetchall()
    return [_mover(row) for row in rows]


def _mover(row: tuple[Any, ...]) -> Mover:
    changes = dict(zip(SIGNAL_NAMES, row[6:], strict=True))
    signal = max(SIGNAL_NAMES, key=lambda name: abs(changes[name]))
    name, change = (signal, changes[signal]) if changes[signal] else ("tam_health_rag", row[3] - row[2])
    return Mover(row[0], row[1], row[2], row[3], row[4], row[5], name, change)
