"""The systems ``files`` and ``ravenstack``: what is found, what is skipped, what the ledger and raw tables hold."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import duckdb
import pytest

from csm_core.contract import BOOKKEEPING, ENTITIES
from csm_core.sources.registry import get_system, system_names
from csm_core.sources.settings import FilesSettings

RAVENSTACK = {
    "accounts": "account_id,account_name,industry,country,signup_date,referral_source,plan_tier,seats,is_trial,"
    "churn_flag",
    "churn_events": "churn_event_id,account_id,churn_date,reason_code,refund_amount_usd,preceding_upgrade_flag,"
    "preceding_downgrade_flag,is_reactivation,feedback_text",
    "feature_usage": "usage_id,subscription_id,usage_date,feature_name,usage_count,usage_duration_secs,error_count,"
    "is_beta_feature",
    "subscriptions": "subscription_id,account_id,start_date,end_date,plan_tier,seats,mrr_amount,arr_amount,is_trial,"
    "upgrade_flag,downgrade_flag,churn_flag,billing_frequency,auto_renew_flag",
    "support_tickets": "ticket_id,account_id,submitted_at,closed_at,resolution_time_hours,priority,"
    "first_response_time_minutes,satisfaction_score,escalation_flag",
}


def test_every_system_is_found_by_its_name():
    assert {"files", "ravenstack", "stripe"} <= set(system_names())
    for name in system_names():
        system = get_system(name)
        assert system.name == name
        assert all(table.table == f"raw.{name}__{table.name}" for table in system.raw_tables)
        assert {table.entity for table in system.raw_tables} <= set(ENTITIES)


def test_a_check_says_which_entities_there_are(source_loads):
    source_loads.write_company()
    source_loads.write("tickets/2026.jsonl", "{}")
    source_loads.write("invoices.csv.gz", gzip.compress(b"invoice_id,account_id,issued_at"))
    source_loads.write("interactions.txt", "x")
    source = FilesSettings(system="files", path=source_loads.folder)
    found = "accounts (1), features (1), usage_events (1), invoices (1), tickets (1)"
    assert get_system("files").check(source) == f"{source_loads.folder}: {found}"


def test_raw_keeps_what_came_and_where_from(source_loads):
    source_loads.write_company(accounts='account_id, account_name ,Notes,,_load_id\na1, Ahlers ,"x, y",1,9\n')
    results = source_loads.load()
    assert source_loads.rows(
        'select account_id, account_name, "Notes", column_4, "_load_id__original", _source_line, _load_id '
        "from raw.files__accounts"
    ) == [("a1", " Ahlers ", "x, y", "1", "9", 2, results["raw.files__accounts"].load_id)]
    columns = [name for (name,) in source_loads.rows("select column_name from (describe raw.files__accounts)")]
    assert set(columns) >= {*ENTITIES["accounts"].column_names, *BOOKKEEPING}
    assert source_loads.rows(
        "select system, entity, path, rows_read, loaded, rejected, status from raw.loads order by 1, 2"
    )[0] == (
        "files",
        "accounts",
        str(source_loads.folder / "accounts.csv"),
        1,
        1,
        0,
        "loaded",
    )


def test_one_file_and_a_folder_of_files_in_every_format(source_loads):
    source_loads.write_company()
    source_loads.write("usage_events/2026/06/a.csv", "event_id,account_id,event_name,occurred_at\nf1,a1,x,2026-06-03\n")
    line = '{"event_id": "f2", "account_id": "a1", "event_name": "x", "occurred_at": "2026-06-03", "extra": [1, 2]}'
    source_loads.write("usage_events/b.ndjson.gz", gzip.compress(b"\xef\xbb\xbf" + line.encode()))
    target = source_loads.write("usage_events/dt=2026-06-03/c.parquet", b"")
    duckdb.connect().execute(
        "copy (select 'f3' as event_id, 'a1' as account_id, 'x' as event_name, date '2026-06-03' as occurred_at) "
        f"to '{target}'"
    )
    result = source_loads.load()["raw.files__usage_events"]
    assert (result.read, result.loaded, len(result.files)) == (6, 6, 4)
    source_loads.stage("accounts", "usage_events")
    assert source_loads.rows("select event_id from staging.stg_usage_events where event_id like 'f%' order by 1") == [
        ("f1",),
        ("f2",),
        ("f3",),
    ]
    assert source_loads.rows("select extra from raw.files__usage_events where event_id = 'f2'") == [("[1,2]",)]
    assert "dt" not in [
        name for (name,) in source_loads.rows("select column_name from (describe raw.files__usage_events)")
    ]


def test_a_file_is_read_once_until_its_content_changes(source_loads):
    source_loads.write_company()
    first = source_loads.load()["raw.files__usage_events"]
    assert (first.load_id, first.files_unchanged) == (3, 0)
    again = source_loads.load()["raw.files__usage_events"]
    assert (again.load_id, again.read, again.files_unchanged) == (None, 0, 1)
    path = source_loads.folder / "usage_events.csv"
    os.utime(path, ns=(5, 5))
    touched = source_loads.load()["raw.files__usage_events"]
    assert (touched.load_id, touched.files_unchanged) == (None, 1)
    assert source_loads.rows("select file_mtime_ns from raw.loads where entity = 'usage_events'") == [(5,)]
    # The same size and another time: only the content tells.
    path.write_text(path.read_text().replace("u1", "u7"))
    changed = source_loads.load()["raw.files__usage_events"]
    assert (changed.load_id, changed.read, changed.files_unchanged) == (4, 3, 0)


def test_a_file_that_goes_leaves_its_records_once_they_are_staged(source_loads):
    source_loads.write_company()
    source_loads.write("usage_events/1.csv", "event_id,account_id,event_name,occurred_at\nf1,a1,x,2026-06-03\n")
    source_loads.run()
    (source_loads.folder / "usage_events" / "1.csv").unlink()
    source_loads.run()
    assert source_loads.rows("select count(*) from staging.stg_usage_events") == [(4,)]


def test_two_folders_of_one_system_do_not_take_each_other_back(source_loads, tmp_path):
    source_loads.write_company()
    other = tmp_path / "other"
    shutil.copytree(source_loads.folder, other)
    (other / "usage_events.csv").write_text("event_id,account_id,event_name,occurred_at\no1,a1,x,2026-06-03\n")
    for folder in (source_loads.folder, other):
        source_loads.folder = folder
        source_loads.load()
    report = source_loads.stage("accounts", "usage_events")["usage_events"]
    assert (report.read, report.loaded) == (4, 4)


def test_new_columns_join_an_existing_raw_table(source_loads):
    source_loads.write_company()
    source_loads.load()
    source_loads.write("accounts/2.csv", "account_id,account_name,region\na3,C,north\n")
    source_loads.write("accounts/3.jsonl", '{"account_id": "a4", "account_name": "D", "Region": "south", "size": 3}\n')
    source_loads.load()
    assert source_loads.rows("select account_id, region, size from raw.files__accounts order by 1") == [
        ("a1", None, None),
        ("a2", None, None),
        ("a3", "north", None),
        ("a4", "south", "3"),
    ]


def test_many_files_are_one_load(source_loads):
    source_loads.write_company()
    for day in range(1, 29):
        source_loads.write(
            f"usage_events/{day:02}.csv",
            f"event_id,account_id,event_name,occurred_at\nd{day},a1,x,2026-05-{day:02}\n",
        )
    result = source_loads.load()["raw.files__usage_events"]
    assert (result.read, len(result.files)) == (31, 29)
    assert source_loads.rows(
        "select count(*), count(distinct load_id) from raw.loads where entity = 'usage_events'"
    ) == [(29, 1)]


def write_ravenstack(source_loads, name: str, *lines: str, compressed: bool = False) -> None:
    content = "\n".join((RAVENSTACK[name], *lines, "")).encode()
    file = f"ravenstack_{name}.csv"
    if compressed:
        source_loads.write(f"{file}.gz", gzip.compress(content))
    else:
        source_loads.write(file, content)


def test_ravenstack_is_loaded_as_it_is(source_loads):
    for name, header in RAVENSTACK.items():
        width = header.count(",") + 1
        write_ravenstack(source_loads, name, ",".join(map(str, range(width))), compressed=name == "accounts")
    results = source_loads.load("ravenstack")
    assert {table: result.loaded for table, result in results.items()} == {
        f"raw.ravenstack__{name}": 1 for name in RAVENSTACK
    }
    assert source_loads.rows("select usage_id, is_beta_feature from raw.ravenstack__feature_usage") == [("0", "7")]


def test_a_changed_ravenstack_file_takes_the_place_of_the_earlier_one(source_loads):
    for name in RAVENSTACK:
        write_ravenstack(source_loads, name)
    write_ravenstack(source_loads, "churn_events", "c1,a1,2024-01-01,,,,,,", "c2,a1,2024-01-01,,,,,,")
    source_loads.load("ravenstack")
    write_ravenstack(source_loads, "churn_events", "c2,a1,2024-02-02,,,,,,")
    source_loads.load("ravenstack")
    assert source_loads.rows("select churn_event_id, churn_date from raw.ravenstack__churn_events") == [
        ("c2", "2024-02-02")
    ]


def test_the_ravenstack_example_loads_without_loss(source_loads):
    folder = Path(__file__).parents[2] / "examples" / "ravenstack"
    if not folder.is_dir():
        pytest.skip("the example is not there")
    source_loads.folder = folder
    results = source_loads.load("ravenstack").values()
    counts = {result.table.split("__")[1]: (result.loaded, result.unparseable) for result in results}
    assert counts == {
        "accounts": (500, 0),
        "churn_events": (600, 0),
        "feature_usage": (25_000, 0),
        "subscriptions": (5_000, 0),
        "support_tickets": (2_000, 0),
    }
