"""Builds steps that a newer version added for past days, before the models that read them are rebuilt.

A warehouse of an earlier version has days of a mart, but no days of a step that was added later. Rebuilding such a day
from an empty step would delete its rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any

from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.engine import Engine
from csm_core.warehouse.late_changes import days_built
from csm_core.warehouse.models import SqlModel, load_models

LAYERS = ("intermediate", "marts")


def build_new_inputs(
    engine: Engine,
    model: SqlModel,
    parameters: Mapping[str, Any],
    days: tuple[date, date],
) -> None:
    """Build the inputs that an earlier version lacks: whole tables, and days of a span that ``model`` has."""
    built = days_built(engine.warehouse, model.table, days)
    if built:
        models = {one.table: one for layer in LAYERS for one in load_models(layer).values()}
        _build(engine, model, models, parameters, built)


def _build(
    engine: Engine,
    model: SqlModel,
    models: Mapping[str, SqlModel],
    parameters: Mapping[str, Any],
    built: frozenset[date],
) -> None:
    for table in sorted(model.dependencies & models.keys()):
        step = models[table]
        if step.layer == "intermediate" and not step.partitioned and not table_exists(engine.warehouse, table):
            engine.build(step, parameters)
        if not step.sql or not step.partitioned:
            continue
        missing = built - days_built(engine.warehouse, table, (min(built), max(built)))
        if missing:
            _build(engine, step, models, parameters, missing)
            for span in _spans(missing):
                engine.build(step, parameters, span)


def _spans(days: Iterable[date]) -> list[tuple[date, date]]:
    """Return the days as inclusive spans of consecutive days."""
    spans: list[tuple[date, date]] = []
    for day in sorted(days):
        if spans and spans[-1][1] + timedelta(days=1) == day:
            spans[-1] = (spans[-1][0], day)
        else:
            spans.append((day, day))
    return spans
