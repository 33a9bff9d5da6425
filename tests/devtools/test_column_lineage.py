"""The columns that each column comes from, as stored for the current models."""

import dataclasses

import pytest

from csm_core.contract import ENTITIES
from csm_core.devtools.column_lineage import LAYERS, LINEAGE_FILE, as_text, column_lineage_of, read_lineage
from csm_core.warehouse.models import load_models
from csm_core.warehouse.version_tables import VERSION_TABLES

MODELS = {model.table: model for layer in LAYERS for model in load_models(layer).values()}


@pytest.mark.parametrize("table", MODELS)
def test_every_column_is_traced_to_columns_that_are_there(table):
    origins = column_lineage_of(MODELS[table])
    assert origins.keys() == MODELS[table].columns.keys(), "run make docs"
    known = {entity.table: {column.name for column in entity.columns} for entity in ENTITIES.values()}
    known |= {versions.table: set(versions.columns) for versions in VERSION_TABLES.values()}
    known |= {name: set(model.columns) for name, model in MODELS.items()}
    assert all(column in known[other] for found in origins.values() for other, column in found)
    assert any(origins.values())


def test_a_column_comes_from_what_its_sql_says():
    signals = column_lineage_of(MODELS["marts.csm_health_signals"])
    assert signals["feature_adoption_rate"] == [("intermediate.int_account_features", "adopted")]
    scores = column_lineage_of(MODELS["marts.csm_health_scores"])
    assert scores["support_sentiment_points"] == [
        ("marts.csm_health_signals", "open_ticket_count"),
        ("marts.csm_health_signals", "support_sentiment"),
    ]
    assert ("marts.csm_health_signals", "tam_health_rag") in scores["score"]
    assert ("marts.csm_health_signals", "tam_health_rag") not in scores["raw_score"]


def test_of_sql_that_has_changed_nothing_is_said():
    model = MODELS["marts.csm_health_signals"]
    assert column_lineage_of(dataclasses.replace(model, sql=model.sql.replace("0.5", "0.6"))) == {}
    assert column_lineage_of(dataclasses.replace(model, sql=model.sql + " -- a comment")) == column_lineage_of(model)


@pytest.mark.slow
def test_the_file_is_what_reading_the_sql_gives():
    assert LINEAGE_FILE.read_text(encoding="utf-8") == as_text(read_lineage()), "run make docs"
