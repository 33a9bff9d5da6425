"""Given rows, expected rows: the cases of ``tests/sql/models/<model>.yml``, one file per model.

A case states the days, the rows of the tables that the model reads (``always`` holds those that all cases of a file
share) and the rows expected, in the order of the model's key; columns left out are null where given and not looked at
where expected.
"""

from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from csm_core.scoring.known_scores import create_known_scores
from csm_core.scoring.score_days import scores_sql, store_policies
from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.materialize import build_table
from csm_core.warehouse.models import SQL_ROOT, load_model
from tests.sql.harness import PARAMETERS, fresh, run_model, table

FILES = sorted((Path(__file__).parent / "models").glob("*.yml"))
CASES = [
    pytest.param(file.stem, {"always": stated.get("always", {}), **case}, id=f"{file.stem}: {case['case']}")
    for file in FILES
    for stated in [yaml.safe_load(file.read_text(encoding="utf-8"))]
    for case in stated["cases"]
]


@pytest.mark.parametrize(("name", "case"), CASES)
def test_a_model_gives_the_expected_rows(name: str, case: dict[str, Any]) -> None:
    layer = "intermediate" if name.startswith("int_") else "marts"
    days = case.get("days", ["2026-06-30"])
    with fresh() as connection:
        for dependency in load_model(SQL_ROOT / layer / f"{name}.sql", layer).dependencies:
            prepare(connection, dependency)
        for rows in (case["always"], case.get("given", {})):
            for given, records in rows.items():
                table(connection, given, records)
        found = run_model(connection, f"{layer}/{name}", days)
    expected = case["expect"]
    looked_at = [
        {column: plain(row[column]) for column in wanted} for row, wanted in zip(found, expected, strict=False)
    ]
    assert looked_at == [{column: plain(value) for column, value in wanted.items()} for wanted in expected]
    assert len(found) == len(expected)


def prepare(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """An empty table with the columns that its model gives, and so with those that the next one reads."""
    if table_exists(connection, name):
        return
    day = date(2026, 6, 30)
    layer, _, model_name = name.partition(".")
    if layer == "run":
        if model_name == "policies":
            store_policies(connection, ())
        if model_name == "known_scores":
            create_known_scores(connection)
        return
    model = load_model(SQL_ROOT / layer / f"{model_name}.sql", layer)
    if not model.sql:
        model = replace(model, sql=scores_sql())
    for dependency in model.dependencies:
        prepare(connection, dependency)
    parameters = {**PARAMETERS, "config_hash": "given", **dict.fromkeys(("scored_at", "known_at"), "2026-07-01")}
    parameters["late_arrival_days"] = 3
    build_table(connection, model, model.sql, parameters, (day, day))


def plain(value: Any) -> Any:
    """Dates as ISO text and amounts as numbers, whichever way the file spells them."""
    if isinstance(value, (date, datetime)):
        return value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()
    return float(value) if isinstance(value, Decimal) else value


def test_every_model_has_its_file() -> None:
    models = {path.stem for layer in ("intermediate", "marts") for path in (SQL_ROOT / layer).glob("*.sql")}
    assert {file.stem for file in FILES} == models
