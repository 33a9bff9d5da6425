"""Builds the models that change when days start to count: the marts of the day, and later days that look back at it.

A run builds the marts of its days as Dagster assets and ends with ``finish``. For a held day that a user accepts later,
the marts are built here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb

from csm_core.config import Config
from csm_core.days import portfolio_checks
from csm_core.errors import InputError, WarehouseError
from csm_core.receipts.day_roots import record_roots
from csm_core.rubric import weight_parameters
from csm_core.warehouse import day_status
from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.engine import Engine
from csm_core.warehouse.materialize import ModelResult
from csm_core.warehouse.model_checks import CheckOutcome, run_checks
from csm_core.warehouse.models import SqlModel, load_models
from csm_core.warehouse.new_inputs import build_new_inputs

DAYS_MODEL = "csm_days"
# These marts compare a day with earlier days, up to this number of days before it; in order of dependency.
LOOKING_BACK = {
    "csm_settled_bands": 176,
    "csm_rag_transitions": 176,
    "csm_review_signals": 28,
    "csm_qbr": 28,
    "csm_disagreements": 90,
}


def model_parameters(config: Config) -> dict[str, Any]:
    """Return the parameters of the models: those of the configuration, and the weights of the rubric."""
    return {**config.sql_parameters(), **weight_parameters()}


def finish(engine: Engine, config: Config, finished: Sequence[date]) -> tuple[ModelResult, tuple[date, date] | None]:
    """Set days that passed their checks to complete or accepted, and rebuild ``marts.csm_days``.

    Later days that already count are now compared with these days, so their marts that look back are rebuilt first.
    Returns the result of ``marts.csm_days`` and the first and last rebuilt day.
    """
    later = _build_later(engine, config, max(finished)) if finished else None
    day_status.finish_days(engine.warehouse, finished)
    return engine.build(load_models("marts")[DAYS_MODEL], model_parameters(config)), later


def withdraw_day(engine: Engine, config: Config, day: date) -> None:
    """Rebuild the models that list statuses or include a day that is held now and may have counted before.

    If the first day of a warehouse is held, models that they read may not be built yet; these are built before.
    """
    _build_later(engine, config, day)
    for model in _unbuilt_inputs(engine):
        engine.build(model, model_parameters(config), (day, day) if model.partitioned else None)
    for model in built_from_statuses():
        engine.build(model, model_parameters(config))


def show_counted_days(engine: Engine, parameters: Mapping[str, Any] | None = None) -> None:
    """Rebuild the tables of statuses and of the newest complete day if they do not match the statuses.

    A killed run can leave them outdated. Tables that were never built are left to the next run, and so are tables that
    read them, and tables with parameters, if ``parameters`` are not given.
    """
    values = parameters or {}
    statuses = day_status.statuses(engine.warehouse)
    outdated: list[SqlModel] = []
    left: set[str] = set()
    for model in built_from_statuses():
        is_built = table_exists(engine.warehouse, model.table)
        if not is_built or model.dependencies & left or not model.parameters <= values.keys():
            left.add(model.table)
            continue
        if model.name == DAYS_MODEL:
            is_current = day_status.listed(engine.warehouse) == statuses
        else:
            is_current = _shows_counted_days(engine, model, [one.day for one in statuses.values() if one.counts])
        if not is_current:
            outdated.append(model)
    for model in outdated:
        engine.build(model, values)


def _shows_counted_days(engine: Engine, model: SqlModel, counted: Sequence[date]) -> bool:
    """Whether the latest day of a table is the newest counted day, and its other scored days count.

    A table without rows counts as outdated, because it does not show for which day it was built. A table by month shows
    it as the end of its newest month; the ends of earlier months need not be scored.
    """
    by_month = "as_of_date" not in model.columns
    column = "month_end" if by_month else "as_of_date"
    shown = {day for (day,) in engine.query(f"select distinct {column} from {model.table}")}
    is_newest = max(shown, default=None) == max(counted, default=None)
    return is_newest and (by_month or shown.issubset(counted))


def _build_later(engine: Engine, config: Config, last: date) -> tuple[date, date] | None:
    """Rebuild later days that count and look back at ``last``; returns their first and last, None without any."""
    newest = day_status.newest_counted_day(engine.warehouse)
    if newest is None or newest <= last:
        return None
    first = last + timedelta(days=1)
    models = load_models("marts")
    for name, days in LOOKING_BACK.items():
        if table_exists(engine.warehouse, models[name].table):
            _build(engine, config, models[name], (first, min(newest, last + timedelta(days=days))))
    return first, min(newest, last + timedelta(days=max(LOOKING_BACK.values())))


def newest_held_day(connection: duckdb.DuckDBPyConnection) -> date:
    """Return the newest held day. Raises InputError if no day is held."""
    held = [one.day for one in day_status.statuses(connection).values() if one.status == day_status.HELD]
    if not held:
        message = "no day is held, so there is nothing to accept"
        raise InputError(message)
    return held[-1]


def accept(engine: Engine, config: Config, day: date, checks: Collection[str], accepted_by: str) -> None:
    """Accept the failed checks of a held day: build the models that depend on its scores, and count the day.

    Raises InputError if the day is not held, if a check is unknown or did not fail, or if a failed check is missing;
    WarehouseError if a table built from the scores fails its checks, in which case the day stays held.
    """
    day_status.forget_passed_days(engine.warehouse)
    status = day_status.status_of(engine.warehouse, day)
    failed_checks, message = _acceptable(status, day, checks)
    failed = dict.fromkeys(failed_checks, "") | {failed_checks[0]: message}
    day_status.pass_days(engine.warehouse, [day], failed, accepted_by)
    try:
        for model in _built_from_scores():
            _build(engine, config, model, (day, day))
        # Before the day counts, so that a killed process cannot leave an accepted day without its record.
        for name in failed_checks:
            portfolio_checks.record_acceptance(
                engine.warehouse, CheckOutcome(name, False, 0, message), day, accepted_by
            )
        finish(engine, config, [day])
        record_roots(engine.warehouse, [day], model_parameters(config), datetime.now(UTC))
        for model in built_from_statuses():
            if model.name != DAYS_MODEL:
                _build(engine, config, model, (day, day))
    except BaseException:
        day_status.hold_day(engine.warehouse, day, failed)
        raise


def _acceptable(status: day_status.DayStatus | None, day: date, checks: Collection[str]) -> tuple[tuple[str, ...], str]:
    """Return the failed checks of a held day and their message; InputError if the day or the checks do not match."""
    portfolio_checks.require_known(checks)
    if status is None or status.status != day_status.HELD:
        message = f"{status.text() if status else f'{day} is not scored'}: only a held day can be accepted"
        raise InputError(message)
    not_failed = sorted(set(checks) - set(status.failed_checks))
    if not_failed:
        message = (
            f"{', '.join(not_failed)} did not fail on {day}, so it cannot be accepted; "
            f"failed: {', '.join(status.failed_checks)}"
        )
        raise InputError(message)
    missing = [name for name in status.failed_checks if name not in checks]
    if missing:
        message = (
            f"{day} is also held by {', '.join(missing)}; to accept the day, accept every failed check: "
            f"{' '.join(f'--accept {name}' for name in status.failed_checks)}"
        )
        raise InputError(message)
    return status.failed_checks, status.message


def _build(engine: Engine, config: Config, model: SqlModel, span: tuple[date, date]) -> ModelResult:
    if model.partitioned:
        build_new_inputs(engine, model, model_parameters(config), span)
    result = engine.build(model, model_parameters(config), span if model.partitioned else None)
    failed = [outcome for outcome in run_checks(engine, model, span) if not outcome.passed]
    if failed:
        message = f"{model.table} failed its checks for {span[0]} to {span[1]}: {failed[0].text()}"
        raise WarehouseError(message)
    return result


def built_from_statuses() -> list[SqlModel]:
    """Return the marts that read the statuses, directly or through other marts, in order of dependency.

    They are built when the statuses of a run's days are final.
    """
    return _in_order(_reading(_mart_models(), {day_status.STATUS_TABLE}))


def _built_from_scores() -> list[SqlModel]:
    """Return the other marts that read the scores, directly or through other marts, in order of dependency."""
    last = {model.table for model in built_from_statuses()}
    others = [model for model in _mart_models() if model.table not in last]
    return _in_order(_reading(others, {day_status.SCORES_TABLE}))


def _unbuilt_inputs(engine: Engine) -> list[SqlModel]:
    """Return the models without a table that the marts of the statuses read, in order of dependency."""
    last = built_from_statuses()
    models = {model.table: model for layer in ("intermediate", "marts") for model in load_models(layer).values()}
    found: dict[str, SqlModel] = {}
    waiting = {table for model in last for table in model.dependencies} - {model.table for model in last}
    while waiting:
        table = waiting.pop()
        if table in models and models[table].sql and not table_exists(engine.warehouse, table):
            found[table] = models[table]
            waiting |= models[table].dependencies - found.keys()
    return _in_order(list(found.values()))


def _mart_models() -> list[SqlModel]:
    """Return the marts with a SQL file."""
    return [model for model in load_models("marts").values() if model.sql]


def _reading(models: Sequence[SqlModel], tables: set[str]) -> list[SqlModel]:
    """Return the models that read one of the tables, directly or through each other."""
    reached = set(tables)
    while more := {model.table for model in models if model.dependencies & reached} - reached:
        reached |= more
    return [model for model in models if model.table in reached]


def _in_order(models: Sequence[SqlModel]) -> list[SqlModel]:
    """Return the models in order of dependency, by name if they do not depend on each other."""
    waiting = {model.table: model for model in sorted(models, key=lambda one: one.table)}
    ordered: list[SqlModel] = []
    while waiting:
        ready = [table for table, model in waiting.items() if not model.dependencies & waiting.keys()]
        ordered += [waiting.pop(table) for table in ready]
    return ordered
