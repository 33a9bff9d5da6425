"""Runs the checks in a model's yml on the rows that a run built. Outcomes include the failed rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from csm_core.system.text_table import counted
from csm_core.warehouse.engine import Engine
from csm_core.warehouse.models import Check, SqlModel

SAMPLE_ROWS = 10
NOT_NULL = "not_null"


@dataclass(frozen=True)
class CheckOutcome:
    """The outcome of a check: the number of failed rows, the keys of the first ten, and a message."""

    name: str
    passed: bool
    failed_rows: int
    message: str
    sample: tuple[Mapping[str, Any], ...] = ()

    def text(self) -> str:
        """Return the message with the first rows, for output without tables."""
        rows = "; ".join(", ".join(f"{name} {value}" for name, value in row.items()) for row in self.sample)
        return f"{self.message} First rows: {rows}" if rows else self.message


def check_names(model: SqlModel) -> list[tuple[str, str]]:
    """Return name and description of every check of the model, in the order of ``run_checks``."""
    unique = [("key_unique", f"One row per {', '.join(model.grain)}.")] if model.grain else []
    return unique + [(check.name, check.description) for check in _all(model)]


def run_checks(
    engine: Engine,
    model: SqlModel,
    days: tuple[date, date] | None = None,
    queued_days: Sequence[date] | None = None,
) -> list[CheckOutcome]:
    """Check the model's table, or only the days that were built, in one pass.

    The days are ``days``, both included, for a partitioned model, and ``queued_days`` for an incremental model: other
    days were checked when they were built.
    """
    scope = ""
    values: dict[str, Any] = {}
    if model.partitioned and days:
        scope = " where as_of_date between $first_date and $last_date"
        values = {"first_date": days[0], "last_date": days[1]}
    elif model.incremental and queued_days is not None:
        # The plain bounds are answered from the storage's statistics, the list is not.
        column = model.incremental.column
        scope = f" where {column} between $first_date and $last_date and list_contains($queued_days, {column})"
        values = {
            "first_date": min(queued_days, default=None),
            "last_date": max(queued_days, default=None),
            "queued_days": list(queued_days),
        }
    outcomes: list[CheckOutcome] = []
    if model.grain:
        outcomes.append(_unique(engine, model, scope, values))
    checks = _all(model)
    if checks:
        counts = ", ".join(f"count(*) filter (where not ({check.predicate}))" for check in checks)
        row = engine.query(f"select {counts} from {model.table}{scope}", values)[0]
        for check, failed in zip(checks, row, strict=True):
            specific = _where_null(engine, model, scope, values) if failed and check.name == NOT_NULL else check
            outcomes.append(_outcome(engine, model, specific, int(failed), scope, values))
    return outcomes


def outcomes_by_day(
    engine: Engine, model: SqlModel, days: tuple[date, date], outcomes: Sequence[CheckOutcome]
) -> dict[date, Sequence[CheckOutcome]]:
    """Return the outcomes of each day, given those of all ``days`` together, both included.

    Days that pass have the outcomes of the range. If a check failed, the range is divided until the failed days are
    found, so that passing ranges cost nothing more.
    """
    first, last = days
    if first == last or all(outcome.passed for outcome in outcomes):
        return {first + timedelta(days=number): outcomes for number in range((last - first).days + 1)}
    middle = first + (last - first) // 2
    halves = (first, middle), (middle + timedelta(days=1), last)
    return {
        day: found
        for half in halves
        for day, found in outcomes_by_day(engine, model, half, run_checks(engine, model, half)).items()
    }


def _all(model: SqlModel) -> list[Check]:
    """Return the row checks. One check covers all not-null columns, since each check is costly in Dagster."""
    return [*([_none_null(model.never_null)] if model.never_null else []), *model.checks]


def _none_null(columns: Sequence[str], counted: Mapping[str, int] | None = None) -> Check:
    named = [f"{column} (null in {counted[column]:,})" if counted else column for column in columns]
    return Check(
        NOT_NULL, f"never null: {', '.join(named)}.", " and ".join(f"{column} is not null" for column in columns)
    )


def _where_null(engine: Engine, model: SqlModel, scope: str, values: Mapping[str, Any]) -> Check:
    """Return the check of the columns that have nulls, with their counts in its description."""
    counts = ", ".join(f"count(*) filter (where {column} is null)" for column in model.never_null)
    row = engine.query(f"select {counts} from {model.table}{scope}", values)[0]
    counted = {column: int(nulls) for column, nulls in zip(model.never_null, row, strict=True) if nulls}
    return _none_null(list(counted), counted)


def _unique(engine: Engine, model: SqlModel, scope: str, values: Mapping[str, Any]) -> CheckOutcome:
    key = ", ".join(model.grain)
    doubled = f"from {model.table}{scope} group by {key} having count(*) > 1"
    failed = int(engine.query(f"select count(*) from (select {key} {doubled})", values)[0][0])
    if not failed:
        return CheckOutcome("key_unique", True, 0, f"{model.table}: one row per {key}")
    sample = _sample(engine, f"select {key}, count(*) as rows {doubled} order by all limit {SAMPLE_ROWS}", values)
    return CheckOutcome(
        "key_unique", False, failed, f"{model.table}: more than one row for {counted(failed, 'key')} ({key})", sample
    )


def _outcome(
    engine: Engine,
    model: SqlModel,
    check: Check,
    failed: int,
    scope: str,
    values: Mapping[str, Any],
) -> CheckOutcome:
    if not failed:
        return CheckOutcome(check.name, True, 0, f"{model.table}: {check.description}")
    where = f"{scope} and" if scope else " where"
    columns = ", ".join(dict.fromkeys([*model.grain, *_mentioned(model, check)]))
    sample = _sample(
        engine,
        f"select {columns} from {model.table}{where} not ({check.predicate}) order by all limit {SAMPLE_ROWS}",
        values,
    )
    return CheckOutcome(
        check.name,
        False,
        failed,
        f"{model.table}: {counted(failed, 'row')} failed the check: {check.description}",
        sample,
    )


def _mentioned(model: SqlModel, check: Check) -> list[str]:
    return [column for column in model.columns if column in check.predicate]


def _sample(engine: Engine, sql: str, values: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    return tuple(engine.query_dicts(sql, values))
