"""Landed files of sources: the lines of an erased account are emptied, all others stay, and nothing is loaded again."""

import gzip
import json
from pathlib import Path

from csm_core.operations.erased_rows import PLACES, ErasedAccount
from csm_core.operations.rewritten_files import rewrite_landed_files
from csm_core.warehouse.database import Warehouse

ACCOUNT = ErasedAccount("a1", ("One",), (("stripe", "cus_1"), ("zendesk", "7")))


def test_lines_of_the_account_are_emptied_and_the_load_keeps_its_file(tmp_path: Path):
    landed = tmp_path / "sources" / "stripe" / "files"
    landed.mkdir(parents=True)
    lines = [
        {"id": "cus_1", "name": "One"},
        {"id": "cus_2", "quantity": "7"},
        {"id": "in_1", "customer": "cus_1"},
        {"id": "in_2", "customer": "cus_10"},
        {"id": 12, "organization_id": 7},
        {"id": 13, "organization_id": 77},
        {"id": "by place"},
    ]
    text = "\n".join(json.dumps(one) for one in lines) + "\n"
    packed, plain = landed / "records.jsonl.gz", landed / "other.jsonl"
    packed.write_bytes(gzip.compress(text.encode()))
    plain.write_text('{"id": "cus_2"}\n', encoding="utf-8")
    with Warehouse(tmp_path / "csm.duckdb").connect() as connection:
        connection.execute(
            f"create temp table {PLACES.removeprefix('temp.')} as "
            "select 'raw.t' as raw_table, 1 as _load_id, ? as _source_file, 7 as _source_line",
            [str(packed)],
        )
        connection.execute(
            "insert into raw.loads values "
            "(1, 'stripe', 'invoices', 'raw.t', ?, 1, 1, 'before', 7, 7, 0, now(), 'loaded')",
            [str(packed)],
        )
        assert rewrite_landed_files(connection, tmp_path, ACCOUNT) == [packed]
        assert rewrite_landed_files(connection, tmp_path, ACCOUNT) == []
        size, fingerprint = connection.execute("select file_size, fingerprint from raw.loads").fetchone() or (0, "")
    kept = gzip.decompress(packed.read_bytes()).decode().split("\n")
    assert [json.loads(one)["id"] if one else None for one in kept] == [
        *(None, "cus_2", None, "in_2", None, 13, None, None)
    ]
    assert (size, fingerprint != "before") == (packed.stat().st_size, True)
    assert plain.read_text(encoding="utf-8") == '{"id": "cus_2"}\n'


def test_a_copied_table_with_the_account_is_deleted(tmp_path: Path):
    landed = tmp_path / "sources"
    landed.mkdir()
    with Warehouse(tmp_path / "csm.duckdb").connect() as connection:
        connection.execute(
            f"create temp table {PLACES.removeprefix('temp.')} "
            "(raw_table varchar, _load_id bigint, _source_file varchar, _source_line bigint)"
        )
        for name, customer in (("with", "cus_1"), ("without", "cus_2")):
            connection.execute(f"copy (select '{customer}' as customer_id) to '{landed / name}.parquet'")
        assert rewrite_landed_files(connection, tmp_path, ACCOUNT) == [landed / "with.parquet"]
    assert [path.name for path in landed.iterdir()] == ["without.parquet"]
