"""The copy for analysts holds what the marts hold, whichever days were built since, and whatever happened to it."""

from datetime import date

import duckdb
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csm_core import logging as csm_logging
from csm_core.analysts.published_copy import publish_copy
from csm_core.errors import WarehouseError
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.materialize import build_model
from csm_core.warehouse.models import load_model
from tests.examples import examples

DAYS = (date(2026, 6, 1), date(2026, 6, 20))
YML = """
description: A day's value.
grain: [as_of_date]
partitioned: true
columns:
  as_of_date: the day
  value: the day's number, times the factor
"""
SQL = "select as_of_date, day(as_of_date) * $factor as value from run.days order by as_of_date"
LATEST_YML = YML.replace("partitioned: true", "partitioned: false")
LATEST = "select as_of_date, value from marts.daily where as_of_date = (select max(as_of_date) from marts.daily)"


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse(tmp_path / "w.duckdb")


def model_of(folder, name="daily", sql=SQL, yml=YML):
    (folder / f"{name}.sql").write_text(sql)
    (folder / f"{name}.yml").write_text(yml)
    return load_model(folder / f"{name}.sql", "marts")


def build(warehouse, model, factor, days):
    with warehouse.connect() as connection:
        build_model(connection, model, {"factor": factor}, days)


def content(path, table="marts.daily"):
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(f"from {table} order by all").fetchall()


def days_as_they_lie(path):
    """The days of the copy in the order of its storage: those that were written anew come last."""
    with duckdb.connect(str(path), read_only=True) as connection:
        return [
            day.day for (day,) in connection.execute("select as_of_date from marts.daily order by rowid").fetchall()
        ]


@pytest.fixture
def copied(warehouse, tmp_path):
    """A warehouse whose twenty days have been copied."""
    build(warehouse, model_of(tmp_path), 1, DAYS)
    publish_copy(warehouse)
    return warehouse


def test_a_later_copy_holds_the_days_built_since_and_leaves_the_others_where_they_were(copied, tmp_path):
    again = (date(2026, 6, 3), date(2026, 6, 3))
    build(copied, model_of(tmp_path), 100, again)
    build(copied, model_of(tmp_path), 1, (date(2026, 6, 21), date(2026, 6, 21)))
    publish_copy(copied)
    assert content(copied.published_path) == content(copied.path)
    assert len(content(copied.published_path)) == 21
    assert days_as_they_lie(copied.published_path) == [*(day for day in range(1, 21) if day != 3), 3, 21]


def test_a_table_that_is_not_kept_by_day_is_copied_whole(copied, tmp_path):
    latest = model_of(tmp_path, "latest", LATEST, LATEST_YML)
    build(copied, latest, 1, None)
    publish_copy(copied)
    build(copied, model_of(tmp_path), 7, (date(2026, 6, 20), date(2026, 6, 20)))
    build(copied, latest, 1, None)
    publish_copy(copied)
    assert content(copied.published_path, "marts.latest") == [(date(2026, 6, 20), 140)]


def test_a_column_more_or_a_mart_less_reaches_the_copy(copied, tmp_path):
    build(copied, model_of(tmp_path, "other"), 1, DAYS)
    publish_copy(copied)
    more = SQL.replace(" from run.days", ", 'x' as label from run.days")
    build(copied, model_of(tmp_path, sql=more, yml=f"{YML}  label: a letter\n"), 1, (DAYS[1], DAYS[1]))
    with copied.connect() as connection:
        connection.execute("drop table marts.other")
    publish_copy(copied)
    assert content(copied.published_path) == content(copied.path)
    with duckdb.connect(str(copied.published_path), read_only=True) as connection:
        assert connection.execute("select table_name from duckdb_tables() where schema_name = 'marts'").fetchall() == [
            ("daily",)
        ]
        comments = "select comment from duckdb_columns() where table_name = 'daily' and column_name = 'label'"
        assert connection.execute(comments).fetchall() == [("a letter",)]


@pytest.mark.parametrize("damage", ["gone", "no database", "cut", "empty", "another warehouse's", "older"])
def test_a_copy_that_is_not_the_last_one_is_written_again(copied, tmp_path, damage):
    published = copied.published_path
    earlier = published.read_bytes()
    build(copied, model_of(tmp_path), 2, DAYS)
    publish_copy(copied)
    if damage == "gone":
        published.unlink()
    elif damage == "no database":
        published.write_bytes(b"not a database" * 1000)
    elif damage in ("cut", "empty"):
        published.write_bytes(published.read_bytes()[: 20_000 if damage == "cut" else 0])
    elif damage == "older":
        published.write_bytes(earlier)
    else:
        (tmp_path / "other").mkdir()
        other = Warehouse(tmp_path / "other" / "w.duckdb")
        build(other, model_of(tmp_path), 9, DAYS)
        published.write_bytes(publish_copy(other).read_bytes())
    build(copied, model_of(tmp_path), 3, (DAYS[1], DAYS[1]))
    publish_copy(copied)
    assert content(published) == content(copied.path)


@settings(max_examples=examples(15), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=16))
def test_a_copy_with_flipped_bytes_is_written_again_from_the_warehouse(copied, tmp_path, flips):
    content_of_file = bytearray(copied.published_path.read_bytes())
    for place, mask in flips:
        content_of_file[int(place * len(content_of_file))] ^= mask
    copied.published_path.write_bytes(content_of_file)
    # A day that is built since makes an update necessary; the flipped bytes are in any block, also of other days.
    build(copied, model_of(tmp_path), flips[0][1], (DAYS[1], DAYS[1]))
    publish_copy(copied)
    assert content(copied.published_path) == content(copied.path)


def test_a_damaged_copy_is_reported(copied):
    damaged = bytearray(copied.published_path.read_bytes())
    damaged[-100_000] ^= 1
    copied.published_path.write_bytes(damaged)
    # Not through the standard library's loggers, which other tests in this process may have configured.
    csm_logging.get_logger(__name__)
    with structlog.testing.capture_logs() as logged:
        publish_copy(copied)
    assert any("rebuilding it from the warehouse" in entry["event"] for entry in logged)
    with structlog.testing.capture_logs() as logged:
        publish_copy(copied)
    assert logged == []


def test_a_copy_of_an_earlier_version_is_written_again_in_the_format_that_old_clients_read(copied, tmp_path):
    """The earlier version noted a token, and made the copy in the newest format."""
    with copied.connect() as connection:
        connection.execute("delete from run.migrations where number >= 6")
        connection.execute("drop table run.published_copy; drop table run.changed_marts")
        for table in ("notion_pages", "notion_changes", "notion_journal"):
            connection.execute(f"alter table sync.{table} drop column account_id")
        connection.execute("create table run.copied (token varchar not null)")
        connection.execute("insert into run.copied values ('t')")
    copied.published_path.unlink()
    with duckdb.connect(str(copied.published_path)) as newest:
        newest.execute("create schema run")
        newest.execute("create table run.copy as select 't' as token")
    publish_copy(copied)
    assert content(copied.published_path) == content(copied.path)
    with duckdb.connect() as connection:
        connection.execute(f"attach '{copied.published_path}' as published (read_only)")
        tags = connection.execute("select tags from duckdb_databases() where database_name = 'published'").fetchone()
    assert tags[0]["storage_version"].startswith("v1.2.0")


def test_days_built_when_copying_failed_are_in_the_next_copy(copied, tmp_path):
    build(copied, model_of(tmp_path), 5, (date(2026, 6, 4), date(2026, 6, 4)))

    def refuse(_connection):
        message = "no macros today"
        raise RuntimeError(message)

    before = content(copied.published_path)
    with pytest.raises(RuntimeError):
        publish_copy(copied, refuse)
    assert content(copied.published_path) == before
    publish_copy(copied)
    assert content(copied.published_path) == content(copied.path)
    assert content(copied.published_path) != before


def test_a_copy_does_not_grow_by_being_brought_up_to_date(copied, tmp_path):
    wide = SQL.replace("day(as_of_date) * $factor", "cast($factor as varchar) || md5(cast(number as varchar))").replace(
        "from run.days", "from run.days cross join range(5000) as numbers (number)"
    )
    model = model_of(tmp_path, "wide", wide, YML.replace("[as_of_date]", "[as_of_date, value]"))
    build(copied, model, 1, DAYS)
    size = publish_copy(copied).stat().st_size
    sizes = []
    for factor in range(2, 6):
        build(copied, model, factor, DAYS)
        sizes.append(publish_copy(copied).stat().st_size)
        assert content(copied.published_path, "marts.wide")[0] == content(copied.path, "marts.wide")[0]
    assert max(sizes) <= 2.5 * size


def test_half_a_day_is_not_shown_to_analysts(warehouse, tmp_path):
    signals, scores = (model_of(tmp_path, name) for name in ("csm_health_signals", "csm_health_scores"))
    day = (date(2026, 6, 21), date(2026, 6, 21))
    for model in (signals, scores):
        build(warehouse, model, 1, DAYS)
    publish_copy(warehouse)
    build(warehouse, signals, 1, day)
    with pytest.raises(
        WarehouseError, match=r"2026-06-21 has signals of 1 account and scores of 0.*--as-of 2026-06-21"
    ):
        publish_copy(warehouse)
    assert len(content(warehouse.published_path, "marts.csm_health_signals")) == 20
    build(warehouse, scores, 1, day)
    publish_copy(warehouse)
    for model in (signals, scores):
        assert len(content(warehouse.published_path, model.table)) == 21
