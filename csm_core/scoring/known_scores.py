"""When scores became known: keeps ``known_from`` of unchanged rows and moves revised rows to the superseded ones.

A day is rebuilt in two transactions: its signals, then its scores. A run can be killed between them, and the scores can
be rebuilt alone. Both transactions therefore keep what the warehouse stated before:

- ``keep_revised_signals``: a row whose signals change or disappear is kept with its score in ``run.revised_rows``. A
  row that is kept already stays as it is, so an interrupted attempt does not count. A row without a score was never
  known.
- ``supersede_scores``: while scores are built, ``run.known_scores`` has the previous scores of unchanged signals, from
  which the SELECT takes ``known_from`` of an unchanged row, with every engine. Changed and kept rows then move to
  ``marts.csm_health_superseded``. Rows are only added to that table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import duckdb

from csm_core.rubric import CHURN_RISKS, CHURN_TRIGGERS, RAGS
from csm_core.scoring.sql import POINT_COLUMNS, RESULT_COLUMNS, enum_type
from csm_core.thresholds import THRESHOLDS
from csm_core.warehouse.catalog import columns_of, has_rows, table_exists
from csm_core.warehouse.copy_state import mark_changed
from csm_core.warehouse.late_record_keys import causing_loads_sql
from csm_core.warehouse.materialize import Around, Build, Replace, align_columns
from csm_core.warehouse.models import literal, load_filled_tables
from csm_core.warehouse.run_descriptions import DESCRIPTIONS

SIGNALS, SCORES, SUPERSEDED = "marts.csm_health_signals", "marts.csm_health_scores", "marts.csm_health_superseded"
KNOWN, REVISED, VERSIONS = "run.known_scores", "run.revised_rows", "run.score_versions"
KEYS = ("tenant_id", "account_id", "as_of_date")
# What a score states; the other columns state when and by which configuration it was computed.
OUTCOME = ("tenant_id", *RESULT_COLUMNS, *POINT_COLUMNS, *THRESHOLDS)
BASIS = (
    "case when known_from <= cast(as_of_date + 1 + $late_arrival_days as timestamp) then 'as_known' "
    "else 'reconstructed' end"
)

KNOWN_COLUMNS = {
    **dict.fromkeys(KEYS, "varchar"),
    "as_of_date": "date",
    **dict.fromkeys((*RESULT_COLUMNS, *POINT_COLUMNS, *THRESHOLDS), "double"),
    "rag": enum_type(RAGS),
    "churn_risk_level": enum_type(CHURN_RISKS),
    "churn_triggered_by": enum_type(CHURN_TRIGGERS),
    "should_alert": "boolean",
    "churn_window_days": "bigint",
    "config_hash": "varchar",
    "scored_at": "timestamp",
    "known_from": "timestamp",
    "basis": "varchar",
}
_SUPERSEDED_COLUMNS = {"known_to": "TIMESTAMP", "revised_by": "VARCHAR", "load_ids": "BIGINT[]"}
_IN_DAYS = "{0}.as_of_date between $first_date and $last_date"
_SAME_KEY = "{0}.account_id = {1}.account_id and {0}.as_of_date = {1}.as_of_date"


@dataclass(frozen=True)
class Versions:
    """What scores are computed with: hashes of the code of the models and the rubric, and of the parameters."""

    code: str
    parameters: str


def same_sql(columns: Sequence[str], one: str, other: str) -> str:
    """Return a SQL condition: two rows have equal values in these columns."""
    return " and ".join(f"{one}.{name} is not distinct from {other}.{name}" for name in columns)


def create_known_scores(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the table of the previous scores of unchanged signals, which the SELECT of the scores reads."""
    columns = ", ".join(f"{name} {kind}" for name, kind in KNOWN_COLUMNS.items())
    if not table_exists(connection, KNOWN) or columns_of(connection, KNOWN) != list(KNOWN_COLUMNS):
        connection.execute(f"create or replace table {KNOWN} ({columns})")
        _describe(connection, KNOWN)


def time_of_knowledge(connection: duckdb.DuckDBPyConnection, days: tuple[date, date], scored_at: datetime) -> datetime:
    """Return the time from which new scores of these days are known: ``scored_at``, but after every earlier one."""
    now = scored_at.replace(tzinfo=None)
    for table, column in ((SCORES, "known_from"), (SUPERSEDED, "known_to")):
        if table_exists(connection, table):
            latest = connection.execute(
                f"select max({column}) from {table} where as_of_date between ? and ?", [*days]
            ).fetchone()
            if latest and latest[0] and latest[0] >= now:
                now = latest[0] + timedelta(microseconds=1)
    return now


def keep_revised_signals(replace: Replace) -> Replace:
    """Return ``replace`` for the signals: it also keeps the known rows whose signals change or disappear."""

    def replace_and_keep(connection: duckdb.DuckDBPyConnection, build: Build) -> int:
        span = _span(build)
        if not (table_exists(connection, SCORES) and has_rows(connection, f"{SCORES} where {_within(build)}")):
            return replace(connection, build)
        _align_with_marts(connection, REVISED)
        connection.execute(
            f"create or replace temp table rows_before as select signals.* exclude (known_from), "
            f"scores.* exclude ({', '.join(KEYS)}) from {SIGNALS} as signals inner join {SCORES} as scores "
            f"on {_SAME_KEY.format('signals', 'scores')} and signals.tenant_id = scores.tenant_id "
            f"where {_IN_DAYS.format('signals')} and {_IN_DAYS.format('scores')} "
            # The present signals of a kept row are those of an attempt whose scores were never built.
            f"and not exists (select 1 from {REVISED} as kept where {_SAME_KEY.format('kept', 'signals')})",
            span,
        )
        rows = replace(connection, build)
        columns = _signal_columns(connection)
        connection.execute(
            f"delete from {REVISED} as kept using {SIGNALS} as signals "
            f"where {_IN_DAYS.format('kept')} and {_IN_DAYS.format('signals')} "
            f"and {_SAME_KEY.format('kept', 'signals')} and {same_sql(columns, 'kept', 'signals')}",
            span,
        )
        # Joined by the key and then compared: a join by all columns takes several times as long.
        connection.execute(
            f"insert into {REVISED} by name select before.* from rows_before as before "
            f"left join (select * from {SIGNALS} where {_within(build)}) as signals "
            f"on {_SAME_KEY.format('before', 'signals')} "
            f"where signals.account_id is null or not ({same_sql(columns, 'before', 'signals')})"
        )
        connection.execute("drop table rows_before")
        return rows

    return replace_and_keep


def supersede_scores(versions: Versions, known_at: datetime) -> Around:
    """Return what changes ``replace`` for the scores: rows that differ move to the superseded ones at ``known_at``."""

    def around(replace: Replace) -> Replace:
        def replace_and_supersede(connection: duckdb.DuckDBPyConnection, build: Build) -> int:
            _list_known_scores(connection, build)
            rows = replace(connection, build)
            _align_with_marts(connection, REVISED)
            _align_with_marts(connection, SUPERSEDED)
            _supersede(connection, build, versions, known_at)
            _state_basis(connection, build)
            _date_signals(connection, build)
            _store_versions(connection, build, versions)
            connection.execute(f"delete from {KNOWN}")
            connection.execute(f"delete from {REVISED} where {_within(build)}")
            return rows

        return replace_and_supersede

    return around


def _list_known_scores(connection: duckdb.DuckDBPyConnection, build: Build) -> None:
    connection.execute(f"delete from {KNOWN}")
    names = ", ".join(f"scores.{name}" for name in KNOWN_COLUMNS)
    revised = (
        f"and not exists (select 1 from {REVISED} as kept where {_SAME_KEY.format('kept', 'scores')})"
        if table_exists(connection, REVISED)
        else ""
    )
    connection.execute(
        f"insert into {KNOWN} by name select {names} from {SCORES} as scores inner join {SIGNALS} as signals "
        f"on {_SAME_KEY.format('scores', 'signals')} and scores.tenant_id = signals.tenant_id "
        f"where {_IN_DAYS.format('scores')} and {_IN_DAYS.format('signals')} {revised}",
        _span(build),
    )


def _supersede(connection: duckdb.DuckDBPyConnection, build: Build, versions: Versions, known_at: datetime) -> None:
    """Add the rows that the new scores replace or no longer have to the superseded ones, with the reason."""
    signals = ", ".join(f"signals.{name}" for name in _signal_columns(connection))
    scores = ", ".join(f"known.{name}" for name in KNOWN_COLUMNS if name not in KEYS)
    revised = (
        f"select kept.*, null as other_outcome from {REVISED} as kept where {_IN_DAYS.format('kept')} "
        f"union all by name select {signals}, {scores}, "
        f"case when {same_sql(THRESHOLDS, 'known', 'scores')} then 'code' else 'config' end as other_outcome "
        f"from {KNOWN} as known inner join {SIGNALS} as signals on {_SAME_KEY.format('known', 'signals')} "
        f"and {_IN_DAYS.format('signals')} "
        f"left join {SCORES} as scores on {_SAME_KEY.format('known', 'scores')} and {_IN_DAYS.format('scores')} "
        f"where scores.account_id is null or not ({same_sql(OUTCOME, 'known', 'scores')})"
    )
    connection.execute(f"create or replace temp table rows_revised as {revised}", _span(build))
    if has_rows(connection, "rows_revised"):
        connection.execute(
            f"insert into {SUPERSEDED} by name select revised.* exclude (other_outcome), "
            "$known_at as known_to, coalesce(revised.other_outcome, "
            "case when versions.parameters_hash <> $parameters then 'config' "
            "when versions.code_version <> $code then 'code' else 'records' end) as revised_by, "
            "coalesce(causes.load_ids, []) as load_ids "
            f"from rows_revised as revised left join {VERSIONS} as versions "
            "on revised.as_of_date = versions.as_of_date "
            f"left join ({causing_loads_sql('rows_revised', SCORES)}) as causes "
            f"on {_SAME_KEY.format('revised', 'causes')} "
            "order by revised.as_of_date, revised.tenant_id, revised.account_id",
            {"known_at": known_at, "parameters": versions.parameters, "code": versions.code},
        )
        mark_changed(connection, SUPERSEDED, build.days)
    connection.execute("drop table rows_revised")


def _date_signals(connection: duckdb.DuckDBPyConnection, build: Build) -> None:
    """Set ``known_from`` of the signals to that of their scores: the values of both are one statement."""
    updated = connection.execute(
        f"update {SIGNALS} as signals set known_from = scores.known_from from {SCORES} as scores "
        f"where {_SAME_KEY.format('signals', 'scores')} and {_IN_DAYS.format('signals')} "
        f"and {_IN_DAYS.format('scores')} and signals.known_from is distinct from scores.known_from",
        _span(build),
    ).fetchone()
    if updated and updated[0]:
        mark_changed(connection, SIGNALS, build.days)


def _state_basis(connection: duckdb.DuckDBPyConnection, build: Build) -> None:
    """Set the basis of the scores of a version without it; the day's scores follow the same rule."""
    if has_rows(connection, f"{SCORES} where basis is null"):
        connection.execute(
            f"update {SCORES} set basis = {BASIS} where basis is null",
            {"late_arrival_days": build.parameters["late_arrival_days"]},
        )


def _store_versions(connection: duckdb.DuckDBPyConnection, build: Build, versions: Versions) -> None:
    connection.execute(f"delete from {VERSIONS} where {_within(build)}")
    connection.execute(
        f"insert into {VERSIONS} select as_of_date, ?, ? from run.days order by as_of_date",
        [versions.code, versions.parameters],
    )


def _align_with_marts(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    """Create a table of rows of signals and scores, or add the columns that an earlier version lacks."""
    columns = {name: kind for mart in (SIGNALS, SCORES) for name, kind in _described(connection, mart).items()}
    if table == SUPERSEDED:
        columns |= _SUPERSEDED_COLUMNS
    if not table_exists(connection, table):
        connection.execute(f"create table {table} ({', '.join(f'{name} {kind}' for name, kind in columns.items())})")
        _describe(connection, table)
    # Superseded rows keep the columns of earlier versions.
    elif align_columns(connection, table, (_described(connection, table) if table == SUPERSEDED else {}) | columns):
        _describe(connection, table)


def _describe(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    """Store the descriptions of a table of signals and scores, and of its columns, as comments."""
    superseded = load_filled_tables()["csm_health_superseded"]
    description = superseded.description if table == SUPERSEDED else DESCRIPTIONS[table][0]
    connection.execute(f"comment on table {table} is {literal(description)}")
    for column in columns_of(connection, table):
        if column in superseded.columns:
            connection.execute(f"comment on column {table}.{column} is {literal(superseded.columns[column])}")


def _described(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    return dict(connection.execute(f"select column_name, column_type from (describe {table})").fetchall())


def _signal_columns(connection: duckdb.DuckDBPyConnection) -> list[str]:
    return [name for name in columns_of(connection, SIGNALS) if name != "known_from"]


def _within(build: Build) -> str:
    first, last = build.days or (date.min, date.max)
    return f"as_of_date between date '{first}' and date '{last}'"


def _span(build: Build) -> dict[str, date]:
    first, last = build.days or (date.min, date.max)
    return {"first_date": first, "last_date": last}
