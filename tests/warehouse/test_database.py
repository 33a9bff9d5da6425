"""The warehouse: days replaced in one transaction, files opened by one writer, copies replaced at once."""

import multiprocessing
import subprocess
import sys
import threading
import time
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
import structlog

from csm_core import logging as csm_logging
from csm_core.analysts.published_copy import publish_copy
from csm_core.errors import WarehouseError, WarehouseInputError
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.duckdb_engine import DuckDbEngine
from csm_core.warehouse.materialize import build_model
from csm_core.warehouse.model_checks import outcomes_by_day, run_checks
from csm_core.warehouse.models import load_model

DAYS = (date(2026, 6, 1), date(2026, 6, 3))
SQL = "select as_of_date, $factor * day(as_of_date) as value from run.days order by as_of_date"
YML = """
description: "A day's value; it's quoted"
grain: [as_of_date]
partitioned: true
columns: {as_of_date: the day, value: "the day's number, times the factor"}
checks:
  - {between: {column: value, min: 0, max: 20}}
"""


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse(tmp_path / "w.duckdb")


def model_of(folder: Path, sql: str = SQL, yml: str = YML):
    (folder / "daily.sql").write_text(sql, encoding="utf-8")
    (folder / "daily.yml").write_text(yml, encoding="utf-8")
    return load_model(folder / "daily.sql", "marts")


def rows(connection, sql="from marts.daily order by all"):
    return connection.execute(sql).fetchall()


def test_a_range_is_materialised_and_a_day_of_it_replaced_exactly(warehouse, tmp_path):
    model = model_of(tmp_path)
    with warehouse.connect() as connection:
        assert build_model(connection, model, {"factor": 1}, DAYS).rows == 3
        assert build_model(connection, model, {"factor": 10}, (date(2026, 6, 2), date(2026, 6, 2))).rows == 1
        assert [value for _, value in rows(connection)] == [1, 20, 3]


def test_a_failing_select_leaves_the_old_rows_and_names_the_file(warehouse, tmp_path):
    model = model_of(tmp_path)
    with warehouse.connect() as connection:
        build_model(connection, model, {"factor": 1}, DAYS)
        broken = model_of(tmp_path, SQL.replace("day(as_of_date)", "cast('x' as integer)"))
        with pytest.raises(WarehouseError, match=r"daily\.sql"):
            build_model(connection, broken, {"factor": 1}, DAYS)
        assert [value for _, value in rows(connection)] == [1, 2, 3]


def test_what_was_built_first_can_be_joined_at_once(warehouse, tmp_path):
    many = "select as_of_date, 'key ' || number as value from run.days cross join range(60000) as numbers (number)"
    model = model_of(tmp_path, f"{many} order by as_of_date, value")
    with warehouse.connect() as connection:
        build_model(connection, model, {}, DAYS)
        joined = "select count(*) from marts.daily inner join (select 'key 7' as value) as wanted using (value)"
        assert rows(connection, joined) == [(3,)]


def test_a_missing_parameter_is_named(warehouse, tmp_path):
    with warehouse.connect() as connection, pytest.raises(WarehouseError, match=r"\$factor"):
        build_model(connection, model_of(tmp_path), {}, DAYS)


def test_a_changed_model_adds_and_drops_columns_and_keeps_the_past(warehouse, tmp_path):
    with warehouse.connect() as connection:
        build_model(connection, model_of(tmp_path), {"factor": 1}, DAYS)
        changed = model_of(
            tmp_path,
            "select as_of_date, 'x' as label from run.days order by as_of_date",
            YML.replace("value: ", "label: ")
            .replace("column: value", "column: label")
            .replace("min: 0, max: 20", "min: a"),
        )
        build_model(connection, changed, {}, (DAYS[1], DAYS[1]))
        assert rows(connection) == [(date(2026, 6, 1), None), (date(2026, 6, 2), None), (date(2026, 6, 3), "x")]


def test_a_changed_model_widens_a_column_and_keeps_the_past(warehouse, tmp_path):
    narrow = "select as_of_date, cast($factor as decimal(18, 2)) as value from run.days order by as_of_date"
    with warehouse.connect() as connection:
        build_model(connection, model_of(tmp_path, narrow), {"factor": 7}, DAYS)
        publish_before = rows(connection)
    publish_copy(warehouse)
    with warehouse.connect() as connection:
        wide = model_of(tmp_path, narrow.replace("18, 2", "38, 2"))
        build_model(connection, wide, {"factor": 10**20}, (DAYS[1], DAYS[1]))
        assert rows(connection) == [*publish_before[:2], (DAYS[1], Decimal(10**20))]
    with duckdb.connect(str(publish_copy(warehouse)), read_only=True) as connection:
        assert [value for _, value in rows(connection)] == [7, 7, Decimal(10**20)]


def test_a_new_column_of_a_roll_up_is_computed_for_every_day(warehouse, tmp_path):
    yml = (
        "description: d\ngrain: [usage_date]\nincremental: {column: usage_date, queue: run.pending_usage_days}\n"
        "columns: {usage_date: the day, value: a number}\n"
    )
    sql = (
        "select pending.usage_date, day(pending.usage_date) as value from run.pending_usage_days as pending "
        "where pending.usage_date between $first_date and $last_date order by pending.usage_date"
    )
    further = sql.replace(" as value", " as value, 10 * day(pending.usage_date) as further")
    days = [(date(2026, 6, 1),), (date(2026, 6, 3),), (date(2026, 7, 1),)]
    with warehouse.connect() as connection:
        connection.executemany("insert into run.pending_usage_days values (?)", days)
        assert build_model(connection, model_of(tmp_path, sql, yml), {}).rows == 3
        connection.execute("insert into run.pending_usage_days values (date '2026-07-02')")
        changed = model_of(tmp_path, further, yml + "  \n")
        result = build_model(connection, changed, {})
        assert [day.isoformat() for day in result.queued_days] == [
            "2026-06-01",
            "2026-06-03",
            "2026-07-01",
            "2026-07-02",
        ]
        assert [row[2] for row in rows(connection)] == [10, 30, 10, 20]
        assert build_model(connection, changed, {}).queued_days == ()


def test_descriptions_are_comments_in_the_warehouse_and_in_the_published_copy(warehouse, tmp_path):
    with warehouse.connect() as connection:
        build_model(connection, model_of(tmp_path), {"factor": 1}, DAYS)
    copy = publish_copy(warehouse)
    for path in (warehouse.path, copy):
        with duckdb.connect(str(path), read_only=True) as connection:
            assert rows(connection, "select comment from duckdb_tables() where table_name = 'daily'") == [
                ("A day's value; it's quoted",)
            ]
            found = rows(connection, "select comment from duckdb_columns() where table_name = 'daily' order by 1")
            assert found == [("the day",), ("the day's number, times the factor",)]
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_a_reader_of_the_published_copy_keeps_what_it_opened(warehouse, tmp_path):
    model = model_of(tmp_path)
    with warehouse.connect() as connection:
        build_model(connection, model, {"factor": 1}, DAYS)
    with duckdb.connect(str(publish_copy(warehouse)), read_only=True) as reader:
        before = rows(reader)
        with warehouse.connect() as connection:
            build_model(connection, model, {"factor": 2}, DAYS)
        publish_copy(warehouse)
        assert rows(reader) == before
    with duckdb.connect(str(warehouse.published_path), read_only=True) as reader:
        assert [value for _, value in rows(reader)] == [2, 4, 6]


def test_checks_count_and_sample_what_breaks_them(warehouse, tmp_path):
    model = model_of(tmp_path)
    with warehouse.connect() as connection:
        build_model(connection, model, {"factor": 9}, DAYS)
        connection.execute("insert into marts.daily values (date '2026-06-01', 1), (null, 2)")
        outcomes = {outcome.name: outcome for outcome in run_checks(DuckDbEngine(connection), model)}
        within = {outcome.name: outcome for outcome in run_checks(DuckDbEngine(connection), model, DAYS)}
    assert not outcomes["key_unique"].passed
    assert outcomes["key_unique"].sample[0]["rows"] == 2
    assert outcomes["not_null"].failed_rows == 1
    assert outcomes["not_null"].message == "marts.daily: 1 row failed the check: never null: as_of_date (null in 1)."
    assert outcomes["not_null"].sample == ({"as_of_date": None},)
    assert outcomes["value_in_range"].failed_rows == 1
    assert outcomes["value_in_range"].sample == ({"as_of_date": date(2026, 6, 3), "value": 27},)
    assert within["not_null"].passed


@pytest.mark.parametrize("broken", [set(), {0}, {39}, {3, 4, 17}, set(range(40))])
def test_the_days_that_fail_a_check_are_found_in_a_range(warehouse, tmp_path, broken):
    model, first = model_of(tmp_path), date(2026, 6, 1)
    span = first, first + timedelta(days=39)
    with warehouse.connect() as connection:
        build_model(connection, model, {"factor": 1}, DAYS)
        connection.execute("delete from marts.daily")
        for number in range(40):
            row = [first + timedelta(days=number), 1_000_000 if number in broken else 1]
            connection.execute("insert into marts.daily values (?, ?)", row)
        engine = DuckDbEngine(connection)
        found = outcomes_by_day(engine, model, span, run_checks(engine, model, span))
    failed = {day: [one.name for one in outcomes if not one.passed] for day, outcomes in found.items()}
    assert list(found) == [first + timedelta(days=number) for number in range(40)]
    assert failed == {
        first + timedelta(days=number): ["value_in_range"] if number in broken else [] for number in range(40)
    }
    assert all(one.failed_rows <= 1 for outcomes in found.values() for one in outcomes)


def test_a_file_that_is_no_warehouse_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "w.duckdb"
    path.write_bytes(b"not a database at all" * 100)
    with (
        pytest.raises(WarehouseInputError, match=r"w\.duckdb cannot be opened.*csm\.yaml") as caught,
        Warehouse(path).connect(),
    ):
        raise AssertionError
    assert caught.value.exit_status == 2
    assert path.read_bytes().startswith(b"not a database")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(WarehouseInputError, match="cannot be created"),
        Warehouse(tmp_path / "file" / "w.duckdb").connect(),
    ):
        raise AssertionError


def hold(path: str, seconds: float, held) -> None:
    with duckdb.connect(path):
        held.set()
        time.sleep(seconds)


def test_a_second_writer_waits_for_the_first(warehouse):
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    other = context.Process(target=hold, args=(str(warehouse.path), 1.0, held))
    other.start()
    assert held.wait(30)
    opened = threading.Event()
    with warehouse.connect() as connection:
        opened.set()
        assert connection.execute("select 1").fetchone() == (1,)
    other.join(30)
    assert other.exitcode == 0
    assert opened.is_set()


def reserve(path: str, held, let_go) -> None:
    with Warehouse(Path(path)).run_lock():
        held.set()
        let_go.wait(30)


def test_a_second_run_waits_for_the_whole_first_one_and_says_so(warehouse):
    context = multiprocessing.get_context("spawn")
    held, let_go = context.Event(), context.Event()
    other = context.Process(target=reserve, args=(str(warehouse.path), held, let_go))
    other.start()
    assert held.wait(30)
    reserved = threading.Event()

    def second() -> None:
        with warehouse.run_lock():
            reserved.set()

    # What is written by one step at a time may be written meanwhile.
    with warehouse.connect() as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    # Not by way of the standard library's loggers: what other tests in this process did to those has no part here.
    csm_logging.get_logger(__name__)
    with structlog.testing.capture_logs() as said:
        waiting = threading.Thread(target=second)
        waiting.start()
        until = time.monotonic() + 20
        while not said and time.monotonic() < until:
            time.sleep(0.01)
    assert "another run is in progress" in said[0]["event"]
    assert not reserved.is_set()
    let_go.set()
    waiting.join(30)
    assert reserved.is_set()
    other.join(30)
    assert [path.name for path in warehouse.path.parent.iterdir()] == [warehouse.path.name]


def test_the_reservation_of_a_killed_run_ends_with_it(warehouse):
    context = multiprocessing.get_context("spawn")
    held, let_go = context.Event(), context.Event()
    other = context.Process(target=reserve, args=(str(warehouse.path), held, let_go))
    other.start()
    assert held.wait(30)
    other.kill()
    other.join(30)
    with warehouse.run_lock():
        assert list(warehouse.path.parent.iterdir()) == []


def test_what_a_killed_process_spilled_is_taken_away(warehouse):
    spill = warehouse.path.parent / f"{warehouse.path.name}.tmp"
    spill.mkdir()
    (spill / "duckdb_temp_storage_S128K-0.tmp").write_bytes(bytes(1000))
    with warehouse.connect():
        pass
    assert [path.name for path in warehouse.path.parent.iterdir()] == [warehouse.path.name]


@pytest.mark.parametrize("name", ["clockwork", "block's lock", "IO Error: Could not set lock on file"])
def test_lock_in_a_path_is_no_lock(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "csm.duckdb").write_bytes(b"garbage, and not a database" * 500)
    started = time.monotonic()
    with pytest.raises(WarehouseInputError, match="cannot be opened"), Warehouse(folder / "csm.duckdb").connect():
        pass
    with pytest.raises(WarehouseInputError, match="cannot be opened"), Warehouse(folder).connect():
        pass
    assert time.monotonic() - started < 10


def test_a_lock_is_still_a_lock_below_such_a_path(tmp_path, monkeypatch):
    monkeypatch.setattr("csm_core.warehouse.database.LOCK_PATIENCE", timedelta(seconds=0.6))
    path = tmp_path / "clockwork" / "csm.duckdb"
    with Warehouse(path).connect():
        pass
    script = f"import duckdb, sys; c = duckdb.connect({str(path)!r}); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(WarehouseError, match="still in use by another process"), Warehouse(path).connect():
            pass
        holder.communicate("")


def test_a_file_that_is_kept_open_has_connections_of_their_own_and_is_free_at_the_end(warehouse):
    def is_free() -> bool:
        code = "import sys, duckdb; duckdb.connect(sys.argv[1]).close()"
        return (
            subprocess.run([sys.executable, "-c", code, warehouse.path], capture_output=True, check=False).returncode
            == 0
        )

    with warehouse.kept_open():
        with warehouse.connect() as connection:
            connection.execute("create table marts.t as select 1 as x")
            connection.execute("create temp table mine as select 1 as x")
            connection.execute("begin transaction")
            connection.execute("insert into marts.t values (2)")
        assert not is_free()
        with warehouse.connect() as connection:
            assert rows(connection, "from marts.t") == [(1,)]
            assert rows(connection, "select current_setting('TimeZone')") == [("UTC",)]
            with pytest.raises(duckdb.CatalogException):
                connection.execute("from mine")
    assert is_free()
    with warehouse.connect() as connection:
        assert rows(connection, "from marts.t") == [(1,)]


def test_a_file_that_is_kept_open_does_not_grow_with_what_is_replaced(warehouse):
    def replace_all() -> None:
        for number in range(24):
            with warehouse.connect() as connection:
                connection.execute(
                    f"create or replace table marts.t{number} as select hash(range) as x from range(200000)"
                )

    for _ in range(3):
        with warehouse.kept_open():
            replace_all()
    with warehouse.connect() as connection:
        ((used, free),) = rows(connection, "select used_blocks, free_blocks from pragma_database_size()")
    assert free < used / 2
