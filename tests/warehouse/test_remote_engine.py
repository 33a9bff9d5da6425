"""Models that another engine builds: the same tables, and a day that is old or new whatever happens in between."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from csm_core.errors import ConfigError, WarehouseError
from csm_core.scoring import translation
from csm_core.warehouse import spark_session
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.duckdb_engine import DuckDbEngine
from csm_core.warehouse.engine import DuckDbSettings, open_engine
from csm_core.warehouse.live_tables import DIRECTORIES, LIVE_DAYS
from csm_core.warehouse.model_checks import run_checks
from csm_core.warehouse.models import SqlModel, load_model
from csm_core.warehouse.remote_engine import KEPT_IN_ENGINE, RemoteEngine
from tests.conftest import VOLATILE, make_company, tables
from tests.in_process import csm
from tests.warehouse.parquet_session import ParquetSession, lose_connection_once

FIRST, SECOND, THIRD = date(2026, 6, 1), date(2026, 6, 2), date(2026, 6, 3)
SQL = "select as_of_date, $factor * day(as_of_date) as value from run.days order by as_of_date"
YML = """
description: a value for each day
grain: [as_of_date]
partitioned: true
columns: {as_of_date: the day, value: the number of the day times the factor}
checks:
  - {between: {column: value, min: 0, max: 20}}
"""
# The name of a table that is not fetched.
KEPT = "int_account_features"


def model_of(folder: Path, sql: str = SQL, name: str = "daily", layer: str = "marts", yml: str = YML) -> SqlModel:
    (folder / f"{name}.sql").write_text(sql, encoding="utf-8")
    (folder / f"{name}.yml").write_text(yml, encoding="utf-8")
    return load_model(folder / f"{name}.sql", layer)


@pytest.fixture
def connection(tmp_path):
    with Warehouse(tmp_path / "w.duckdb").connect() as opened:
        opened.execute("create schema if not exists intermediate; create schema if not exists marts")
        yield opened


@pytest.fixture
def session(tmp_path):
    return ParquetSession(tmp_path / "tables")


def values(connection, table="marts.daily"):
    return [value for _, value in connection.execute(f"from {table} order by as_of_date").fetchall()]


def directories_on_disk(session: ParquetSession) -> set[str]:
    return {str(path) for path in Path(session.location).glob("*/*")}


def test_days_are_built_in_the_engine_and_fetched_into_the_warehouse(connection, session, tmp_path):
    engine, model = RemoteEngine(connection, session), model_of(tmp_path)
    result = engine.build(model, {"factor": 1}, (FIRST, THIRD))
    assert (result.rows, result.operation) == (3, "operation 1")
    assert engine.build(model, {"factor": 10}, (SECOND, SECOND)).rows == 1
    assert values(connection) == [1, 20, 3]
    assert engine.query("select value from marts.daily order by as_of_date") == [(1,), (20,), (3,)]


def test_a_table_that_stays_in_the_engine_is_checked_and_queried_there(connection, session, tmp_path):
    engine, model = RemoteEngine(connection, session), model_of(tmp_path, name=KEPT, layer="intermediate")
    assert model.table in KEPT_IN_ENGINE
    assert engine.build(model, {"factor": 1}, (FIRST, THIRD)).rows == 3
    engine.build(model, {"factor": 30}, (SECOND, SECOND))
    assert values(connection, model.table) == []
    assert engine.query(f"select value from {model.table} order by as_of_date") == [(1,), (60,), (3,)]
    assert engine.query_dicts(f"select value from {model.table} where as_of_date = $day", {"day": SECOND}) == [
        {"value": 60}
    ]
    (failed,) = [outcome for outcome in run_checks(engine, model, (FIRST, THIRD)) if not outcome.passed]
    assert (failed.failed_rows, failed.sample[0]["value"]) == (1, 60)


def test_a_table_that_has_not_changed_is_handed_over_once(connection, session, tmp_path):
    connection.execute("create table staging.stg_things as select 1 as thing, cast('a' as enum('a', 'b')) as level")
    model = model_of(tmp_path, "select days.as_of_date, things.thing as value, things.level "
                     "from run.days as days cross join staging.stg_things as things")  # fmt: skip
    engine = RemoteEngine(connection, session)
    engine.build(model, {}, (FIRST, SECOND))
    engine.build(model, {}, (FIRST, SECOND))
    assert session.handed_over.count("staging.stg_things") == 1
    connection.execute("insert into staging.stg_things values (2, 'b')")
    engine.build(model, {}, (FIRST, FIRST))
    assert session.handed_over.count("staging.stg_things") == 2
    assert connection.execute("select value, level from marts.daily order by all").fetchall() == [
        (1, "a"),
        (1, "a"),
        (2, "b"),
    ]


@pytest.mark.parametrize("method", ["hand_over", "write", "written", "read"])
def test_a_build_that_ends_at_any_step_leaves_the_old_rows_and_is_cleaned_up_by_the_next(
    connection, session, tmp_path, method
):
    engine, model = RemoteEngine(connection, session), model_of(tmp_path)
    engine.build(model, {"factor": 1}, (FIRST, THIRD))
    engine.build(model, {"factor": 2}, (FIRST, THIRD))
    before = connection.execute(f"from {LIVE_DAYS} order by all").fetchall()

    def end(called: str) -> None:
        if called == method:
            raise KeyboardInterrupt

    session.before = end
    connection.execute("delete from run.days")
    with pytest.raises(KeyboardInterrupt):
        RemoteEngine(connection, session).build(model, {"factor": 5}, (FIRST, SECOND))
    assert values(connection) == [2, 4, 6]
    assert connection.execute(f"from {LIVE_DAYS} order by all").fetchall() == before

    session.before = lambda _: None
    RemoteEngine(connection, session).build(model, {"factor": 5}, (FIRST, SECOND))
    assert values(connection) == [5, 10, 6]
    RemoteEngine(connection, session).delete_unreferenced()
    live = {path for (path,) in connection.execute(f"select distinct directory from {LIVE_DAYS}").fetchall()}
    assert directories_on_disk(session) == live

    # The server may write on for a killed run: its directory is looked for again, for some hours.
    (Path(session.location) / "marts.daily" / "late").mkdir()
    connection.execute(
        f"insert into {DIRECTORIES} values ('{session.location}/marts.daily/late', 'marts.daily', now())"
    )
    engine.delete_unreferenced()
    assert directories_on_disk(session) == live
    connection.execute(f"update {DIRECTORIES} set created_at = created_at - interval 1 day")
    engine.delete_unreferenced()
    assert {path for (path,) in connection.execute(f"select directory from {DIRECTORIES}").fetchall()} == live


def test_a_build_whose_connection_is_lost_starts_again_from_its_beginning(connection, session, tmp_path):
    session.before = lose_connection_once()
    engine, model = RemoteEngine(connection, session), model_of(tmp_path)
    assert engine.build(model, {"factor": 1}, (FIRST, THIRD)).rows == 3
    assert values(connection) == [1, 2, 3]


def test_the_message_of_a_refused_select_names_the_file(connection, session, tmp_path):
    model = model_of(tmp_path)
    broken = model_of(tmp_path, "select as_of_date, cast('x' || $factor as integer) as value from run.days")
    engine = RemoteEngine(connection, session)
    engine.build(model, {"factor": 1}, (FIRST, THIRD))
    with pytest.raises(WarehouseError, match=r"daily\.sql: building marts\.daily failed: .*x1"):
        engine.build(broken, {"factor": 1}, (FIRST, THIRD))
    assert values(connection) == [1, 2, 3]


def test_rows_of_duckdb_are_handed_over_when_the_engine_changes_and_not_back(connection, session, tmp_path):
    model = model_of(tmp_path, name=KEPT, layer="intermediate")
    DuckDbEngine(connection).build(model, {"factor": 1}, (FIRST, THIRD))
    engine = RemoteEngine(connection, session)
    engine.build(model, {"factor": 10}, (SECOND, SECOND))
    assert engine.query(f"select value from {model.table} order by as_of_date") == [(1,), (20,), (3,)]
    with pytest.raises(ConfigError, match=r"were built with Spark .*kind: spark"):
        open_engine(connection, DuckDbSettings())


def test_a_new_column_of_a_roll_up_is_computed_for_every_day(connection, session, tmp_path):
    yml = (
        "description: d\ngrain: [usage_date]\nincremental: {column: usage_date, queue: run.pending_usage_days}\n"
        "columns: {usage_date: the day, value: a number}\n"
    )
    sql = (
        "select usage_date, day(usage_date) as value from run.pending_usage_days "
        "where usage_date between $first_date and $last_date order by usage_date"
    )
    further = sql.replace(" as value", " as value, 10 * day(usage_date) as further")
    engine = RemoteEngine(connection, session)
    connection.executemany("insert into run.pending_usage_days values (?)", [(FIRST,), (THIRD,)])
    rollup = model_of(tmp_path, sql, "int_usage_daily", "intermediate", yml)
    assert rollup.table in KEPT_IN_ENGINE
    assert engine.build(rollup, {}).rows == 2
    connection.execute("insert into run.pending_usage_days values (?)", [SECOND])
    changed = model_of(tmp_path, further, "int_usage_daily", "intermediate", yml)
    assert engine.build(changed, {}).queued_days == (FIRST, SECOND, THIRD)
    assert engine.query(f"select further from {rollup.table} order by usage_date") == [(10,), (20,), (30,)]
    assert engine.build(changed, {}).rows == 0


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The example company with rates for two of its three currencies, run with DuckDB and with the second engine."""
    folder = tmp_path_factory.mktemp("engines")
    settings = {"kind": "spark", "master": "local", "location": str(folder / "tables")}
    rates = {"reporting_currency": "USD", "fx": {"EUR": 1.08337}}
    plain = make_company(folder, "acme", **rates)
    other = make_company(folder, "acme", engine=settings, **rates)
    session = ParquetSession(folder / "tables")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spark_session, "spark_session", lambda *_: session)
        # This engine needs none of Spark's packages.
        patch.setattr(translation, "require_packages", lambda **_: None)
        for company in (plain, other):
            days = ("--from", "2026-06-30", "--to", "2026-07-01")
            done = csm("run", *days, "--no-publish", "--config", str(company.config_file), folder=company.folder)
            assert done.status == 0, done.stdout + done.stderr
    return plain, other, session


def test_a_second_engine_builds_the_tables_of_the_first(both):
    plain, other, _ = both
    layers, without = ("staging", "quarantine", "intermediate", "marts"), {*VOLATILE, "rejected_at"}
    wanted, found = (tables(one.config.warehouse, layers, without) for one in (plain, other))
    assert wanted.keys() == found.keys()
    for table in wanted.keys() - KEPT_IN_ENGINE:
        assert found[table] == wanted[table], table
    copies = [tables(Warehouse.from_config(one.config).published_path, ("marts",)) for one in (plain, other)]
    assert copies[0] == copies[1]


def test_usage_stays_in_the_second_engine(both):
    plain, other, session = both
    for table in sorted(KEPT_IN_ENGINE):
        with duckdb.connect(str(plain.config.warehouse), read_only=True) as connection:
            wanted = connection.execute(f"select * from {table} order by all").fetchall()
        with Warehouse.from_config(other.config).connect() as connection:
            assert connection.execute(f"select count(*) from {table}").fetchone() == (0,)
            assert RemoteEngine(connection, session).query(f"select * from {table} order by all") == wanted


def test_the_tables_of_a_day_agree_on_the_converted_mrr(both):
    for company in both[:2]:
        with duckdb.connect(str(company.config.warehouse), read_only=True) as connection:
            by_currency = connection.execute(
                "select currency, sum(mrr_end), sum(mrr_end_reporting) from marts.csm_revenue_movements "
                "where month = date '2026-07-01' and mrr_end > 0 group by currency order by currency"
            ).fetchall()
            totals = connection.execute(
                """
                select sum(mrr_reporting), count(*) filter (where mrr > 0 and mrr_reporting is null)
                from marts.csm_overview
                union all
                select sum(mrr_reporting), count(*) filter (where mrr > 0 and mrr_reporting is null)
                from marts.csm_accounts_daily where as_of_date = date '2026-07-01'
                union all
                select sum(mrr_reporting), sum(accounts_without_rate)
                from marts.csm_owner_daily where as_of_date = date '2026-07-01'
                """
            ).fetchall()
        assert [currency for currency, *_ in by_currency] == ["EUR", "JPY", "USD"]
        (_, euro, converted), (_, _, yen), (_, dollar, same) = by_currency
        # Each of the accounts is rounded to the cent.
        assert abs(converted - euro * Decimal("1.08337")) < 1
        assert (yen, same) == (None, dollar)
        assert {total for total, _ in totals} == {converted + dollar}
        assert len({accounts for _, accounts in totals}) == 1
        assert totals[0][1] > 0
