"""Refused records: counted, shown, exported, repaired and put back."""

from __future__ import annotations

import csv
import json

import duckdb
import pytest

from csm_core.errors import InputError
from csm_core.staging import quarantine, quarantine_report

HEADER = "event_id,account_id,event_name,quantity,occurred_at,note\n"


@pytest.fixture
def refused(source_loads):
    source_loads.write_company()
    source_loads.write(
        "usage_events/1.csv",
        HEADER
        + "q1,a1,x,many,2026-06-01,=HYPERLINK(1)\n"
        + "q2,nobody,x,-5,2026-06-01,-5\n"
        + "q3,a1,x,1e3,2026-06-01,plain\n"
        + "broken\n",
    )
    source_loads.run()
    return source_loads


def test_records_are_shown_with_their_place_reason_value_and_the_beginning_of_their_text(refused):
    refused.write("usage_events/2.csv", HEADER + f"q4,a1,x,,,{'long ' * 40}\n")
    refused.run()
    shown = quarantine_report.records_text(quarantine.rows(refused.connection, "usage_events"), "usage_events")
    places = [line for line in shown.splitlines() if not line.startswith("    ")]
    texts = [line.removeprefix("    ") for line in shown.splitlines() if line.startswith("    ")]
    files = [refused.folder / "usage_events" / f"{number}.csv" for number in (1, 2)]
    assert sorted(places) == [
        f"{files[0]}:2  invalid_number in quantity: many",
        f"{files[0]}:3  unknown_account in account_id: nobody",
        f"{files[0]}:4  invalid_number in quantity: 1e3",
        f"{files[0]}:5  unparseable_row: 1 value for 6 columns",
        f"{files[1]}:2  missing_required in occurred_at",
    ]
    assert "broken" in texts
    (cut,) = (text for text in texts if "long" in text)
    assert (len(cut), cut[-1]) == (160, "…")
    assert quarantine_report.records_text([], "tickets") == "no rejected records of tickets"


def test_the_summary_counts_by_reason(refused):
    found = quarantine.summary(refused.connection)
    assert [(one.entity, one.system, one.field, one.reason, one.records) for one in found] == [
        ("usage_events", "files", "quantity", "invalid_number", 2),
        ("usage_events", "files", "account_id", "unknown_account", 1),
        ("usage_events", "files", None, "unparseable_row", 1),
    ]
    assert found[0].example == "1e3"


def test_rows_show_where_they_come_from(refused):
    records = quarantine.rows(refused.connection, "usage_events", limit=2)
    assert [(one.source_line, one.field, one.value) for one in records] == [
        (2, "quantity", "many"),
        (3, "account_id", "nobody"),
    ]
    assert records[0].source_file.endswith("usage_events/1.csv")
    assert json.loads(records[0].raw_text or "")["note"] == "=HYPERLINK(1)"


def test_a_warehouse_without_quarantine_has_nothing_to_show(source_loads):
    assert quarantine.summary(source_loads.connection) == []
    assert quarantine.rows(source_loads.connection, "tickets") == []


def test_csv_export_is_safe_in_a_spreadsheet(refused, tmp_path):
    path = tmp_path / "out.csv"
    assert quarantine.export(refused.connection, "usage_events", path) == 4
    with path.open(newline="") as file:
        records = list(csv.DictReader(file))
    assert [(one["event_id"], one["note"], one["quantity"], one["rejected_reason"]) for one in records] == [
        ("q1", "'=HYPERLINK(1)", "many", "invalid_number"),
        ("q2", "'-5", "'-5", "unknown_account"),
        ("q3", "plain", "1e3", "invalid_number"),
        ("", "", "", "unparseable_row"),
    ]
    assert records[3]["rejected_text"] == "broken"
    assert records[3]["rejected_line"] == "5"


def test_a_csv_export_repaired_in_a_spreadsheet_goes_back_in_with_every_value_as_it_was(source_loads, tmp_path):
    awkward = {
        "r1": "=1+1",
        "r2": "'=1+1",
        "r3": "''=1+1",
        "r4": "-5",
        "r5": "-five",
        "r6": "it's",
        "r7": "@all",
        "r8": "'plain'",
        "r9": '+ "a", b',
    }
    source_loads.write_company()
    with (source_loads.folder / "accounts.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["account_id", "account_name", "created_at"])
        writer.writerows([["a1", "Ahlers", ""], ["a2", "Bolt", ""]])
        writer.writerows([[key, value, "1.6.2026"] for key, value in awkward.items()])
    source_loads.run()
    path = tmp_path / "repair.csv"
    assert quarantine.export(source_loads.connection, "accounts", path) == len(awkward)
    with path.open(encoding="utf-8", newline="") as file:
        exported = list(csv.DictReader(file))
    assert [row["account_name"][0] for row in exported if row["account_name"] not in ("it's", "'plain'")] == (["'"] * 7)
    (source_loads.folder / "accounts").mkdir()
    (source_loads.folder / "accounts.csv").rename(source_loads.folder / "accounts" / "first.csv")
    with (source_loads.folder / "accounts" / "repaired.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, exported[0])
        writer.writeheader()
        writer.writerows(row | {"created_at": "2026-06-01"} for row in exported)
    source_loads.run()
    names = "select account_id, account_name from staging.stg_accounts where account_id like 'r%'"
    assert dict(source_loads.rows(names)) == awkward
    assert quarantine.rows(source_loads.connection, "accounts") == []


def test_only_an_export_loses_apostrophes(source_loads):
    source_loads.write_company(accounts="account_id,account_name,rejected_field\na1,'=Ahlers,x\na2,Bolt,\n")
    source_loads.run()
    assert source_loads.rows("select account_name from staging.stg_accounts where account_id = 'a1'") == [("'=Ahlers",)]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_other_exports_are_exact_and_go_back_in_once_repaired(refused, tmp_path, form):
    path = tmp_path / f"out.{form}"
    quarantine.export(refused.connection, "usage_events", path)
    other = duckdb.connect()
    assert other.execute(f"select note from '{path}' where event_id = 'q1'").fetchall() == [("=HYPERLINK(1)",)]
    target = refused.folder / "usage_events" / f"repaired.{form}"
    other.execute(
        f"copy (select * replace ('7' as quantity, 'a1' as account_id) from '{path}' where event_id is not null) "
        f"to '{target}' (format {'json' if form == 'jsonl' else 'parquet'})"
    )
    report = refused.run()["usage_events"]
    assert (report.read, report.loaded) == (3, 3)
    assert refused.rows("select quantity from staging.stg_usage_events where event_id like 'q%'") == [(7,)] * 3
    # What has come right is no longer in quarantine; the broken row is.
    assert [one.reason for one in quarantine.rows(refused.connection, "usage_events")] == ["unparseable_row"]


@pytest.mark.parametrize(
    ("entity", "name", "expected"),
    [
        ("orders", "out.csv", "unknown entity 'orders'"),
        ("usage_events", "out.xlsx", r"expected one of \.csv, \.jsonl, \.parquet"),
        ("usage_events", "nowhere/out.csv", "the folder does not exist"),
        ("tickets", "out.csv", "tickets has not been staged yet"),
    ],
)
def test_what_cannot_be_exported_is_an_error(refused, tmp_path, entity, name, expected):
    with pytest.raises(InputError, match=expected):
        quarantine.export(refused.connection, entity, tmp_path / name)


def test_an_export_that_fails_leaves_the_earlier_file(refused, tmp_path):
    folder = tmp_path / "out.csv"
    folder.mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        quarantine.export(refused.connection, "usage_events", folder)
    assert list(tmp_path.glob(".out*")) == []
