"""Every model transpiles from DuckDB to Spark, and uses none of the constructs that mean something else there."""

import re

import pytest
import sqlglot
from sqlglot import exp

from csm_core.sources.registry import system_names
from csm_core.warehouse.models import load_models, staging_models

ON_SPARK = [model for layer in ("intermediate", "marts") for model in load_models(layer).values() if model.sql]
MODELS = [
    *ON_SPARK,
    *(model for system in system_names() for model in staging_models(system).values()),
]
# Records in the columns of the contract are passed on as they come, unsorted, since there may be much of them.
AS_THEY_COME = [model.path for system in ("files", "ravenstack") for model in staging_models(system).values()]
FORBIDDEN = (
    exp.Interval,
    exp.Pivot,
    exp.RegexpReplace,
    exp.Rand,
    exp.CurrentDate,
    exp.CurrentTimestamp,
    exp.Explode,
    exp.GenerateSeries,
)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model.layer}/{model.name}")
def test_a_model_transpiles_to_one_spark_statement(model):
    statements = sqlglot.transpile(model.sql, read="duckdb", write="spark", unsupported_level=sqlglot.ErrorLevel.RAISE)
    assert len(statements) == 1
    assert sqlglot.parse_one(statements[0], read="spark")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model.layer}/{model.name}")
def test_a_model_keeps_to_the_portable_subset(model):
    tree = sqlglot.parse_one(model.sql, read="duckdb")
    found = [type(node).__name__ for node in tree.walk() if isinstance(node, FORBIDDEN) and not _is_unpivot(node)]
    assert found == []
    assert not re.search(r"\bselect\s+\*", model.sql)
    assert tree.args.get("order") is not None or model.path in AS_THEY_COME


@pytest.mark.parametrize("model", ON_SPARK, ids=lambda model: model.name)
def test_a_model_does_not_depend_on_the_time_zone_of_the_session(model):
    """Spark takes times without a time zone for local times when it truncates or subtracts them."""
    tree = sqlglot.parse_one(model.sql, read="duckdb")
    units = {node.text("unit").upper() for node in tree.find_all(exp.DateDiff)}
    assert units <= {"DAY"}
    assert [node.sql() for node in tree.find_all(exp.TimestampTrunc)] == []


def _is_unpivot(node: exp.Expression) -> bool:
    return isinstance(node, exp.Pivot) and bool(node.args.get("unpivot"))
