"""A warehouse of the previous version: renamed columns keep their values, and previous names stay readable."""

from datetime import date

import duckdb
import pytest

from csm_core.analysts.published_copy import publish_copy
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.materialize import build_model
from csm_core.warehouse.models import load_model, load_models

RENAMING = [model for layer in ("intermediate", "marts") for model in load_models(layer).values() if model.renamed]
DAY, NEXT_DAY = date(2026, 6, 1), date(2026, 6, 2)
YML = """
description: A day's value.
grain: [as_of_date]
partitioned: true
columns: {as_of_date: the day, value: the day's number}
"""
SQL = "select as_of_date, day(as_of_date) as value from run.days order by as_of_date"


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse(tmp_path / "w.duckdb")


def mart(folder, more=""):
    (folder / "daily.sql").write_text(SQL)
    (folder / "daily.yml").write_text(YML + more)
    return load_model(folder / "daily.sql", "marts")


def views(connection):
    return connection.execute("select view_name from duckdb_views() where schema_name = 'marts'").fetchall()


@pytest.mark.parametrize("model", RENAMING, ids=lambda model: model.name)
def test_a_renamed_column_keeps_its_values_when_the_file_is_opened(warehouse, model):
    previous = [model.renamed.get(name, name) for name in model.columns if name != "window_days"]
    with warehouse.connect() as connection:
        connection.execute(f"create table {model.table} ({', '.join(f'{name} integer' for name in previous)})")
        connection.execute(f"insert into {model.table} values ({', '.join(str(n) for n in range(len(previous)))})")
        connection.execute("delete from run.migrations where number >= 10")
    for _ in range(2):
        with warehouse.connect() as connection:
            found = connection.execute(f"from {model.table}")
            names = [column[0] for column in found.description]
            row = dict(zip(names, found.fetchone(), strict=True))
            assert set(names) == set(model.columns)
            assert all(
                row[name] == previous.index(model.renamed.get(name, name)) for name in row if name != "window_days"
            )


def test_a_mart_with_renamed_columns_has_a_view_with_the_previous_names_in_the_copy_too(warehouse, tmp_path):
    model = mart(tmp_path, "renamed: {value: number}\n")
    with warehouse.connect() as connection:
        build_model(connection, model, {}, (DAY, NEXT_DAY))
        assert connection.execute("select number from marts.daily_v0 order by 1").fetchall() == [(1,), (2,)]
    for _ in range(2):
        copy = publish_copy(warehouse)
        with duckdb.connect(str(copy), read_only=True) as connection:
            assert connection.execute("select number from marts.daily_v0 order by 1").fetchall() == [(1,), (2,)]
            uncommented = "select column_name from duckdb_columns() where schema_name = 'marts' and comment is null"
            assert connection.execute(uncommented).fetchall() == []
        with duckdb.connect() as connection:
            connection.execute(f"attach '{copy}' as analytics (read_only)")
            assert connection.execute("select max(number) from analytics.marts.daily_v0").fetchall() == [(2,)]


def test_the_view_goes_with_the_next_version(warehouse, tmp_path):
    with warehouse.connect() as connection:
        build_model(connection, mart(tmp_path, "renamed: {value: number}\n"), {}, (DAY, DAY))
        assert views(connection) == [("daily_v0",)]
    publish_copy(warehouse)
    with warehouse.connect() as connection:
        build_model(connection, mart(tmp_path), {}, (NEXT_DAY, NEXT_DAY))
        assert views(connection) == []
    with duckdb.connect(str(publish_copy(warehouse)), read_only=True) as connection:
        assert views(connection) == []
        assert connection.execute("select count(*) from marts.daily").fetchone() == (2,)
