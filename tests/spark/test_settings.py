"""Every model on sessions with other settings than ours: its rows must not depend on them."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from csm_core.days.finished_days import model_parameters
from csm_core.scoring.score_days import scores_sql
from csm_core.scoring.sql import TEXT
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.models import load_models
from csm_core.warehouse.remote_engine import KEPT_IN_ENGINE, RemoteEngine
from csm_core.warehouse.spark_session import SETTINGS, SparkConnectSession
from tests.conftest import VOLATILE, make_company, tables
from tests.in_process import csm

pytestmark = pytest.mark.slow

DAY = date(2026, 7, 1)
OPTIONS = {
    "spark.sql.ansi.enabled": ("true", "false"),
    "spark.sql.session.timeZone": ("UTC", "America/New_York"),
    "spark.sql.shuffle.partitions": ("1", "7"),
    "spark.sql.adaptive.enabled": ("true", "false"),
}
COMBINATIONS = [dict(zip(OPTIONS, values, strict=True)) for values in itertools.product(*OPTIONS.values())]


@pytest.fixture(scope="module")
def company(tmp_path_factory):
    """The example company as DuckDB built it for a day, and its tables."""
    one = make_company(tmp_path_factory.mktemp("settings"), "acme")
    done = csm("run", "--as-of", str(DAY), "--no-publish", "--config", str(one.config_file), folder=one.folder)
    assert done.status == 0, done.stdout + done.stderr
    return one, tables(one.config.warehouse, ("intermediate", "marts"), {*VOLATILE, "config_hash"})


@pytest.mark.parametrize("settings", COMBINATIONS, ids=lambda settings: ", ".join(settings.values()))
def test_the_rows_of_every_model_are_equal(company, server, tmp_path, settings):
    one, wanted = company
    session = SparkConnectSession(server, None, str(tmp_path / "tables"), {**SETTINGS, **settings})
    parameters = {**model_parameters(one.config), "config_hash": "", "late_arrival_days": 3}
    parameters |= dict.fromkeys(("scored_at", "known_at"), "2026-07-02 00:00:00")
    models = {
        model.table: model if model.sql else replace(model, sql=scores_sql(TEXT))
        for layer in ("intermediate", "marts")
        for model in load_models(layer).values()
    }
    copy = Path(shutil.copy(one.config.warehouse, tmp_path / "copy.duckdb"))
    with Warehouse(copy).connect() as connection:
        _forget_rows(connection, models.values())
        engine = RemoteEngine(connection, session)
        for model in _in_order(models):
            is_scores = model.name == "csm_health_scores"
            engine.build(
                model,
                parameters,
                (DAY, DAY) if model.partitioned else None,
                sql=scores_sql() if is_scores else None,
                portable_sql=model.sql,
            )
        for table in KEPT_IN_ENGINE:
            connection.register("rows_of_engine", session.query(f"select * from {table}", {}))
            connection.execute(f"insert into {table} by name from rows_of_engine")
    session.stop()
    found = tables(copy, ("intermediate", "marts"), {*VOLATILE, "config_hash"})
    assert [table for table in wanted if found[table] != wanted[table]] == []


def _forget_rows(connection, models):
    """Delete what DuckDB built, so that every row is the engine's, and queue each day of the roll-up again."""
    for model in models:
        if model.incremental:
            connection.execute(f"delete from {model.incremental.queue}")
            connection.execute(f"insert into {model.incremental.queue} select distinct usage_date from {model.table}")
        connection.execute(f"delete from {model.table}")


def _in_order(models):
    """Every model after those that it reads; the statuses of days are tables of the warehouse."""
    waiting = dict(models)
    while waiting:
        ready = [table for table, model in waiting.items() if not model.dependencies & (waiting.keys() - {table})]
        for table in sorted(ready):
            yield waiting.pop(table)
