"""Vendors' records kept whole: from JSON lines, CSV, Parquet, pulled files, and tables that other tools land."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from csm_core.errors import SourceError
from csm_core.ingest.loader import load_tables
from csm_core.ingest.raw_tables import RawTable
from csm_core.sources.landed_tables import found_tables, landed_files
from csm_core.sources.settings_base import LandedTables

TABLE = RawTable("vendor", "orders", "invoices", ("id",), records=True)


def load(way_in, paths: dict[Path, str], table: RawTable = TABLE):
    (result,) = load_tables(way_in.connection, [(table, paths)], loaded_at=way_in.now, log=way_in.log)
    return result


def records(way_in) -> list[tuple[object, ...]]:
    rows = way_in.rows("select _source, record, _source_line from raw.vendor__orders order by _load_id, _source_line")
    return [(source, json.loads(str(record)), line) for source, record, line in rows]


def test_a_record_is_kept_whole_whatever_it_comes_in(way_in):
    way_in.connection.execute(
        "copy (select 4 as id, {'a': [1, 2]} as nested, timestamp '2026-01-02 03:04:05' as at, null as gone) "
        f"to '{way_in.folder}/d.parquet'"
    )
    files = {
        way_in.write("a.jsonl", '{"id": 1, "nested": {"a": [1, 2]}, "record": "mine"}\n{"id": 2}\n'): "north",
        way_in.write("b.csv", 'id,note\n3,"x, ""y"""\n'): "south",
        way_in.folder / "d.parquet": "south",
    }
    result = load(way_in, files)
    assert (result.read, result.loaded) == (4, 4)
    assert sorted(records(way_in), key=lambda row: int(row[1]["id"])) == [
        ("north", {"id": 1, "nested": {"a": [1, 2]}, "record": "mine"}, 1),
        ("north", {"id": 2}, 2),
        ("south", {"id": "3", "note": 'x, "y"'}, 2),
        ("south", {"id": 4, "nested": {"a": [1, 2]}, "at": "2026-01-02 03:04:05", "gone": None}, 1),
    ]
    assert load(way_in, files).load_id is None


def test_a_file_of_records_without_a_required_key_is_an_error_that_names_it(way_in):
    file = way_in.write("a.jsonl", '{"di": 1}\n')
    with pytest.raises(SourceError, match=r"a\.jsonl: required column missing: id\. Found: di"):
        load(way_in, {file: "north"})


def test_a_line_that_is_no_record_is_kept_apart(way_in):
    result = load(way_in, {way_in.write("a.jsonl", '{"id": 1}\n[1]\n{"id": \n'): "north"})
    assert (result.read, result.loaded, result.unparseable) == (3, 1, 2)
    kept = way_in.rows("select source_line, raw_text from raw.unparseable_rows order by 1")
    assert kept == [(2, "[1]"), (3, '{"id": ')]


def test_tables_of_a_duckdb_file_are_copied_and_loaded_when_they_change(way_in, tmp_path):
    database, copies = tmp_path / "landed.duckdb", tmp_path / "copies"
    snapshot = RawTable("vendor", "orders", "invoices", ("id",), records=True, snapshot=True)
    landed = LandedTables(path=database, schema_name="shop", by="fivetran")
    with duckdb.connect(str(database)) as connection:
        connection.execute("create schema shop")
        connection.execute('create table shop."ORDERS" as select range as id, json \'{"x": 1}\' as more from range(3)')

    def load_landed():
        files = landed_files(landed, ["orders", "refunds"], copies)
        assert list(files) == ["orders"]
        return load(way_in, dict.fromkeys(files["orders"], "shop"), snapshot)

    assert load_landed().loaded == 3
    assert records(way_in)[0] == ("shop", {"id": 0, "more": {"x": 1}}, 1)
    assert load_landed().load_id is None
    with duckdb.connect(str(database)) as connection:
        connection.execute("delete from shop.orders where id = 1")
    assert load_landed().loaded == 2
    assert [record["id"] for _, record, _ in records(way_in)] == [0, 2]


def test_landed_tables_in_a_folder_are_found_by_name(way_in):
    way_in.write("orders.csv", "id\n1\n")
    way_in.write("refunds/1.jsonl", '{"id": 1}\n')
    landed = LandedTables(path=way_in.folder, by="airbyte")
    assert found_tables(landed, ["orders", "refunds", "customers"]) == ["orders", "refunds"]
    assert landed_files(landed, ["refunds"], way_in.folder) == {"refunds": [way_in.folder / "refunds" / "1.jsonl"]}


@pytest.mark.parametrize(
    ("made", "said"), [(None, "neither a folder nor"), ("text", "cannot be opened"), ("db", "no tables in")]
)
def test_what_is_no_landed_database_is_told(tmp_path, made, said):
    path = tmp_path / "x.duckdb"
    if made == "text":
        path.write_text("not a database " * 1000)
    elif made == "db":
        duckdb.connect(str(path)).close()
    with pytest.raises(SourceError, match=said):
        landed_files(LandedTables(path=path, schema_name="shop", by="fivetran"), ["orders"], tmp_path / "c")
