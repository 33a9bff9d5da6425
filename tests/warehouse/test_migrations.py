"""Migrations: a warehouse of any earlier state gets the same tables, keeps its rows, and fails without a trace."""

import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csm_core.errors import WarehouseError, WarehouseInputError
from csm_core.publishing.notion.target_pages import account_of, key_of
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.migrations import MIGRATIONS, Migration, upgrade
from tests.examples import examples
from tests.warehouse.version_before import STATEMENTS, create_tables

NUMBERS = [migration.number for migration in MIGRATIONS]
NEXT = NUMBERS[-1] + 1
# A value of each type for the rows that have to survive.
VALUES = {
    "VARCHAR": '["A0026", "module", "reports"]',
    "BIGINT": 7,
    "INTEGER": 3,
    "DOUBLE": 0.5,
    "BOOLEAN": True,
    "UHUGEINT": 2**127,
    "DATE": date(2026, 6, 30),
    "TIMESTAMP": datetime(2026, 7, 1, 8, 30, tzinfo=UTC).replace(tzinfo=None),
}
RENAMED = {"run.uncopied": "run.changed_marts"}


def columns(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, tuple[str, bool]]]:
    """Every table with the types of its columns, and whether they may be null."""
    found: dict[str, dict[str, tuple[str, bool]]] = {}
    for table, name, kind, nullable in connection.execute(
        "select schema_name || '.' || table_name, column_name, data_type, is_nullable from duckdb_columns() "
        "where not internal order by all"
    ).fetchall():
        found.setdefault(table, {})[name] = (kind, nullable)
    return found


def content(connection: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[object, ...]]]:
    """The rows of every table."""
    return {table: connection.execute(f"from {table}").fetchall() for table in columns(connection)}


def of_a_new_warehouse() -> dict[str, dict[str, tuple[str, bool]]]:
    with duckdb.connect() as connection:
        upgrade(connection)
        return columns(connection)


def test_numbers_have_no_gap_and_names_are_unique():
    assert list(range(1, len(MIGRATIONS) + 1)) == NUMBERS
    assert len({migration.name for migration in MIGRATIONS}) == len(MIGRATIONS)


def test_a_new_warehouse_records_every_migration_and_a_second_open_applies_none(tmp_path):
    warehouse = Warehouse(tmp_path / "w.duckdb")
    with warehouse.connect() as connection:
        recorded = connection.execute("from run.migrations order by number").fetchall()
        assert [(number, name) for number, name, *_ in recorded] == [(one.number, one.name) for one in MIGRATIONS]
    with warehouse.connect() as connection:
        assert connection.execute("from run.migrations order by number").fetchall() == recorded
        assert upgrade(connection) == []


def test_a_warehouse_of_the_version_before_keeps_every_row_and_gets_the_tables_of_a_new_one(tmp_path):
    path = tmp_path / "w.duckdb"
    with duckdb.connect(str(path)) as connection:
        create_tables(connection)
        for table, kinds in columns(connection).items():
            listed = ", ".join(kinds)
            values = [VALUES[kind] for kind, _ in kinds.values()]
            connection.execute(f"insert into {table} ({listed}) values ({', '.join('?' * len(values))})", values)
        before = content(connection)
    for _ in range(2):
        with Warehouse(path).connect() as connection:
            for table, rows in before.items():
                kept = connection.execute(f"from {RENAMED.get(table, table)}").fetchall()
                # Columns that are added come last.
                assert [row[: len(rows[0])] for row in kept] == rows, table
            assert columns(connection) == of_a_new_warehouse()
            for table in ("notion_pages", "notion_changes", "notion_journal"):
                assert connection.execute(f"select account_id from sync.{table}").fetchall() == [("A0026",)]
            assert connection.execute("select count(*), min(number) from run.migrations").fetchone() == (NUMBERS[-1], 1)


@settings(max_examples=examples(8))
@given(st.sets(st.sampled_from(STATEMENTS[7:])))
def test_any_of_the_tables_may_be_there_already(present):
    with duckdb.connect() as connection:
        for statement in STATEMENTS[:7]:
            connection.execute(statement)
        for statement in sorted(present):
            connection.execute(statement)
        assert upgrade(connection) == NUMBERS
        assert columns(connection) == of_a_new_warehouse()


@settings(max_examples=examples(6))
@given(st.lists(st.lists(st.text(max_size=5), min_size=1, max_size=3), min_size=15, max_size=30))
def test_pages_of_the_version_before_get_the_account_of_their_key(parts):
    keys = [key_of(*of_page) for of_page in parts]
    with duckdb.connect() as connection:
        create_tables(connection)
        for key in keys:
            connection.execute(
                "insert into sync.notion_changes (run_id, kind, key, action, changed_at) "
                "values ('r', 'health', ?, 'created', now()::timestamp)",
                [key],
            )
        upgrade(connection)
        found = connection.execute("select key, account_id from sync.notion_changes").fetchall()
    assert sorted(found, key=str) == sorted(((key, account_of(key) or None) for key in keys), key=str)


BROKEN = "create table run.extra (i integer); update run.days set as_of_date = as_of_date + 1"


def fail(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("insert into run.extra values ('not a number')")


@pytest.mark.parametrize(
    "broken",
    [
        Migration(NEXT, "add a table", f"{BROKEN}; insert into run.extra values ('not a number')"),
        Migration(NEXT, "add a table", BROKEN, fail),
    ],
    ids=["in SQL", "in code"],
)
def test_a_migration_that_fails_leaves_the_warehouse_as_before(tmp_path, broken):
    path = tmp_path / "w.duckdb"
    with Warehouse(path).connect() as connection:
        connection.execute("insert into run.days values ('2026-06-30')")
        before, rows = columns(connection), content(connection)
    with Warehouse(path).connect() as connection:
        with pytest.raises(WarehouseError, match=rf"w\.duckdb cannot be upgraded: migration {NEXT} \(add a table\)"):
            upgrade(connection, [*MIGRATIONS, broken])
        assert (columns(connection), content(connection)) == (before, rows)
    with Warehouse(path).connect() as connection:
        assert (columns(connection), content(connection)) == (before, rows)
        assert upgrade(connection, [*MIGRATIONS, Migration(NEXT, "add a table", BROKEN)]) == [NEXT]


KILLED = f"""
import os, sys
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.migrations import MIGRATIONS, Migration, upgrade
with Warehouse(__import__("pathlib").Path(sys.argv[1])).connect() as connection:
    upgrade(connection, [*MIGRATIONS, Migration({NEXT}, "killed", {BROKEN!r}, lambda _: os.kill(os.getpid(), 9))])
"""


def test_a_migration_that_is_killed_leaves_the_warehouse_as_before(tmp_path):
    path = tmp_path / "w.duckdb"
    with Warehouse(path).connect() as connection:
        connection.execute("insert into run.days values ('2026-06-30')")
        before, rows = columns(connection), content(connection)
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, cwd=Path.cwd()).returncode == -9
    with Warehouse(path).connect() as connection:
        assert (columns(connection), content(connection)) == (before, rows)


def test_a_warehouse_of_a_newer_version_is_rejected_with_that_version(tmp_path):
    path = tmp_path / "w.duckdb"
    with Warehouse(path).connect() as connection:
        connection.execute(
            "insert into run.migrations values (?, 'add what is not known here', ?, '9.8.7')",
            [NEXT, datetime.now(UTC).replace(tzinfo=None)],
        )
    for opened in (Warehouse(path).connect, Warehouse(path).open_read_only):
        with pytest.raises(WarehouseInputError) as rejected, opened():
            pass
        assert rejected.value.exit_status == 2
        assert f"{path} was upgraded by csm-health 9.8.7 to migration {NEXT}" in str(rejected.value)
        assert "Install csm-health 9.8.7 or later" in str(rejected.value)


def test_every_bookkeeping_table_and_column_is_described(tmp_path):
    with Warehouse(tmp_path / "w.duckdb").connect() as connection:
        tables = connection.execute(
            "select schema_name || '.' || table_name from duckdb_tables() "
            "where schema_name in ('run', 'sync') and comment is null"
        ).fetchall()
        columns = connection.execute(
            "select schema_name || '.' || table_name, column_name from duckdb_columns() "
            "where schema_name in ('run', 'sync') and comment is null"
        ).fetchall()
    assert (tables, columns) == ([], [])


def test_marts_of_the_version_before_get_the_columns_of_converted_amounts():
    with duckdb.connect() as connection:
        upgrade(connection, MIGRATIONS[:16])
        connection.execute(
            "create schema if not exists marts; create table marts.csm_accounts_daily (account_id varchar); "
            "insert into marts.csm_accounts_daily values ('A0026')"
        )
        upgrade(connection)
        assert connection.execute(
            "select account_id, mrr_reporting, reporting_currency from marts.csm_accounts_daily"
        ).fetchall() == [("A0026", None, None)]


def test_scores_of_a_version_without_history_are_known_since_they_were_computed(tmp_path):
    path = tmp_path / "w.duckdb"
    with duckdb.connect(str(path)) as connection:
        upgrade(connection, MIGRATIONS[:16])
        row = "'t' as tenant_id, 'A1' as account_id, date '2026-06-30' as as_of_date"
        connection.execute(f"create table marts.csm_health_signals as select {row}")
        connection.execute(
            f"create table marts.csm_health_scores as select {row}, timestamp '2026-07-01 07:00:00' as scored_at"
        )
    with Warehouse(path).connect() as connection:
        for table in ("csm_health_signals", "csm_health_scores"):
            assert connection.execute(f"select known_from from marts.{table}").fetchall() == [
                (datetime(2026, 7, 1, 7, tzinfo=UTC).replace(tzinfo=None),)
            ]
