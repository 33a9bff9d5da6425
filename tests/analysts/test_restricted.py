"""A restricted connection reads the published copy and nothing else."""

import json
import os
import signal
import subprocess
import sys

import duckdb
import pytest

from csm_core.analysts.query_process import RejectedQueryError, query_in_process
from csm_core.analysts.restricted import NotAllowedError, open_restricted, require_select
from csm_core.config import PROJECT_ROOT
from csm_core.errors import InputError, RunError
from tests.analysts.attack_queries import EXHAUSTING, FORBIDDEN


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy with one table, a view of it and a macro."""
    path = tmp_path_factory.mktemp("published") / "csm_analytics.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("create schema marts")
        connection.execute("create table marts.csm_days as select range as day, 'name' as text from range(2000)")
        connection.execute("create view marts.csm_recent as select day from marts.csm_days where day > 1990")
        connection.execute("create table marts.csm_overview as select range as score from range(1000)")
        connection.execute("create macro csm_since(least) as table select day from marts.csm_days where day >= least")
    return path


def rows_of(copy, query):
    with open_restricted(copy) as connection:
        require_select(connection, query)
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("query", FORBIDDEN)
def test_a_query_reaches_nothing_but_the_copy(copy, tmp_path, query):
    frame = [1]
    (tmp_path / "a.csv").write_text("a\n1\n")
    with pytest.raises((NotAllowedError, duckdb.CatalogException, duckdb.PermissionException)) as refused:
        rows_of(copy, query.format(folder=tmp_path, copy=copy))
    assert str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert frame == [1]


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("select count(*) from csm_days", [(2000,)]),
        ("from marts.csm_recent order by day limit 1", [(1991,)]),
        ("from csm_since(1998) order by day", [(1998,), (1999,)]),
        ("from csm_analytics.marts.csm_days where day = 7 -- ; select 2\n;", [(7, "name")]),
        ("values (1), (2)", [(1,), (2,)]),
        ("with csm_days as (select 3 as n) from csm_days", [(3,)]),
        ("pivot (select text from csm_days) on text in ('name') using count(*)", [(2000,)]),
        ("select table_name from duckdb_tables() where table_name = 'csm_days'", [("csm_days",)]),
        ("select column_name from information_schema.columns where table_name = 'csm_recent'", [("day",)]),
        ("select list_sum(list_transform(range(4), lambda x: x + 1))", [(10,)]),
        ("select unnest(generate_series(1, 3)) as n", [(1,), (2,), (3,)]),
        ("select ';' as semicolon", [(";",)]),
    ],
)
def test_a_select_on_the_copy_works(copy, query, rows):
    assert rows_of(copy, query) == rows


@pytest.mark.parametrize("statement", ["describe csm_days", "show tables", "summarize csm_days", "show all tables"])
def test_statements_that_describe_the_copy_work(copy, statement):
    assert rows_of(copy, statement)


def test_connections_at_the_same_time_do_not_share_settings(copy):
    with open_restricted(copy) as first, open_restricted(copy) as second:
        for connection in (first, second):
            assert connection.execute("select count(*) from csm_days").fetchall() == [(2000,)]
            with pytest.raises(duckdb.Error, match="locked"):
                connection.execute("set threads = 1")


def test_without_a_copy_the_error_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match="run `csm run` first"), open_restricted(tmp_path / "none.duckdb"):
        pass
    with pytest.raises(InputError) as missing:
        query_in_process(tmp_path / "none.duckdb", "select 1", seconds=4, max_rows=10, max_characters=1000)
    assert "none.duckdb" in str(missing.value)


def test_a_query_in_a_process_has_values_as_in_json(copy):
    asked = (
        "select 1.50::decimal(9, 2) as amount, date '2026-09-30' as day, 0.5::double as share, 'nan'::double as none"
    )
    result = query_in_process(copy, asked, seconds=20, max_rows=10, max_characters=1000)
    assert [kind for _, kind in result.columns] == ["DECIMAL(9,2)", "DATE", "DOUBLE", "DOUBLE"]
    assert result.rows == (("1.50", "2026-09-30", 0.5, "nan"),)


def test_a_result_is_complete_or_refused(copy):
    limits = {"seconds": 20, "max_characters": 100_000}
    assert len(query_in_process(copy, "from csm_overview", max_rows=1000, **limits).rows) == 1000
    with pytest.raises(InputError, match="too large: at most 999 rows"):
        query_in_process(copy, "from csm_overview", max_rows=999, **limits)
    with pytest.raises(RejectedQueryError, match="Could not convert string 'name' to INT32"):
        query_in_process(copy, "select text::integer from csm_days", max_rows=10, **limits)


@pytest.mark.slow
@pytest.mark.parametrize("query", EXHAUSTING)
def test_a_query_that_needs_too_much_ends(copy, query):
    with pytest.raises((InputError, RunError)) as ended:
        query_in_process(copy, query, seconds=3, max_rows=1000, max_characters=25_000)
    assert "too large" in str(ended.value) or "stopped after 3 seconds" in str(ended.value)


@pytest.mark.slow
def test_the_process_of_a_query_ends_without_its_caller(copy):
    asked = {"copy": str(copy), "query": EXHAUSTING[8], "seconds": 1, "max_rows": 10, "max_characters": 100}
    process = subprocess.Popen(
        [sys.executable, "-m", "csm_core.analysts.query_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT_ROOT)},
        text=True,
    )
    process.stdin.write(json.dumps(asked))
    process.stdin.close()
    assert process.wait(timeout=120) == -signal.SIGKILL
