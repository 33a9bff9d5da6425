"""PostgreSQL as a source: queries to entities on a real server, whole and by increments, and what can go wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from csm_core.config import Config
from csm_core.errors import ConfigError, SourceError, SourceUnavailableError
from csm_core.sources.postgres_database import Database
from csm_core.sources.registry import get_system
from csm_core.sources.settings import PostgresSettings
from csm_core.staging.gate import stage_entity
from csm_core.warehouse.models import staging_models
from tests.conftest import Company
from tests.postgres_server import PostgresServer

VARIABLE = "CSM_POSTGRES_DSN"
EVENTS = {
    "sql": "select id as event_id, account as account_id, name as event_name, at as occurred_at, changed from events;",
    "incremental_by": "changed",
}
ACCOUNTS = {"sql": "select id as account_id, name as account_name from customers -- all of them"}
TABLES = """
    create table customers (id text primary key, name text);
    insert into customers values ('a1', 'Ahlers, "Söhne"'), ('a2', E'two\\nlines'), ('a3', '100 %');
    create table events (id text primary key, account text, name text, at timestamptz, changed timestamptz);
    insert into events select 'e' || n, 'a' || (n % 3 + 1), 'used', '2026-06-01 12:00+02',
        timestamptz '2026-06-01 00:00+00' + n * interval '1 minute' from generate_series(1, 100) as n;
"""


class Product:
    """A database of a product with customers and events, and the source that reads it."""

    def __init__(self, url: str, source_loads: Any) -> None:
        self.url = url
        self._source_loads = source_loads
        self.folder: Path = source_loads.folder.parent / "sources"
        self.execute(TABLES)

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def source(self, name: str = "product_db", **queries: Any) -> PostgresSettings:
        stated = queries or {"accounts": ACCOUNTS, "usage_events": EVENTS}
        return PostgresSettings.model_validate({"system": "postgres", "name": name, "queries": stated, "attempts": 1})

    def load(self, *sources: PostgresSettings) -> dict[str, int]:
        source_loads = self._source_loads
        results = get_system("postgres").load(
            source_loads.connection,
            sources or [self.source()],
            loaded_at=source_loads.now,
            folder=self.folder,
            log=source_loads.log,
        )
        return {result.table.removeprefix("raw.postgres__"): result.loaded for result in results if result.loaded}

    def stage(self, *entities: str) -> list[str]:
        """Stage what has been loaded; the first column of the last of the entities."""
        source_loads = self._source_loads
        for entity in entities:
            model = staging_models("postgres")[entity].sql
            stage_entity(
                source_loads.connection,
                entity,
                [("postgres", model)],
                staged_at=source_loads.now,
                max_rejected_percent=100,
            )
        rows = source_loads.rows(f"select #1 from staging.stg_{entities[-1]} order by 1")
        return [str(row[0]) for row in rows]

    def change(self, name: str, at: str = "2026-06-01", changed: str = "2026-06-01 02:00+00") -> None:
        self.execute(
            f"insert into events values ('{name}', 'a1', 'used', '{at}', '{changed}') on conflict (id) do update set "
            "at = excluded.at, changed = excluded.changed"
        )


@pytest.fixture
def product(postgres_url: str, source_loads: Any, monkeypatch: pytest.MonkeyPatch) -> Product:
    monkeypatch.setenv(VARIABLE, postgres_url)
    return Product(postgres_url, source_loads)


def test_rows_arrive_as_they_are_and_are_staged(product, source_loads):
    assert product.load() == {"accounts_whole": 3, "usage_events": 100}
    assert len(product.stage("accounts", "usage_events")) == 100
    assert source_loads.rows("select account_id, account_name from staging.stg_accounts order by 1") == [
        ("a1", 'Ahlers, "Söhne"'),
        ("a2", "two\nlines"),
        ("a3", "100 %"),
    ]
    assert source_loads.rows("select distinct cast(occurred_at as varchar) from staging.stg_usage_events") == [
        ("2026-06-01 10:00:00",)
    ]


def test_a_refused_row_is_quarantined_with_its_reason(product, source_loads):
    product.execute("insert into events values ('bad', 'nobody', 'used', '2026-06-01', '2026-06-02')")
    product.load()
    product.stage("accounts", "usage_events")
    found = source_loads.rows("select system, field, reason, value from quarantine.usage_events")
    assert found == [("postgres", "account_id", "unknown_account", "nobody")]


def test_a_query_that_is_read_whole_takes_the_place_of_what_it_gave_before(product):
    source = product.source(accounts=ACCOUNTS)
    product.load(source)
    assert product.stage("accounts") == ["a1", "a2", "a3"]
    assert product.load(source) == {}
    product.execute("delete from customers where id = 'a2'; update customers set name = 'New' where id = 'a3'")
    assert product.load(source) == {"accounts_whole": 2}
    assert product.stage("accounts") == ["a1", "a3"]


def test_a_query_that_suddenly_gives_nothing_is_an_error_unless_it_may(product):
    product.load()
    product.execute("delete from customers")
    with pytest.raises(SourceError, match="query accounts: returned no rows, but had rows before"):
        product.load()
    assert product.stage("accounts") == ["a1", "a2", "a3"]
    product.load(product.source(accounts={**ACCOUNTS, "may_be_empty": True}))
    assert product.stage("accounts") == []


def test_later_pulls_bring_what_has_changed_and_what_came_late(product, source_loads):
    product.load()
    product.change("new", changed="2026-06-01 05:00+00")
    # Committed after the pull with a time before the newest that the pull saw.
    product.change("late", changed="2026-06-01 01:00+00")
    product.change("e1", at="2026-06-07", changed="2026-06-01 04:00+00")
    product.change("too late", changed="2026-05-01 00:00+00")
    # 61 rows of the last hour, and three more.
    assert product.load() == {"usage_events": 64}
    staged = product.stage("accounts", "usage_events")
    assert len(staged) == 102
    assert {"new", "late"} <= set(staged)
    moved = source_loads.rows("select cast(occurred_at as varchar) from staging.stg_usage_events where event_id = 'e1'")
    assert moved == [("2026-06-07 00:00:00",)]
    # Now only the overlap is left: the first time it is a file, then it is known.
    assert product.load() == {"usage_events": 2}
    assert product.load() == {}


def test_the_overlap_is_a_setting(product):
    product.load(product.source(usage_events={**EVENTS, "lookback": 0}))
    assert product.load(product.source(usage_events={**EVENTS, "lookback": 600})) == {"usage_events": 11}


def test_a_time_in_the_future_hides_nothing_and_a_missing_one_is_read_each_time(product):
    product.change("bogus", changed="2999-01-01")
    product.load()
    product.execute("insert into events values ('new', 'a1', 'used', '2026-06-01', now())")
    product.execute("insert into events values ('never', 'a1', 'used', '2026-06-01', null)")
    assert product.load() == {"usage_events": 3}
    assert {"new", "never", "bogus"} <= set(product.stage("accounts", "usage_events"))


@pytest.mark.parametrize(
    ("kind", "older", "old", "new", "lookback"),
    [
        ("timestamp", "2026-06-01 09:30:00", "2026-06-01 10:00:00", "2026-06-01 10:30:00", 600),
        ("date", "2026-05-30", "2026-06-01", "2026-06-03", 86_400),
        ("bigint", "1", "9", "10", 0),
        ("integer", "3", "9", "20", 5),
    ],
)
def test_times_dates_and_numbers_say_what_is_new(product, kind, older, old, new, lookback):
    product.execute(f"create table facts (id text, at {kind})")
    product.execute(f"insert into facts values ('f1', '{older}'), ('f2', '{old}')")
    query = {"sql": "select id as feature, at from facts", "incremental_by": "at", "lookback": lookback}
    source = product.source(features=query)
    assert product.load(source) == {"features": 2}
    product.execute(f"insert into facts values ('f3', '{new}')")
    assert product.load(source) == {"features": 2}
    assert product.stage("features") == ["f1", "f2", "f3"]


def test_another_query_is_read_from_the_beginning(product):
    product.load()
    other = {**EVENTS, "sql": EVENTS["sql"].replace("events;", "events where account = 'a1'")}
    assert product.load(product.source(usage_events=other)) == {"usage_events": 33}


def test_several_databases_are_read_side_by_side(product, postgres_server, monkeypatch):
    url = postgres_server.new_database()
    monkeypatch.setenv("OTHER_DSN", url)
    with psycopg.connect(url) as connection:
        connection.execute("create table customers as select 'b1' as id, 'Other' as name")
    other = product.source("other", accounts=ACCOUNTS).model_copy(update={"dsn_variable": "OTHER_DSN"})
    product.load(product.source(), other)
    assert product.stage("accounts") == ["a1", "a2", "a3", "b1"]


# In a process of its own: files of 1 kB, and an end without a word after 60 rows.
KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
import duckdb, structlog
from csm_core.sources import postgres
from csm_core.sources.postgres_database import Database
from csm_core.sources.settings import PostgresSettings

postgres.PACKAGE_BYTES = 1000
rows = Database.rows

def killed(self, name, query):
    for number, row in enumerate(rows(self, name, query)):
        if number > 60:
            os.kill(os.getpid(), signal.SIGKILL)
        yield row

Database.rows = killed
source = PostgresSettings.model_validate_json(sys.argv[1])
postgres.PostgresSource().load(
    duckdb.connect(), [source], loaded_at=datetime.now(UTC), folder=Path(sys.argv[2]), log=structlog.get_logger()
)
"""


def test_a_pull_that_is_killed_goes_on_after_its_last_file(product, monkeypatch):
    source = product.source(usage_events={**EVENTS, "lookback": 0})
    done = subprocess.run(
        [sys.executable, "-c", KILLED, source.model_dump_json(), str(product.folder)], check=False, timeout=120
    )
    assert done.returncode == -signal.SIGKILL
    kept = sorted(product.folder.rglob("usage_events-*-*.csv"))
    assert len(kept) > 2
    asked: list[str] = []
    rows = Database.rows
    monkeypatch.setattr(Database, "rows", lambda self, name, query: asked.append(query) or rows(self, name, query))
    product.load(source, product.source("more", accounts=ACCOUNTS))
    newest = [path.read_text(encoding="utf-8").splitlines()[-1].rpartition(",")[2] for path in kept][-1]
    assert f"cast('{newest}' as timestamptz)" in asked[0]
    assert len(product.stage("accounts", "usage_events")) == 100


def test_a_lost_connection_is_tried_again(product, postgres_server, monkeypatch):
    columns = Database.columns
    failures = [True]

    def cut(self: Database, name: str, query: str):
        if failures:
            failures.pop()
            with psycopg.connect(postgres_server.url(), autocommit=True) as killer:
                pid = self._connection.info.backend_pid
                killer.execute("select pg_terminate_backend(%s)", [pid])
        return columns(self, name, query)

    monkeypatch.setattr(Database, "columns", cut)
    source = product.source()
    with pytest.raises(SourceUnavailableError, match="product_db: query accounts: the connection failed"):
        product.load(source)
    failures.append(True)
    assert product.load(source.model_copy(update={"attempts": 2})) == {"accounts_whole": 3, "usage_events": 100}


@pytest.mark.parametrize(
    ("entity", "query", "said"),
    [
        (
            "accounts",
            {"sql": "select id as account_id, name from customers"},
            r"query accounts: required column missing: account_name \(is it 'name'\?\)\. Found: account_id, name",
        ),
        ("accounts", {"sql": "select id, id from customers"}, "the column 'id' occurs twice"),
        ("accounts", {"sql": "select id as account_id frm customers"}, "query accounts: the query failed: syntax"),
        ("accounts", {"sql": "select * from nowhere"}, 'relation "nowhere" does not exist'),
        (
            "accounts",
            {"sql": "select nextval('counter') as account_id, '' as account_name"},
            "the transaction is read-only",
        ),
        (
            "accounts",
            {"sql": "with gone as (delete from customers returning *) select * from gone"},
            "the query failed",
        ),
        ("accounts", {"sql": "select 1; drop table customers"}, "syntax error"),
        ("accounts", {"sql": "select 'a' as account_id, pg_sleep(9)::text as account_name"}, "cancelled by the server"),
        ("usage_events", {**EVENTS, "incremental_by": "updated"}, "no column 'updated' in the result. Found: event_id"),
        (
            "usage_events",
            {**EVENTS, "incremental_by": "event_id"},
            "'event_id' has the type text; expected a timestamp",
        ),
    ],
)
def test_a_query_that_cannot_be_taken_says_which_and_why(product, entity, query, said):
    product.execute("create sequence counter")
    source = product.source(**{entity: query}).model_copy(update={"statement_timeout_seconds": 1})
    with pytest.raises(SourceError, match=said):
        product.load(source)
    with psycopg.connect(product.url) as connection:
        assert connection.execute("select count(*) from customers").fetchone() == (3,)
    assert product.load(product.source(features={"sql": "select 'f' as feature"})) == {"features_whole": 1}


def test_what_is_wrong_with_the_address_is_told_without_the_password(product, postgres_server, monkeypatch):
    system, source = get_system("postgres"), product.source()
    said = system.check(source)
    assert said.endswith("read-only; the queries for accounts, usage_events have the required columns")
    assert said.startswith("PostgreSQL 1")
    secret = "hunter2secret"
    host = f"{postgres_server.host}:{postgres_server.port}"
    cases: list[tuple[str, type[Exception], str]] = [
        (f"postgresql://{postgres_server.user}:{secret}@{host}/postgres", ConfigError, "authentication failed"),
        (postgres_server.url("nowhere"), ConfigError, '"nowhere" does not exist'),
        (f"host=127.0.0.1 {secret}", ConfigError, "is not the address of a PostgreSQL database"),
        (f"postgresql://csm:{secret}@127.0.0.1:9/postgres", SourceUnavailableError, "cannot be reached"),
        ("", ConfigError, f"{VARIABLE} is not set"),
    ]
    for address, kind, expected in cases:
        monkeypatch.setenv(VARIABLE, address)
        with pytest.raises(kind, match=expected) as caught:
            system.check(source)
        assert secret not in str(caught.value)
        assert postgres_server.password not in str(caught.value)


def test_without_the_library_the_error_names_the_extra(product, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(
        ConfigError, match=r"needs the extra `postgres`, which is not .* Install it with `make setup-server`"
    ):
        get_system("postgres").check(product.source())


def test_progress_is_told_and_a_broken_mark_is_no_mark(product, source_loads):
    product.load()
    assert ("source read", {"source": "product_db", "records": 103}) in source_loads.log.events
    (mark,) = product.folder.rglob("usage_events-*.json")
    mark.write_text("{")
    # Everything again, which is the same file.
    assert product.load() == {}


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"queries": {"orders": {"sql": "select 1"}}}, "not an entity: orders"),
        ({"queries": {}}, "at least 1"),
        ({"queries": {"accounts": {"sql": " "}}}, "should match pattern"),
        ({"queries": {"accounts": {"sql": "select 1", "increment_by": "x"}}}, "increment_by"),
    ],
)
def test_settings_that_make_no_sense_are_refused(stated, said):
    with pytest.raises(ValueError, match=said):
        Config.model_validate({"sources": [{"system": "postgres", **stated}]})


@pytest.mark.slow
def test_a_whole_run_reads_a_database(postgres_url: str, tmp_path: Path, company: Any, postgres_server: PostgresServer):
    with psycopg.connect(postgres_url) as connection:
        connection.execute(TABLES.encode())
    queries = {
        "accounts": ACCOUNTS,
        "features": {"sql": "select distinct name as feature from events"},
        "usage_events": EVENTS,
    }
    made: Company = company(tmp_path, sources=[{"system": "postgres", "name": "product_db", "queries": queries}])
    environment = {VARIABLE: postgres_url}
    looked = made.csm("doctor", "--json", environment=environment)
    assert [one["status"] for one in json.loads(looked.stdout)] == [0], looked.stdout
    for _ in range(2):
        done = made.csm("run", "--as-of", "2026-06-01", "--no-publish", environment=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert postgres_server.password not in done.stdout + done.stderr
        assert made.query("select count(*) from staging.stg_usage_events") == [(100,)]
    assert made.query("select count(*) from marts.csm_health_scores") == [(3,)]
