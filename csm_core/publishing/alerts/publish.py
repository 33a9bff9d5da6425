"""The entry point of alerts for assets: evaluates the new days, records digests, and delivers them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import duckdb

from csm_core.publishing.alerts import ledger
from csm_core.publishing.alerts.delivery import Clock, Delivery, deliver, naive
from csm_core.publishing.alerts.digest import ACCOUNTS, DATA_PROBLEM, Digest, digest_id
from csm_core.publishing.alerts.digests_of_day import digests_of
from csm_core.publishing.alerts.states import days_to_evaluate, evaluate_day, load_conditions, take_due
from csm_core.publishing.alerts.tables import LIVE
from csm_core.system.text_table import counted
from csm_core.warehouse.alert_settings import AlertSettings
from csm_core.warehouse.catalog import transaction
from csm_core.warehouse.day_status import HELD, newest_counted_day, status_of


@dataclass(frozen=True)
class AlertReport:
    """The alerts of a run: the last evaluated day, the number of evaluated days, and the delivery."""

    day: date
    evaluated_days: int
    delivery: Delivery

    def text(self) -> str:
        """The report in one line."""
        done = self.delivery
        if done.data_problems:
            return f"no alerts: {self.day} is held; {counted(done.data_problems, 'message')} about the data problem"
        parts = [f"{counted(done.accounts, 'account')} in {counted(done.sent, 'digest')}"]
        parts += [f"{done.possibly_sent:,} possibly sent"] if done.possibly_sent else []
        parts += [f"{done.failed:,} not sent"] if done.failed else []
        return f"{', '.join(parts)} (`csm alerts outbox`)"

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        done = self.delivery
        return {
            "day": self.day.isoformat(),
            "evaluated_days": self.evaluated_days,
            "digests_sent": done.sent,
            "accounts": done.accounts,
            "possibly_sent": done.possibly_sent,
            "failed": done.failed,
            "problems": list(done.problems),
        }


def alert_day(
    connection: duckdb.DuckDBPyConnection,
    settings: AlertSettings,
    first: date,
    day: date,
    *,
    clock: Clock,
    environment: Mapping[str, str] | None = None,
    pause_seconds: float = 1.0,
) -> AlertReport:
    """Evaluate the days up to ``day``, the newest complete one, and deliver the digests of ``day``.

    The days since the last evaluated one are evaluated in order, in a new warehouse those since ``first``. States,
    events and digests are recorded in one transaction before anything is sent.
    """
    days = days_to_evaluate(connection, LIVE, first, day)
    if days:
        load_conditions(connection, settings.active_rules, days[0], days[-1])
        with transaction(connection):
            for one in days:
                evaluate_day(connection, LIVE, one, naive(clock))
            if days[-1] == day:
                due = take_due(connection, LIVE, day)
                ledger.add(connection, LIVE, digests_of(connection, settings, day, due, naive(clock)))
    delivery = deliver(
        connection,
        settings,
        day,
        kinds=(ACCOUNTS, DATA_PROBLEM),
        clock=clock,
        environment=environment,
        pause_seconds=pause_seconds,
    )
    return AlertReport(day, len(days), replace(delivery, data_problems=0))


def report_data_problem(
    connection: duckdb.DuckDBPyConnection,
    settings: AlertSettings,
    day: date,
    *,
    clock: Clock,
    environment: Mapping[str, str] | None = None,
    pause_seconds: float = 1.0,
) -> AlertReport | None:
    """Send the message about a held day to the route ``data_team``; None if the day is not held, or it was sent before.

    One data problem may last several days: it is one message until a later day is complete, or another check fails.
    Digests about accounts wait.
    """
    status = status_of(connection, day)
    newest = newest_counted_day(connection)
    if status is None or status.status != HELD or (newest and day <= newest):
        return None
    if not _is_reported(connection, status.failed_checks, newest):
        route = settings.data_route.label
        problem = Digest(
            digest_id=digest_id(route, "", day, DATA_PROBLEM, status.failed_checks),
            route=route,
            owner="",
            day=day,
            kind=DATA_PROBLEM,
            intended_at=naive(clock),
            failed_checks=status.failed_checks,
        )
        with transaction(connection):
            ledger.add(connection, LIVE, [problem])
    delivery = deliver(
        connection,
        settings,
        day,
        kinds=(DATA_PROBLEM,),
        clock=clock,
        environment=environment,
        pause_seconds=pause_seconds,
    )
    return AlertReport(day, 0, delivery)


def _is_reported(connection: duckdb.DuckDBPyConnection, failed: tuple[str, ...], newest: date | None) -> bool:
    """Whether a message since the newest complete day has all of these failed checks."""
    sent = {
        name
        for digest in ledger.load(connection, kinds=(DATA_PROBLEM,))
        if newest is None or digest.day > newest
        for name in digest.failed_checks
    }
    return set(failed) <= sent
