"""With published: {parquet: true}, the Parquet files have the rows of the published copy, whatever happened before."""

from datetime import date

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csm_core.analysts import parquet_files
from csm_core.analysts.published_copy import publish_copy, write_parquet
from csm_core.warehouse.database import Warehouse
from tests.analysts.test_published_copy import SQL, YML, build, model_of
from tests.conftest import Company
from tests.examples import examples

DAYS = (date(2026, 6, 1), date(2026, 6, 10))
TOTAL_YML = "description: All days.\ngrain: [days]\npartitioned: false\ncolumns:\n  days: the number of days\n"
TOTAL = "select count(*) as days from marts.daily"


@pytest.fixture
def warehouse(tmp_path):
    """A warehouse with ten days and a total, published with Parquet files."""
    one = Warehouse(tmp_path / "data" / "w.duckdb", writes_parquet=True)
    one.path.parent.mkdir()
    build_days(one, tmp_path, 1, DAYS)
    build_total(one, tmp_path)
    publish_copy(one)
    return one


def build_days(warehouse, folder, factor, days, sql=SQL, yml=YML):
    build(warehouse, model_of(folder, sql=sql, yml=yml), factor, days)


def build_total(warehouse, folder):
    build(warehouse, model_of(folder, "total", TOTAL, TOTAL_YML), 1, None)


def folder_of(warehouse):
    return warehouse.published_path.parent / "parquet"


def files(warehouse):
    """The files, each with the number that the system gave it: a replaced file has another one."""
    folder = folder_of(warehouse)
    return {str(path.relative_to(folder)): path.stat().st_ino for path in folder.rglob("*.parquet")}


def assert_in_step(warehouse):
    """The files have the rows of the copy, each day in its file, and there is nothing else."""
    folder = folder_of(warehouse)
    with duckdb.connect(str(warehouse.published_path), read_only=True) as copy:
        marts = [
            name
            for (name,) in copy.execute("select table_name from duckdb_tables() where schema_name = 'marts'").fetchall()
        ]
        for mart in marts:
            rows = copy.execute(f"from marts.{mart} order by all").fetchall()
            assert duckdb.sql(f"from '{folder}/{mart}/*.parquet' order by all").fetchall() == rows
    assert sorted(path.name for path in folder.iterdir()) == sorted(["_copy.json", *marts])
    assert not list(folder.rglob("*.new"))
    for path in (folder / "daily").iterdir():
        days = duckdb.sql(f"select distinct as_of_date from '{path}'").fetchall()
        assert days == [(date.fromisoformat(path.stem),)]


def test_each_day_has_a_file_and_other_marts_have_one(warehouse):
    assert_in_step(warehouse)
    assert set(files(warehouse)) == {*(f"daily/2026-06-{day:02}.parquet" for day in range(1, 11)), "total/all.parquet"}


def test_only_the_days_built_since_are_written_again(warehouse, tmp_path):
    before = files(warehouse)
    build_days(warehouse, tmp_path, 100, (date(2026, 6, 3), date(2026, 6, 3)))
    build_days(warehouse, tmp_path, 1, (date(2026, 6, 11), date(2026, 6, 11)))
    publish_copy(warehouse)
    assert_in_step(warehouse)
    after = files(warehouse)
    assert {name for name in after if after[name] != before.get(name)} == {
        "daily/2026-06-03.parquet",
        "daily/2026-06-11.parquet",
    }


def test_days_and_marts_that_the_copy_does_not_have_are_deleted(warehouse):
    with warehouse.connect() as connection:
        connection.execute("delete from marts.daily where as_of_date = date '2026-06-05'")
        connection.execute("insert into run.changed_marts values ('marts.daily', '2026-06-05', '2026-06-05')")
        connection.execute("drop table marts.total")
    publish_copy(warehouse)
    assert_in_step(warehouse)
    assert "daily/2026-06-05.parquet" not in files(warehouse)
    assert not any(name.startswith("total/") for name in files(warehouse))


def test_a_column_more_is_in_every_file(warehouse, tmp_path):
    more = SQL.replace(" from run.days", ", 'x' as label from run.days")
    build_days(warehouse, tmp_path, 1, (DAYS[1], DAYS[1]), more, f"{YML}  label: a letter\n")
    publish_copy(warehouse)
    assert_in_step(warehouse)


@pytest.mark.parametrize("written", [0, 1, 5, 9])
def test_after_a_failure_every_file_is_written_again(warehouse, tmp_path, monkeypatch, written):
    build_days(warehouse, tmp_path, 3, DAYS)
    left = iter([True] * written)
    write = parquet_files._write

    def failing(*arguments):
        if not next(left, False):
            raise OSError(28, "No space left on device")
        write(*arguments)

    monkeypatch.setattr(parquet_files, "_write", failing)
    with pytest.raises(OSError, match="No space"):
        publish_copy(warehouse)
    monkeypatch.undo()
    assert not (folder_of(warehouse) / "_copy.json").exists()
    before = files(warehouse)
    build_days(warehouse, tmp_path, 5, (DAYS[0], DAYS[0]))
    publish_copy(warehouse)
    assert_in_step(warehouse)
    assert not set(files(warehouse).items()) & set(before.items())


@pytest.mark.parametrize("state", ["", "[]", '{"checksum": "another", "columns": {}}', None])
def test_files_of_another_copy_are_written_again(warehouse, tmp_path, state):
    state_file = folder_of(warehouse) / "_copy.json"
    if state is None:
        state_file.unlink()
    else:
        state_file.write_text(state)
    (folder_of(warehouse) / "daily" / "2026-06-02.parquet").write_text("another file")
    (folder_of(warehouse) / "daily" / ".2026-06-03.parquet.new").write_text("a killed run")
    build_days(warehouse, tmp_path, 1, (DAYS[1], DAYS[1]))
    publish_copy(warehouse)
    assert_in_step(warehouse)


def test_switched_off_there_are_no_files(warehouse):
    publish_copy(Warehouse(warehouse.path))
    assert not folder_of(warehouse).exists()
    publish_copy(warehouse)
    assert_in_step(warehouse)


def test_the_files_can_be_written_from_an_existing_copy(warehouse):
    parquet_files.remove_parquet(warehouse.published_path)
    write_parquet(warehouse)
    assert_in_step(warehouse)


@settings(max_examples=examples(6), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 2), st.integers(1, 9), st.booleans()), max_size=4))
def test_files_are_in_step_whatever_was_built_in_between(warehouse, tmp_path, builds):
    for first, more, factor, published in builds:
        build_days(warehouse, tmp_path, factor, (date(2026, 6, first), date(2026, 6, first + more)))
        if published:
            publish_copy(warehouse)
    build_total(warehouse, tmp_path)
    publish_copy(warehouse)
    assert_in_step(warehouse)


@pytest.mark.slow
def test_forgetting_an_account_removes_it_from_the_files(company):
    one: Company = company("acme", published={"parquet": True})
    assert one.csm("run", "--as-of", "2026-09-30", "--no-publish").returncode == 0
    pattern = f"{one.config.warehouse.parent}/published/parquet/*/*.parquet"
    counted = f"select count(*) filter (account_id = 'A0026') from read_parquet('{pattern}', union_by_name = true)"
    assert duckdb.sql(counted).fetchall() > [(10,)]
    done = one.csm("forget", "A0026", "--yes")
    assert done.returncode == 0, done.stderr
    assert duckdb.sql(counted).fetchall() == [(0,)]
