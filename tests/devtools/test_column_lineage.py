"""Which columns are behind a column: what the file says of the models as they are now."""

import dataclasses

import pytest

from csm_core.contract import ENTITIES
from csm_core.devtools.column_lineage import LAYERS, LINEAGE_FILE, as_text, columns_behind, read_lineage
from csm_core.warehouse.models import load_models

MODELS = {model.table: model for layer in LAYERS for model in load_models(layer).values()}


@pytest.mark.parametrize("table", MODELS)
def test_every_column_is_traced_to_columns_that_are_there(table):
    behind = columns_behind(MODELS[table])
    assert behind.keys() == MODELS[table].columns.keys(), "run make docs"
    known = {entity.table: {column.name for column in entity.columns} for entity in ENTITIES.values()}
    known |= {name: set(model.columns) for name, model in MODELS.items()}
    assert all(column in known[other] for found in behind.values() for other, column in found)
    assert any(behind.values())


def test_a_column_comes_from_what_its_sql_says():
    signals = columns_behind(MODELS["marts.csm_health_signals"])
    assert signals["feature_adoption_rate"] == [("intermediate.int_account_features", "adopted")]
    scores = columns_behind(MODELS["marts.csm_health_scores"])
    assert scores["support_sentiment_points"] == [
        ("marts.csm_health_signals", "open_ticket_count"),
        ("marts.csm_health_signals", "support_sentiment"),
    ]
    assert ("marts.csm_health_signals", "tam_health_rag") in scores["score"]
    assert ("marts.csm_health_signals", "tam_health_rag") not in scores["raw_score"]


def test_of_sql_that_has_changed_nothing_is_said():
    model = MODELS["marts.csm_health_signals"]
    assert columns_behind(dataclasses.replace(model, sql=model.sql + " -- changed")) == {}


@pytest.mark.slow
def test_the_file_is_what_reading_the_sql_gives():
    assert LINEAGE_FILE.read_text(encoding="utf-8") == as_text(read_lineage()), "run make docs"
