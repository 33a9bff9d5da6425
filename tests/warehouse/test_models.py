"""Models read from disk: dependencies from the SQL, grain, columns and checks from the yml."""

from pathlib import Path

import pytest

from csm_core.errors import WarehouseError
from csm_core.warehouse.models import SQL_ROOT, load_model, load_models, parse_select

LAYERS = ("intermediate", "marts")
ALL_MODELS = [model for layer in LAYERS for model in load_models(layer).values()]
WITH_SQL = [model for model in ALL_MODELS if model.sql]


def write(folder: Path, sql: str, yml: str = "description: d\ngrain: [a]\ncolumns: {a: the a}") -> Path:
    (folder / "m.sql").write_text(sql, encoding="utf-8")
    (folder / "m.yml").write_text(yml, encoding="utf-8")
    return folder / "m.sql"


def test_dependencies_and_parameters_are_read_from_the_sql(tmp_path):
    sql = """
        -- mentions staging.not_read and $not_used
        with stage as (select a from staging.stg_x where d <= $as_of),
        nested as (select a from stage where a in (select b from run.days))
        select nested.a from nested left join intermediate.int_y using (a)
    """
    model = load_model(write(tmp_path, sql), "marts")
    assert model.dependencies == {"staging.stg_x", "run.days", "intermediate.int_y"}
    assert model.parameters == {"as_of"}


@pytest.mark.parametrize(
    ("sql", "said"), [("selec a", "not a SELECT"), ("select 1 as a; select 2 as a", "2 statements")]
)
def test_what_is_not_one_select_is_refused(tmp_path, sql, said):
    with pytest.raises(WarehouseError, match=said):
        parse_select(sql, tmp_path / "m.sql")


def test_a_model_without_yml_is_refused(tmp_path):
    (tmp_path / "m.sql").write_text("select 1 as a", encoding="utf-8")
    with pytest.raises(WarehouseError, match=r"m\.yml"):
        load_model(tmp_path / "m.sql", "marts")


def test_an_unknown_kind_of_check_is_refused(tmp_path):
    path = write(tmp_path, "select 1 as a", "description: d\ngrain: [a]\nchecks: [{unheard_of: [a]}]")
    with pytest.raises(WarehouseError, match="unheard_of"):
        load_model(path, "marts")


def test_the_version_follows_the_sql_text(tmp_path):
    first = load_model(write(tmp_path, "select 1 as a"), "marts").version
    second = load_model(write(tmp_path, "select 2 as a"), "marts").version
    assert first != second


@pytest.mark.parametrize("model", WITH_SQL, ids=lambda model: model.name)
def test_every_model_states_its_grain_and_describes_every_column(model):
    final = model.sql.rsplit("\nselect", 1)[1]
    assert model.description
    assert model.grain
    for column, text in model.columns.items():
        assert text, f"{model.name}.{column} has no description"
        assert column in final, f"{model.name}.yml describes {column}, which the SELECT does not give"
    assert set(model.grain) <= set(model.columns)
    assert model.sql.startswith("-- Grain:")
    assert "select *" not in model.sql
    assert "order by" in final
    if model.partitioned and "as_of_date" in model.grain:
        # A range of days is written day after day, so that a day is read later without the others.
        first_key = final.rsplit("order by", 1)[1].split(",")[0].strip()
        assert first_key.split(".")[-1] == "as_of_date"


def test_there_is_a_yml_for_every_sql_and_no_layer_reads_a_later_one():
    order = ["raw", "staging", "run", "intermediate", "marts"]
    for path in SQL_ROOT.rglob("*.sql"):
        assert path.with_suffix(".yml").is_file(), path
    for model in WITH_SQL:
        for table in model.dependencies:
            assert order.index(table.split(".")[0]) <= order.index(model.layer), (model.name, table)
