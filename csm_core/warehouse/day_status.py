"""The status of every scored day: building, complete, held or accepted; and which days count.

A day is ``building`` once a run starts to replace its signals or scores, ``held`` if a portfolio check fails, and
``complete`` once everything that depends on its scores has been built, or ``accepted`` if a user accepted the failed
checks. A killed or failed run leaves the day ``building``. Complete and accepted days count; within a run, its own days
count once their checks have passed.

``run.days_status`` has the statuses; ``run.uncounted_days`` has the days that do not count, for the SQL models. A
scored day without a status is from a version without statuses: it is complete if ``marts.csm_portfolio_daily``, which
is built after the checks, has the day, else ``building``. The published copy has ``marts.csm_days`` instead, and only
days that count. This module only stores the statuses; ``csm_core.days.finished_days`` builds the models that depend on
them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import duckdb

from csm_core.errors import InputError
from csm_core.warehouse.catalog import table_exists, transaction
from csm_core.warehouse.copy_state import COPIED_LAYER, mark_all_changed
from csm_core.warehouse.models import whole_tables

BUILDING, COMPLETE, HELD, ACCEPTED = "building", "complete", "held", "accepted"
COUNTED = (COMPLETE, ACCEPTED)
STATUS_TABLE = "run.days_status"
UNCOUNTED_TABLE = "run.uncounted_days"
DAYS_TABLE = "marts.csm_days"
SCORES_TABLE = "marts.csm_health_scores"
# Built from the scores after the portfolio checks have passed.
AFTER_CHECKS_TABLE = "marts.csm_portfolio_daily"

_COLUMNS = "as_of_date, status, failed_checks, message, accepted_by"


@dataclass(frozen=True)
class DayStatus:
    """A day's status. ``failed_checks`` and their ``message`` are set for held and accepted days."""

    day: date
    status: str
    failed_checks: tuple[str, ...] = ()
    message: str = ""
    accepted_by: str | None = None

    @property
    def counts(self) -> bool:
        """Whether the day counts, so that readers see it."""
        return self.status in COUNTED

    def text(self) -> str:
        """Return the status as text, without advice."""
        if self.status == HELD:
            return f"{self.day} is held by {', '.join(self.failed_checks)}"
        if self.status == BUILDING:
            return f"{self.day} is unfinished: its run is in progress or failed"
        if self.status == ACCEPTED:
            return f"{self.day} is accepted by {self.accepted_by} (failed: {', '.join(self.failed_checks)})"
        return f"{self.day} is complete"

    def advice(self) -> str:
        """Return the command that completes the day."""
        rebuild = f"csm run --as-of {self.day}"
        if self.status == HELD:
            accept = " ".join(f"--accept {name}" for name in self.failed_checks)
            return (
                f"Correct the records and rebuild it: {rebuild}. Or accept it: "
                f"csm notion apply --as-of {self.day} {accept}"
            )
        return f"Build it: {rebuild}"


# -- reading


def statuses(connection: duckdb.DuckDBPyConnection) -> dict[date, DayStatus]:
    """Return the status of every scored day, in order. Works read-only, and on the published copy."""
    table = next((one for one in (STATUS_TABLE, DAYS_TABLE) if table_exists(connection, one)), None)
    rows: list[Any] = connection.execute(f"select {_COLUMNS} from {table}").fetchall() if table else []
    found = {row[0]: _status(row) for row in rows}
    if table != DAYS_TABLE and table_exists(connection, SCORES_TABLE):
        complete = "true" if table else _finished_before_statuses_sql(connection)
        for day, finished in connection.execute(
            f"select distinct as_of_date, {complete} from {SCORES_TABLE}"
        ).fetchall():
            found.setdefault(day, DayStatus(day, COMPLETE if finished else BUILDING))
    return dict(sorted(found.items()))


def listed(connection: duckdb.DuckDBPyConnection) -> dict[date, DayStatus]:
    """Return the statuses in ``marts.csm_days``, in order, as of its latest build."""
    rows: list[Any] = connection.execute(f"select {_COLUMNS} from {DAYS_TABLE} order by as_of_date").fetchall()
    return {row[0]: _status(row) for row in rows}


def status_of(connection: duckdb.DuckDBPyConnection, day: date) -> DayStatus | None:
    """Return the status of a day; None if the day has not been scored."""
    return statuses(connection).get(day)


def newest_counted_day(connection: duckdb.DuckDBPyConnection) -> date | None:
    """Return the newest complete or accepted day; None without one."""
    if not table_exists(connection, SCORES_TABLE):
        return None
    row = connection.execute(f"select max(as_of_date) from {SCORES_TABLE} where {counted_sql(connection)}").fetchone()
    return row[0] if row else None


def counted_sql(connection: duckdb.DuckDBPyConnection, column: str = "as_of_date") -> str:
    """Return a SQL condition: the day in ``column`` is complete or accepted."""
    if not table_exists(connection, STATUS_TABLE):
        return _finished_before_statuses_sql(connection, column)
    uncounted = f"select as_of_date from {STATUS_TABLE} where status not in ('{COMPLETE}', '{ACCEPTED}')"
    return f"{column} not in ({uncounted})"


def buildable_sql(connection: duckdb.DuckDBPyConnection, column: str = "as_of_date") -> str:
    """Return a SQL condition: the day in ``column`` counts for the models of the current run."""
    if not table_exists(connection, UNCOUNTED_TABLE):
        return counted_sql(connection, column)
    return f"{column} not in (select as_of_date from {UNCOUNTED_TABLE})"


def _finished_before_statuses_sql(connection: duckdb.DuckDBPyConnection, column: str = "as_of_date") -> str:
    """Return a SQL condition for days without a status: the checks of the day in ``column`` passed."""
    if not table_exists(connection, AFTER_CHECKS_TABLE):
        return "true"
    return f"{column} in (select as_of_date from {AFTER_CHECKS_TABLE})"


def require_counted(connection: duckdb.DuckDBPyConnection, day: date) -> None:
    """Raise InputError for a day that is held or unfinished: its status, the failed checks, and the command."""
    status = status_of(connection, day)
    if status and not status.counts:
        raise InputError(_with_advice(status))


def require_scored(connection: duckdb.DuckDBPyConnection, day: date) -> None:
    """Raise InputError, with advice, for a day that is held, unfinished or not scored."""
    require_counted(connection, day)
    if status_of(connection, day) is None:
        message = f"{day} is not scored: csm run --as-of {day} scores it"
        raise InputError(message)


def require_newest(connection: duckdb.DuckDBPyConnection) -> date:
    """Return the newest complete or accepted day. Raises InputError, with the reason, without one."""
    newest = newest_counted_day(connection)
    if newest is not None:
        return newest
    raise no_complete_day(connection)


def no_complete_day(connection: duckdb.DuckDBPyConnection) -> InputError:
    """Return the error for a warehouse without a complete or accepted day, with the reason."""
    uncounted = [one for one in statuses(connection).values() if not one.counts]
    if uncounted:
        return InputError(f"no day is complete yet: {_with_advice(uncounted[-1])}")
    return InputError("nothing is scored yet: `csm run` scores a day")


def newer_uncounted(connection: duckdb.DuckDBPyConnection, day: date) -> list[DayStatus]:
    """Return the held and unfinished days after ``day``."""
    return [one for one in statuses(connection).values() if one.day > day and not one.counts]


def _with_advice(status: DayStatus) -> str:
    return f"{status.text()}. {status.advice()}"


def _status(row: Sequence[Any]) -> DayStatus:
    day, status, failed, message, accepted_by = row
    return DayStatus(day, status, tuple(filter(None, failed.split(","))), message, accepted_by)


# -- changing


def begin_days(connection: duckdb.DuckDBPyConnection, days: tuple[date, date], run_id: str) -> None:
    """Record that a run starts to replace the signals or scores of these days. Call it before the first change.

    The failed checks of an earlier run are kept: this run checks a held or accepted day again.
    """
    forget_passed_days(connection, run_id)
    span: dict[str, Any] = {"first": days[0], "last": days[1]}
    with transaction(connection):
        connection.execute(
            f"insert into {STATUS_TABLE} "
            f"select cast(range as date), '{BUILDING}', '', '', null, $run_id, false, $now "
            "from range($first::date, $last::date + interval 1 day, interval 1 day) "
            "on conflict (as_of_date) do update set status = excluded.status, run_id = excluded.run_id, "
            "checks_passed = false, changed_at = excluded.changed_at",
            {**span, "run_id": run_id, "now": _now()},
        )
        _changed(connection, [days])


def count_only_days_of(connection: duckdb.DuckDBPyConnection, run_id: str) -> None:
    """Hide the unfinished days of other runs from the models of a run; those runs can still resume their days."""
    with transaction(connection):
        _list_uncounted(connection, run_id)


def forget_passed_days(connection: duckdb.DuckDBPyConnection, run_id: str | None = None) -> None:
    """Stop counting days that another run (with None: any run) left unfinished after their checks passed."""
    with transaction(connection):
        connection.execute(
            f"update {STATUS_TABLE} set checks_passed = false where status in ('{BUILDING}', '{HELD}') "
            "and run_id is distinct from $run_id and checks_passed",
            {"run_id": run_id},
        )
        _changed(connection, [])


def days_of_run(connection: duckdb.DuckDBPyConnection, run_id: str) -> dict[date, DayStatus]:
    """Return the days that a run is building or has held, with the results of earlier checks."""
    rows: list[Any] = connection.execute(
        f"select {_COLUMNS} from {STATUS_TABLE} where run_id = ? and status in ('{BUILDING}', '{HELD}') "
        "order by as_of_date",
        [run_id],
    ).fetchall()
    return {row[0]: _status(row) for row in rows}


def passed_days(connection: duckdb.DuckDBPyConnection, run_id: str) -> list[date]:
    """Return the days of a run that have passed their checks and are not yet complete."""
    return [
        day
        for (day,) in connection.execute(
            f"select as_of_date from {STATUS_TABLE} where run_id = ? and status in ('{BUILDING}', '{HELD}') "
            "and checks_passed order by as_of_date",
            [run_id],
        ).fetchall()
    ]


def pass_days(
    connection: duckdb.DuckDBPyConnection,
    days: Sequence[date],
    failed: Mapping[str, str] | None = None,
    accepted_by: str | None = None,
) -> None:
    """Allow the models that depend on the scores of these days: all checks passed, or ``failed`` ones are accepted."""
    with transaction(connection):
        connection.execute(
            f"update {STATUS_TABLE} set checks_passed = true, failed_checks = $failed, message = $message, "
            "accepted_by = $accepted_by, changed_at = $now where list_contains(cast($days as date[]), as_of_date)",
            {
                "days": list(days),
                "failed": ",".join(failed or {}),
                "message": " ".join(filter(None, (failed or {}).values())),
                "accepted_by": accepted_by if failed else None,
                "now": _now(),
            },
        )
        _changed(connection, [])


def hold_day(connection: duckdb.DuckDBPyConnection, day: date, failed: Mapping[str, str]) -> None:
    """Hold a day for its failed checks, given as name and message."""
    with transaction(connection):
        connection.execute(
            f"update {STATUS_TABLE} set status = '{HELD}', checks_passed = false, failed_checks = $failed, "
            "message = $message, accepted_by = null, changed_at = $now where as_of_date = $day",
            {"day": day, "failed": ",".join(failed), "message": " ".join(filter(None, failed.values())), "now": _now()},
        )
        _changed(connection, [(day, day)])


def finish_days(connection: duckdb.DuckDBPyConnection, days: Sequence[date]) -> None:
    """Set days that passed their checks to complete, or to accepted if failed checks were accepted."""
    with transaction(connection):
        connection.execute(
            f"update {STATUS_TABLE} set status = case when accepted_by is null then '{COMPLETE}' "
            f"else '{ACCEPTED}' end, changed_at = $now "
            "where checks_passed and list_contains(cast($days as date[]), as_of_date)",
            {"days": list(days), "now": _now()},
        )
        _changed(connection, [(day, day) for day in days])


def _changed(connection: duckdb.DuckDBPyConnection, spans: Sequence[tuple[date, date]]) -> None:
    """Update the list of uncounted days, and mark the changed days for the published copy."""
    _list_uncounted(connection)
    if not spans:
        return
    found = connection.execute(
        "select table_name from duckdb_columns() "
        "inner join duckdb_tables() using (database_name, schema_name, table_name) "
        "where database_name = current_database() and schema_name = ? and column_name = 'as_of_date' "
        "order by table_name",
        [COPIED_LAYER],
    ).fetchall()
    whole = whole_tables(COPIED_LAYER)
    marts = [name for (table,) in found if (name := f"{COPIED_LAYER}.{table}") not in whole]
    mark_all_changed(connection, marts, spans)


def _list_uncounted(connection: duckdb.DuckDBPyConnection, run_id: str | None = None) -> None:
    """Fill the list of uncounted days. With ``run_id``, only days of that run count after their checks passed."""
    connection.execute(f"delete from {UNCOUNTED_TABLE}")
    connection.execute(
        f"insert into {UNCOUNTED_TABLE} select as_of_date from {STATUS_TABLE} "
        f"where status not in ('{COMPLETE}', '{ACCEPTED}') "
        "and not (checks_passed and coalesce(run_id = $run_id, $run_id is null)) order by as_of_date",
        {"run_id": run_id},
    )


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
