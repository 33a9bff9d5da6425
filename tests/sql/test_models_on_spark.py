"""Every intermediate and mart model of the example company on PySpark, row for row what DuckDB gave."""

import os
import shutil
from dataclasses import replace
from datetime import date

import duckdb
import pytest

from csm_core.contract import ENTITIES
from csm_core.rubric import weight_parameters
from csm_core.scoring.score_days import scores_sql
from csm_core.scoring.sql import TEXT
from csm_core.warehouse.models import load_models
from tests.conftest import VOLATILE, make_company
from tests.sql.spark_models import attempt, hand_back, hand_over, in_dependency_order, local_spark

pytestmark = pytest.mark.slow

# Up to the first day of a quarter, on which reviews fall due, from 28 days before it, with which scores are compared.
FIRST, LAST = date(2026, 6, 3), date(2026, 7, 1)
MODELS = {
    model.table: model if model.sql else replace(model, sql=scores_sql(TEXT))
    for layer in ("intermediate", "marts")
    for model in load_models(layer).values()
}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """DuckDB with the project's tables in the catalog ``warehouse`` and Spark's in ``spark``, and what failed there."""
    pytest.importorskip("pyspark", reason="PySpark is an extra of its own: `make setup-all` installs it")
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        pytest.skip("PySpark needs Java 17 or later, and there is no java on the PATH nor a JAVA_HOME")
    folder = tmp_path_factory.mktemp("spark")
    company = make_company(folder, "acme")
    result = company.csm("run", "--from", str(FIRST), "--to", str(LAST), "--no-publish")
    assert result.returncode == 0, result.stdout + result.stderr
    parameters = {
        **company.config.sql_parameters(),
        **weight_parameters(),
        "config_hash": company.config.config_hash,
        "scored_at": "2026-07-02 00:00:00",
    }
    failed: dict[str, str] = {}
    with duckdb.connect() as connection, local_spark(folder) as spark:
        connection.execute("set timezone = 'UTC'")
        connection.execute(f"attach '{company.config.warehouse}' as warehouse (read_only)")
        connection.execute("attach ':memory:' as spark")
        used_days = "select distinct cast(occurred_at as date) as usage_date from warehouse.staging.stg_usage_events"
        first_use, last_use = connection.execute(
            f"select min(usage_date), max(usage_date) from ({used_days})"
        ).fetchone()
        for entity in ENTITIES.values():
            hand_over(connection, spark, f"from warehouse.{entity.table}", entity.table, folder)
        for table in ("run.days", "run.policies", "run.days_status", "run.uncounted_days"):
            hand_over(connection, spark, f"from warehouse.{table}", table, folder)
        # Here the roll-ups are of the whole history, as after a first load.
        for queue in ("run.pending_usage_days", "run.pending_account_usage_days"):
            hand_over(connection, spark, used_days, queue, folder)
        for model in in_dependency_order(list(MODELS.values())):
            days = (first_use, last_use) if model.incremental else (FIRST, LAST)
            error = attempt(spark, model, {**parameters, "first_date": days[0], "last_date": days[1]})
            if error:
                # Each model is judged by itself: those that read this one go on from DuckDB's rows.
                failed[model.table] = error
                hand_over(connection, spark, f"from warehouse.{model.table}", model.table, folder)
            else:
                hand_back(spark, connection, model.table, folder)
        yield connection, failed


@pytest.mark.parametrize("table", MODELS)
def test_spark_gives_every_row_that_duckdb_gave(both, table):
    connection, failed = both
    assert table not in failed, failed[table]
    columns = [
        name for name, *_ in connection.execute(f"describe warehouse.{table}").fetchall() if name not in VOLATILE
    ]
    listed = ", ".join(f'"{name}"' for name in columns)
    wanted = connection.execute(f"select {listed} from warehouse.{table} order by all").fetchall()
    found = connection.execute(f"select {listed} from spark.{table} order by all").fetchall()
    assert wanted
    assert len(found) == len(wanted)
    differing = [
        {name: pair for name, *pair in zip(columns, one, other, strict=True) if pair[0] != pair[1]}
        for one, other in zip(wanted, found, strict=True)
        if one != other
    ]
    assert not differing, f"{len(differing)} of {len(wanted)} rows, as [DuckDB, Spark]: {differing[:3]}"
