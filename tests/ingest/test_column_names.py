"""Names of columns are compared without regard to case, blanks and dashes, and stored as they are compared."""

from __future__ import annotations

import unicodedata

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csm_core.errors import SourceError
from csm_core.ingest.column_names import column_key, stored_name
from tests.examples import examples

NAME = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
INVOICES = "invoice_id,account_id,amount_due,issued_at,{0}\n{1},a1,10,2026-06-01,x\n"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Account ID", "account_id"),
        (" ACCOUNT-ID ", "account_id"),
        ("\ufeffaccount_id", "account_id"),
        ("account \u2013 id", "account_id"),
        ("account\u00a0id", "account_id"),
        ("\u00c9tat", "\u00e9tat"),
        ("E\u0301TAT", "\u00e9tat"),
        ("GR\u00d6\u1e9eE", "gr\u00f6sse"),
        ("Gr\u00f6\u00dfe", "gr\u00f6sse"),
        ("\u212aelvin", "kelvin"),
        ("", ""),
    ],
)
def test_a_key(name, key):
    assert column_key(name) == key


@settings(max_examples=examples(300))
@given(NAME)
def test_a_key_is_its_own_key_and_that_of_every_form(name):
    key = column_key(name)
    assert column_key(key) == key
    for form in ("NFC", "NFD"):
        assert column_key(unicodedata.normalize(form, name)) == key
    assert column_key(name.casefold()) == key
    assert stored_name(stored_name(name)) == stored_name(name)


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(NAME, min_size=1, max_size=6))
def test_duckdb_keeps_apart_the_names_that_are_stored(names):
    stored = sorted({stored_name(name) for name in names})
    columns = ", ".join('"' + name.replace('"', '""') + '" varchar' for name in stored)
    with duckdb.connect() as connection:
        connection.execute(f"create table t ({columns})")
        assert [row[0] for row in connection.execute("describe t").fetchall()] == stored


@pytest.mark.parametrize(("first", "second"), [("\u00c9tat", "\u00e9tat"), ("k", "\u212a"), ("Plan Tier", "plan-tier")])
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_two_spellings_in_two_files_are_one_column(source_loads, form, first, second):
    source_loads.write_company()
    for number, name in enumerate((first, second)):
        path = source_loads.write(f"invoices/{number}.csv", INVOICES.format(name, f"i{number}"))
        if form != "csv":
            kind = "json" if form == "jsonl" else "parquet"
            source_loads.connection.execute(f"copy (from '{path}') to '{path.with_suffix(f'.{form}')}' (format {kind})")
            path.unlink()
        source_loads.load()
    key = column_key(first)
    assert source_loads.rows(f'select "{key}" from raw.files__invoices') == [("x",), ("x",)]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_the_contracts_columns_are_found_in_any_spelling(source_loads, form):
    source_loads.write_company()
    path = source_loads.write("invoices/1.csv", "Invoice ID,ACCOUNT_ID,Amount-Due,Issued At\ni1,a1,10,2026-06-01\n")
    if form != "csv":
        kind = "json" if form == "jsonl" else "parquet"
        source_loads.connection.execute(f"copy (from '{path}') to '{path.with_suffix(f'.{form}')}' (format {kind})")
        path.unlink()
    source_loads.run("invoices")
    assert source_loads.rows("select invoice_id, account_id, amount_due::varchar from staging.stg_invoices") == [
        ("i1", "a1", "10.00")
    ]


def test_two_columns_of_one_file_that_are_one_are_an_error_that_names_both(source_loads):
    source_loads.write_company()
    path = source_loads.write("invoices.csv", INVOICES.format("Invoice ID", "i1"))
    with pytest.raises(SourceError, match="the columns 'invoice_id' and 'Invoice ID' are both read as 'invoice_id'"):
        source_loads.load()
    path.unlink()
    source_loads.write(
        "invoices.jsonl",
        '{"invoice_id": 1, "account_id": "a1", "issued_at": "2026-06-01"}\n'
        '{"invoice_id": 1, "INVOICE_ID": 2, "account_id": "a1", "issued_at": "2026-06-01"}\n',
    )
    with pytest.raises(SourceError, match=r"invoices\.jsonl: line 2: the columns 'INVOICE_ID' and 'invoice_id' are"):
        source_loads.load()


def test_a_warehouse_whose_raw_table_has_the_column_in_its_old_spelling_goes_on(source_loads):
    source_loads.write_company()
    source_loads.load()
    source_loads.connection.execute('alter table raw.files__invoices add column "\u00c9tat" varchar')
    source_loads.connection.execute('alter table raw.files__invoices add column "Region" varchar')
    source_loads.write("invoices.csv", INVOICES.format("\u00e9tat,REGION", "i1").replace(",x\n", ",x,y\n"))
    source_loads.load()
    assert source_loads.rows('select "\u00e9tat", region from raw.files__invoices') == [("x", "y")]


def test_parquet_columns_that_differ_in_case_alone_are_an_error(source_loads):
    source_loads.write_company()
    table = pa.table(
        {"Account_ID": ["a1"], "account_id": ["a2"], "account_name": ["x"], "more": [{"account_id": [{"a": 1}]}]}
    )
    (source_loads.folder / "accounts.csv").unlink()
    pq.write_table(table, source_loads.folder / "accounts.parquet")
    with pytest.raises(SourceError, match="the columns 'Account_ID' and 'account_id' are both read as 'account_id'"):
        source_loads.load()
    pq.write_table(table.drop_columns(["Account_ID"]), source_loads.folder / "accounts.parquet")
    assert source_loads.load()["raw.files__accounts"].loaded == 1
