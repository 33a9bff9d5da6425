"""The gate: what is let in, what is refused and why, what replaces what, and that every record is accounted for."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date
from hashlib import sha256
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csm_core.contract import ENTITIES, Reason
from csm_core.errors import ConfigError, SourceError, WarehouseError
from csm_core.staging.casts import validate
from csm_core.staging.gate import stage_entity
from csm_core.warehouse.database import Warehouse
from tests.examples import examples
from tests.source_loads import ACCOUNTS, FEATURES, straight

HEADER = "event_id,account_id,user_id,event_name,feature,quantity,occurred_at\n"


def test_a_folder_becomes_staged_tables(source_loads):
    source_loads.write_company()
    source_loads.load()
    reports = source_loads.stage()
    events = reports["usage_events"]
    assert (events.read, events.loaded, events.rejected, events.superseded) == (3, 3, 0, 0)
    assert events.touched_days == (date(2026, 6, 1), date(2026, 6, 2))
    assert source_loads.rows(
        "select event_id, feature, quantity, cast(occurred_at as varchar) from staging.stg_usage_events order by 1"
    ) == [
        ("e1", None, 1, "2026-06-01 10:00:00"),
        ("e2", "reports", 3, "2026-06-02 10:00:00"),
        ("e3", None, 1, "2026-06-02 10:00:00"),
    ]
    assert source_loads.rows("select distinct tenant_id from staging.stg_accounts") == [("default",)]
    for entity in ENTITIES.values():
        described = source_loads.rows(f"describe {entity.table}")
        assert [row[0] for row in described] == [*entity.column_names, *entity.gate_columns]
        assert [str(row[1]).lower() for row in described[: len(entity.columns)]] == [
            str(column.kind) for column in entity.columns
        ]
        assert reports[entity.name].read == source_loads.rows(f"select count(*) from {entity.table}")[0][0]


def test_an_account_id_is_one_account_whichever_tenant_it_names(source_loads):
    source_loads.write_company(accounts="account_id,account_name,tenant_id\na1,A,north\na1,A,south\na2,B,north\n")
    source_loads.load()
    report = source_loads.stage("accounts")["accounts"]
    assert (report.read, report.loaded, report.superseded) == (3, 2, 1)
    assert source_loads.rows("select account_id, tenant_id from staging.stg_accounts order by 1") == [
        ("a1", "south"),
        ("a2", "north"),
    ]


TIMES = {
    "2026-06-01": "2026-06-01 00:00:00",
    "2026-06-01T10:11:12": "2026-06-01 10:11:12",
    "2026-06-01 10:11:12.5": "2026-06-01 10:11:12.5",
    "2026-06-01T10:11": "2026-06-01 10:11:00",
    "2026-06-01T10:11:12Z": "2026-06-01 10:11:12",
    "2026-06-01T00:30:00+02:00": "2026-05-31 22:30:00",
    "2026-06-01T23:30:00-0530": "2026-06-02 05:00:00",
    "2026-06-01 12:00:00+14": "2026-05-31 22:00:00",
    "2024-02-29T23:59:59.999999Z": "2024-02-29 23:59:59.999999",
    "2026-06-01T10:11:12.1234567Z": "2026-06-01 10:11:12.123456",
    "2026-06-01 22:11:12.000 -0700": "2026-06-02 05:11:12",
    "2026-06-01 10:11:12 UTC": "2026-06-01 10:11:12",
    "1900-01-01": "1900-01-01 00:00:00",
    "9999-12-31T23:59:59.999999Z": "9999-12-31 23:59:59.999999",
    " 2026-06-01\u00a0": "2026-06-01 00:00:00",
    "2026-02-29": None,
    "2026-06-31T00:00:00Z": None,
    "2026-13-01": None,
    "2026-6-1": None,
    "01/06/2026": None,
    "1 June 2026": None,
    "20260601": None,
    "2026-06": None,
    "2026-06-01T24:00:00": None,
    "2026-06-01T23:59:60": None,
    "2026-06-01T10": None,
    "2026-06-01T10:11:12+99:00": None,
    "2026-06-01T10:11:12 CET": None,
    "1780308000": None,
    "1899-12-31": None,
    "0000-01-01": None,
    "0001-01-01T00:00:00+14:00": None,
    "9999-12-31T23:59:59-14:00": None,
    "infinity": None,
    "now": None,
    "epoch": None,
}


def test_times_are_full_iso_and_become_utc(source_loads):
    # The session's own time zone has no say in it.
    source_loads.connection.execute("set timezone = 'America/New_York'")
    lines = [f"t{number},a1,,x,,,{text}\n" for number, text in enumerate(TIMES)]
    source_loads.write_company(usage_events=HEADER + "".join(lines))
    report = source_loads.run()["usage_events"]
    stored = dict(source_loads.rows("select event_id, cast(occurred_at as varchar) from staging.stg_usage_events"))
    assert {text: stored.get(f"t{number}") for number, text in enumerate(TIMES)} == TIMES
    assert report.by_reason == {"invalid_timestamp": list(TIMES.values()).count(None)}


QUANTITIES = {
    "": 1,
    "7": 7,
    "+7": 7,
    "007": 7,
    "1000000000": 1_000_000_000,
    "12.0": 12,
    "1000000001": Reason.OUT_OF_RANGE,
    "9223372036854775807": Reason.OUT_OF_RANGE,
    "-1": Reason.OUT_OF_RANGE,
    "9223372036854775808": Reason.OUT_OF_RANGE,
    "1,000": Reason.INVALID_NUMBER,
    "1 000": Reason.INVALID_NUMBER,
    "1_000": Reason.INVALID_NUMBER,
    "12.5": Reason.INVALID_NUMBER,
    "1e3": Reason.INVALID_NUMBER,
    "0x10": Reason.INVALID_NUMBER,
    "NaN": Reason.INVALID_NUMBER,
    "inf": Reason.INVALID_NUMBER,
    "-Infinity": Reason.INVALID_NUMBER,
    "many": Reason.INVALID_NUMBER,
    "٣": Reason.INVALID_NUMBER,
}


def test_whole_numbers_are_digits(source_loads):
    lines = [f't{number},a1,,x,,"{text}",2026-06-01\n' for number, text in enumerate(QUANTITIES)]
    source_loads.write_company(usage_events=HEADER + "".join(lines))
    source_loads.run()
    found = dict(source_loads.rows("select event_id, quantity from staging.stg_usage_events"))
    found |= dict(source_loads.rows("select record_key, reason from quarantine.usage_events where field = 'quantity'"))
    assert {text: found[f"t{number}"] for number, text in enumerate(QUANTITIES)} == QUANTITIES


AMOUNTS = {
    "0": "0.00",
    "1234.5": "1234.50",
    "1.005": "1.01",
    "1000000000000": "1000000000000.00",
    "": None,
    "-0.01": Reason.OUT_OF_RANGE,
    "1000000000000.01": Reason.OUT_OF_RANGE,
    "9999999999999999.99": Reason.OUT_OF_RANGE,
    "10000000000000000": Reason.OUT_OF_RANGE,
    "1,234.50": Reason.INVALID_NUMBER,
    "1.234,50": Reason.INVALID_NUMBER,
    "$5": Reason.INVALID_NUMBER,
    ".5": Reason.INVALID_NUMBER,
    "1e3": Reason.INVALID_NUMBER,
    "nan": Reason.INVALID_NUMBER,
}


def test_amounts_are_plain_decimals(source_loads):
    source_loads.write_company()
    lines = [f's{number},a1,"{text}",2026-06-01\n' for number, text in enumerate(AMOUNTS)]
    source_loads.write("subscriptions.csv", "subscription_id,account_id,mrr,started_at\n" + "".join(lines))
    source_loads.run("subscriptions")
    found = dict(source_loads.rows("select subscription_id, cast(mrr as varchar) from staging.stg_subscriptions"))
    found |= dict(source_loads.rows("select record_key, reason from quarantine.subscriptions where field = 'mrr'"))
    assert {text: found[f"s{number}"] for number, text in enumerate(AMOUNTS)} == AMOUNTS


@pytest.mark.parametrize(
    ("sql", "stored"),
    [
        ("1::integer", 1),
        ("1::utinyint", 1),
        ("5.0::double", 5),
        ("5::decimal(9,2)", 5),
        ("null::double", 1),
        ("5.5::double", Reason.INVALID_NUMBER),
        ("'nan'::double", Reason.INVALID_NUMBER),
        ("'inf'::float", Reason.INVALID_NUMBER),
        ("1e30::double", Reason.OUT_OF_RANGE),
        ("170141183460469231731687303715884105727::hugeint", Reason.OUT_OF_RANGE),
        ("-1::bigint", Reason.OUT_OF_RANGE),
        ("1000000001::bigint", Reason.OUT_OF_RANGE),
        ("true", Reason.INVALID_NUMBER),
        ("date '2026-01-01'", Reason.INVALID_NUMBER),
    ],
)
def test_typed_numbers_take_the_short_way_by_the_same_rules(sql, stored):
    assert judged(f"{sql} as quantity", "quantity") == stored


@pytest.mark.parametrize(
    ("sql", "stored"),
    [
        ("timestamp '2026-06-01 10:00:00.5'", "2026-06-01 10:00:00.5"),
        ("timestamptz '2026-06-01 00:30:00+02'", "2026-05-31 22:30:00"),
        ("date '2026-06-01'", "2026-06-01 00:00:00"),
        ("timestamp_ns '2026-06-01 23:59:59.999999999'", "2026-06-01 23:59:59.999999"),
        ("timestamptz_ns '2026-06-01 23:59:59.999999999+02'", "2026-06-01 21:59:59.999999"),
        ("timestamp_ns '1969-12-31 23:59:59.999999999'", "1969-12-31 23:59:59.999999"),
        ("timestamp 'infinity'", "invalid_timestamp"),
        ("timestamp_ns 'infinity'", "invalid_timestamp"),
        ("timestamp_ms '2026-06-01 10:00:00.123'", "2026-06-01 10:00:00.123"),
        ("'2026-06-01T10:00:00Z'", "2026-06-01 10:00:00"),
        ("null::timestamp", "missing_required"),
        ("1780308000", "invalid_timestamp"),
        ("true", "invalid_timestamp"),
    ],
)
def test_typed_times_take_the_short_way_by_the_same_rules(sql, stored):
    assert judged(f"{sql} as occurred_at", "cast(occurred_at as varchar)") == stored


@pytest.mark.parametrize(
    ("sql", "stored"),
    [
        ("16777215::float", "16777215"),
        ("-16777215::float", "-16777215"),
        ("16777216::float", Reason.INVALID_NUMBER),
        ("9007199254740991::double", "9007199254740991"),
        ("9007199254740992::double", Reason.INVALID_NUMBER),
        ("7.5::double", Reason.INVALID_NUMBER),
        ("'nan'::float", Reason.INVALID_NUMBER),
        ("null::double", None),
    ],
)
def test_an_identifier_as_a_float_is_read_as_long_as_it_is_exact(sql, stored):
    assert judged(f"{sql} as user_id", "user_id") == stored


def judged(value: str, column: str) -> object:
    """What becomes of one event with a value of some type: the staged value, or the reason against it."""
    connection = duckdb.connect()
    connection.execute("set timezone = 'Asia/Kolkata'")
    connection.execute("create schema staging; create table staging.stg_accounts as select 'a1' as account_id")
    others = {"quantity": "1", "occurred_at": "timestamp '2026-06-01'"}
    rest = ", ".join(f"{other} as {name}" for name, other in others.items() if f"as {name}" not in value)
    model = (
        f"select 'p' as event_id, 'a1' as account_id, 'x' as event_name, {value}, {rest}, "
        "'' as _source_file, 1 as _source_line, timestamp '2026-06-01' as _loaded_at, 1 as _load_id"
    )
    types = {name: kind for name, kind, *_ in connection.execute(f"describe {model}").fetchall()}
    made = validate(ENTITIES["usage_events"], model, types, "files")
    row = connection.execute(f"select _problem, {column} from ({made.sql})").fetchone()
    assert row is not None
    return row[1] if row[0] is None else made.problems[row[0] - 1][1]


def write_parquet(source_loads, sql: str, name: str = "usage_events/p.parquet") -> None:
    target = source_loads.write(name, b"")
    values = {
        "event_id": "'p'",
        "account_id": "'a1'",
        "event_name": "'x'",
        "occurred_at": "timestamp '2026-06-01'",
    }
    missing = ", ".join(f"{value} as {key}" for key, value in values.items() if f"as {key}" not in sql)
    duckdb.connect().execute(f"copy (select *, {missing} from ({sql})) to '{target}'")


def test_levels_currencies_and_scores(source_loads):
    source_loads.write_company()
    source_loads.write(
        "tickets.csv",
        "ticket_id,account_id,opened_at,sentiment,priority\n"
        "t1,a1,2026-06-01, Positive ,Whatever\nt2,a1,2026-06-01,angry,\nt3,a1,2026-06-01,,\n",
    )
    source_loads.write(
        "tam_assessments.csv",
        "assessment_id,account_id,rag,assessed_at\nr1,a1,green,2026-06-01\nr2,a1,,2026-06-01\nr3,a1,BLUE,2026-06-01\n",
    )
    source_loads.write(
        "invoices.csv",
        "invoice_id,account_id,currency,amount_due,issued_at\n"
        "i1,a1,eur,-5.00,2026-06-01\ni2,a1,EURO,5,2026-06-01\ni3,a1,,5,2026-06-01\n",
    )
    source_loads.write(
        "nps_responses.csv",
        "response_id,account_id,respondent_id,score,responded_at\n"
        "n0,a1,p,0,2026-06-01\nn1,a1,p,10,2026-06-01\nn2,a1,p,11,2026-06-01\nn3,a1,,5,2026-06-01\nn4,a1,p,-1,2026-06-01\n",
    )
    source_loads.run("tickets", "tam_assessments", "invoices", "nps_responses")
    assert source_loads.rows("select ticket_id, sentiment, priority from staging.stg_tickets order by 1") == [
        ("t1", "positive", "Whatever"),
        ("t3", None, None),
    ]
    assert source_loads.quarantined("tickets") == [(3, "sentiment", "invalid_level", "angry")]
    assert source_loads.rows("select assessment_id, rag from staging.stg_tam_assessments") == [("r1", "GREEN")]
    assert source_loads.quarantined("tam_assessments") == [
        (3, "rag", "missing_required", None),
        (4, "rag", "invalid_level", "BLUE"),
    ]
    assert source_loads.rows("select invoice_id, currency from staging.stg_invoices order by 1") == [
        ("i1", "EUR"),
        ("i3", None),
    ]
    assert source_loads.quarantined("invoices") == [(3, "currency", "invalid_currency", "EURO")]
    assert source_loads.rows("select response_id, score from staging.stg_nps_responses order by 1") == [
        ("n0", 0),
        ("n1", 10),
    ]
    assert source_loads.quarantined("nps_responses") == [
        (4, "score", "out_of_range", "11"),
        (5, "respondent_id", "missing_required", None),
        (6, "score", "out_of_range", "-1"),
    ]


def test_the_first_thing_wrong_in_the_contracts_order_is_the_reason(source_loads):
    source_loads.write_company(
        usage_events=HEADER + "  ,nobody,,,,x,y\ne2,nobody,,,,x,y\ne3,a1,,,,x,y\ne4,a1,,z,,x,y\n"
    )
    report = source_loads.run()["usage_events"]
    assert source_loads.quarantined("usage_events") == [
        (2, "event_id", "missing_required", None),
        (3, "account_id", "unknown_account", "nobody"),
        (4, "event_name", "missing_required", None),
        (5, "quantity", "invalid_number", "x"),
    ]
    assert report.rejected == report.read == 4
    assert source_loads.rows("select raw_text from quarantine.usage_events order by source_line limit 1") == [
        (
            '{"event_id":"  ","account_id":"nobody","event_name":null,"occurred_at":"y","user_id":null,'
            '"feature":null,"quantity":"x","updated_at":null}',
        )
    ]


# -- keys, versions and repetition -----------------------------------------------------------------------------------


def test_the_same_files_again_change_nothing(source_loads):
    source_loads.write_company(accounts="account_id,account_name\na1,A\na2,B\na2,C\n,D\n")
    source_loads.run()
    source_loads.rows("delete from run.pending_usage_days")
    before = source_loads.state()
    os.utime(source_loads.folder / "usage_events.csv", ns=(1, 1))
    reports = source_loads.run()
    assert reports["usage_events"].read == 0
    assert reports["usage_events"].touched_days == ()
    after = source_loads.state()
    for ledger in ("raw.loads", "run.staged_loads"):
        before.pop(ledger), after.pop(ledger)
    assert after == before
    assert source_loads.rows("select count(*) from raw.loads") == [(3,)]


def test_no_temporary_table_is_left(source_loads):
    source_loads.write_company()
    source_loads.run()
    assert source_loads.rows("select table_name from duckdb_tables() where temporary") == []


def test_the_later_record_of_a_key_wins(source_loads):
    source_loads.write_company()
    source_loads.write("usage_events/1.csv", HEADER + "e1,a1,,late,,,2026-06-05\ne9,a1,,first,,,2026-06-05\n")
    source_loads.write("usage_events/2.csv", HEADER + "e9,a1,,second,,,2026-06-05\ne9,a1,,third,,,2026-06-06\n")
    report = source_loads.run()["usage_events"]
    assert (report.read, report.loaded, report.superseded) == (7, 4, 3)
    source_loads.write(
        "usage_events/3.csv", HEADER + "e9,a2,,fourth,,,2026-06-07\ne2,a1,u1,used,reports,3,2026-06-02T10:00:00Z\n"
    )
    source_loads.rows("delete from run.pending_usage_days")
    report = source_loads.run()["usage_events"]
    assert (report.read, report.loaded, report.superseded, report.restaged) == (2, 2, 0, False)
    # e9 left one day and came to another; e2 came again as it was.
    assert report.touched_days == (date(2026, 6, 6), date(2026, 6, 7))
    assert source_loads.rows("select usage_date from run.pending_usage_days order by 1") == [
        (date(2026, 6, 6),),
        (date(2026, 6, 7),),
    ]
    assert source_loads.rows("select event_id, account_id, event_name from staging.stg_usage_events order by 1") == [
        ("e1", "a1", "late"),
        ("e2", "a1", "used"),
        ("e3", "a2", "login"),
        ("e9", "a2", "fourth"),
    ]


def test_a_corrected_file_replaces_by_key_and_takes_its_refused_records_along(source_loads):
    source_loads.write_company()
    source_loads.write(
        "usage_events/1.csv",
        HEADER + "c1,a1,,x,,,2026-06-05\nc2,a1,,x,,,2026-06-06\nc3,a1,,x,,,soon\nbroken\n,a1,,x,,,2026-06-08\n",
    )
    report = source_loads.run()["usage_events"]
    assert (report.read, report.loaded, report.rejected) == (8, 5, 3)
    # c1 is gone from the file, c2 corrected, c3 mended, the broken rows are out.
    source_loads.write("usage_events/1.csv", HEADER + "c2,a1,,y,,,2026-06-07\nc3,a1,,x,,,2026-06-08\n")
    report = source_loads.run()["usage_events"]
    assert (report.read, report.loaded, report.rejected) == (2, 2, 0)
    assert report.touched_days == (date(2026, 6, 6), date(2026, 6, 7), date(2026, 6, 8))
    assert source_loads.rows(
        "select event_id, event_name from staging.stg_usage_events where event_id like 'c%' order by 1"
    ) == [
        ("c1", "x"),
        ("c2", "y"),
        ("c3", "x"),
    ]
    assert source_loads.rows(
        "select event_id, event_name from raw.files__usage_events where _source_file like '%1.csv' order by 1"
    ) == [
        ("c1", "x"),
        ("c2", "y"),
        ("c3", "x"),
    ]
    assert source_loads.rows("from quarantine.usage_events") == []


def test_a_correction_of_a_small_entity_keeps_the_last_good_record(source_loads):
    source_loads.write_company(
        accounts="account_id,account_name,created_at\na1,One,2026-01-01\na2,Two,2026-01-01\na3,Three,x\n"
    )
    source_loads.run()
    source_loads.write("accounts.csv", "account_id,account_name,created_at\na1,Uno,2026-01-01\na2,Dos,yesterday\n")
    report = source_loads.run()["accounts"]
    assert (report.read, report.loaded, report.rejected) == (3, 2, 1)
    assert source_loads.rows("select account_id, account_name from staging.stg_accounts order by 1") == [
        ("a1", "Uno"),
        ("a2", "Two"),
    ]
    assert source_loads.quarantined("accounts") == [(3, "created_at", "invalid_timestamp", "yesterday")]
    source_loads.write("accounts.csv", "account_id,account_name,created_at\na1,Uno,2026-01-01\na2,Dos,2026-01-02\n")
    report = source_loads.run()["accounts"]
    assert (report.read, report.loaded, report.rejected) == (2, 2, 0)
    assert source_loads.rows("select count(*) from raw.files__accounts") == [(2,)]


def test_events_of_an_account_that_turns_up_later_come_back(source_loads):
    source_loads.write_company(
        usage_events=HEADER + "e1,a1,,x,,,2026-06-01\ne2,new,,x,,,2026-06-02\ne3,other,,x,,,2026-06-03\n"
    )
    report = source_loads.run()["usage_events"]
    assert report.by_reason == {"unknown_account": 2}
    source_loads.write("accounts/more.csv", "account_id,account_name\nnew,New\n")
    report = source_loads.run()["usage_events"]
    assert (report.read, report.loaded, report.rejected) == (1, 1, 0)
    assert report.touched_days == (date(2026, 6, 2),)
    assert source_loads.rows("select event_id from staging.stg_usage_events order by 1") == [("e1",), ("e2",)]
    assert [row[3] for row in source_loads.quarantined("usage_events")] == ["other"]


def test_a_record_that_comes_back_late_does_not_replace_a_newer_one(source_loads):
    source_loads.write_company(usage_events=HEADER + "e1,new,,old,,,2026-06-01\ne2,a1,,x,,,2026-06-01\n")
    source_loads.run()
    source_loads.write("usage_events/2.csv", HEADER + "e1,a1,,newer,,,2026-06-01\n")
    source_loads.write("usage_events/3.csv", HEADER + "e4,a1,,x,,,2026-06-01\n")
    source_loads.run()
    source_loads.write("accounts/more.csv", "account_id,account_name\nnew,New\n")
    report = source_loads.run()["usage_events"]
    assert report.loaded == 0
    assert source_loads.rows("select event_name from staging.stg_usage_events where event_id = 'e1'") == [("newer",)]
    assert source_loads.quarantined("usage_events") == []


def test_a_changed_model_stages_all_events_again(source_loads):
    source_loads.write_company()
    source_loads.run()
    source_loads.rows("delete from run.pending_usage_days")
    model = (
        "select event_id, account_id, event_name, case when event_id = 'e1' then '5' else quantity end as quantity, "
        "feature, user_id, occurred_at, _source_file, _source_line, _loaded_at, _load_id from raw.files__usage_events"
    )
    report = stage_entity(source_loads.connection, "usage_events", [("files", model)], staged_at=source_loads.now)
    assert report.restaged
    assert report.touched_days == (date(2026, 6, 1),)
    assert source_loads.rows("select quantity from staging.stg_usage_events where event_id = 'e1'") == [(5,)]


def test_a_comment_in_a_model_stages_nothing_again(source_loads):
    source_loads.write_company()
    source_loads.run()
    model = f"-- Grain: one row per event.\n\n{straight('usage_events').replace(',', chr(10) + ',')} -- by key"
    report = stage_entity(source_loads.connection, "usage_events", [("files", model)], staged_at=source_loads.now)
    assert (report.restaged, report.new_read, report.touched_days) == (False, 0, ())


def test_a_warehouse_with_the_hash_of_the_text_stages_nothing_again(source_loads):
    source_loads.write_company()
    source_loads.run()
    # Earlier versions hashed the text of the model, with its comments.
    hashed = sha256(straight("usage_events").encode()).hexdigest()[:16]
    source_loads.rows(f"update run.staged_loads set model_hash = '{hashed}' where entity = 'usage_events'")
    assert not source_loads.stage("usage_events")["usage_events"].restaged


def test_a_change_in_a_joined_raw_table_stages_all_events_again(source_loads):
    model = (
        "select event_id, subscriptions.account_id, event_name, occurred_at, events._source_file, "
        "events._source_line, events._loaded_at, events._load_id from raw.files__usage_events as events "
        "left join raw.files__subscriptions as subscriptions on subscriptions.subscription_id = events.account_id"
    )
    source_loads.write_company(usage_events=HEADER + "e1,s1,,x,,,2026-06-01\ne2,s2,,x,,,2026-06-02\n")
    subscriptions = "subscription_id,account_id,started_at\ns1,a1,2026-01-01\n"
    source_loads.write("subscriptions.csv", subscriptions)

    def stage():
        source_loads.load()
        source_loads.stage("accounts")
        return stage_entity(
            source_loads.connection,
            "usage_events",
            [("files", model)],
            staged_at=source_loads.now,
            max_rejected_percent=100,
        )

    assert stage().by_reason == {"missing_required": 1}
    assert not stage().restaged
    source_loads.write("subscriptions/2.csv", subscriptions.replace("s1,a1", "s2,a2"))
    report = stage()
    assert report.restaged
    assert report.touched_days == (date(2026, 6, 2),)
    assert source_loads.rows("select event_id, account_id from staging.stg_usage_events order by 1") == [
        ("e1", "a1"),
        ("e2", "a2"),
    ]


# -- too much refused --------------------------------------------------------------------------------------------------


def bad_events(bad: int, good: int, prefix: str = "x") -> str:
    lines = [f"{prefix}{number},a1,,x,,,{'never' if number < bad else '2026-06-09'}" for number in range(bad + good)]
    return HEADER + "\n".join(lines) + "\n"


def test_a_load_with_too_many_refused_records_changes_nothing_but_its_quarantine(source_loads):
    source_loads.write_company()
    source_loads.run(percent=5)
    staged = source_loads.rows("from staging.stg_usage_events order by all")
    source_loads.rows("delete from run.pending_usage_days")
    source_loads.write("usage_events/1.csv", bad_events(6, 94))
    for _ in range(2):  # Nor does it pass by being run once more.
        with pytest.raises(SourceError) as caught:
            source_loads.run(percent=5)
        assert "6 of 100 new records rejected (6.0 %, limit 5 %): invalid_timestamp 6" in str(caught.value)
        assert source_loads.rows("from staging.stg_usage_events order by all") == staged
        assert source_loads.rows("from run.pending_usage_days") == []
        assert len(source_loads.quarantined("usage_events")) == 6
    assert source_loads.run(percent=6)["usage_events"].loaded == 94


def test_exactly_as_many_as_allowed_pass(source_loads):
    source_loads.write_company()
    source_loads.write("usage_events.csv", bad_events(5, 95))
    report = source_loads.run(percent=5)["usage_events"]
    assert (report.new_read, report.new_rejected, report.loaded) == (100, 5, 95)


@pytest.mark.parametrize("mended", ["corrected", "removed"])
def test_a_refused_load_ends_when_its_file_is_corrected_or_removed(source_loads, mended):
    source_loads.write_company()
    source_loads.run(percent=5)
    path = source_loads.write("usage_events/1.csv", bad_events(50, 50))
    with pytest.raises(SourceError, match="50 of 100"):
        source_loads.run(percent=5)
    if mended == "corrected":
        source_loads.write("usage_events/1.csv", bad_events(0, 10, "fine"))
    else:
        path.unlink()
    report = source_loads.run(percent=5)["usage_events"]
    assert (report.loaded, report.rejected) == ((10, 0) if mended == "corrected" else (0, 0))
    assert source_loads.rows("select count(*) from raw.files__usage_events where event_id like 'x%'") == [(0,)]
    assert source_loads.quarantined("usage_events") == []


def test_a_refused_first_load_leaves_staging_empty(source_loads):
    source_loads.write_company(usage_events=bad_events(9, 1))
    source_loads.load()
    source_loads.stage("accounts")
    with pytest.raises(SourceError, match="9 of 10"):
        source_loads.stage("usage_events", percent=5)
    assert source_loads.rows("from staging.stg_usage_events") == []
    assert source_loads.rows("from run.pending_usage_days") == []
    assert len(source_loads.quarantined("usage_events")) == 9


def test_unparseable_rows_count_among_the_refused(source_loads):
    source_loads.write_company()
    source_loads.write("usage_events.csv", bad_events(0, 9) + "broken\n")
    with pytest.raises(
        SourceError,
        match=r"1 of 10 .*unparseable_row 1\. First: line 11 of .*usage_events\.csv\. This load was not staged",
    ):
        source_loads.run(percent=5)


# -- everything is accounted for -------------------------------------------------------------------------------------

CELL = st.sampled_from(
    ["", "a1", "a2", "a3", "7", "x", "2026-06-01", "2026-06-02T10:00:00+05:00", '"', '"a', "a,b", "\x00", "é"]
)
LINE = st.lists(CELL, min_size=5, max_size=8).map(",".join)
VERSION = st.lists(LINE, max_size=12)


@settings(max_examples=examples(6), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(versions=st.lists(st.tuples(st.sampled_from(["1", "2"]), VERSION), min_size=1, max_size=4))
def test_whatever_arrives_every_record_is_accounted_for(tmp_path_factory, versions):
    from tests.source_loads import new_source_loads  # the fixture's maker, for one warehouse per example

    with new_source_loads(tmp_path_factory.mktemp("any")) as source_loads:
        source_loads.write_company()
        source_loads.run()
        for name, lines in versions:
            text = HEADER + "".join(f"{line}\n" for line in lines)
            source_loads.write(f"usage_events/{name}.csv", text)
            report = source_loads.run()["usage_events"]
            assert report.read == report.loaded + report.rejected + report.superseded
            path = f"%/usage_events/{name}.csv"
            latest = source_loads.rows(f"select max(load_id) from raw.loads where path like '{path}'")[0][0]
            rows, broken = source_loads.rows(
                f"select sum(loaded), sum(rejected) from raw.loads where load_id = {latest} and path like '{path}'"
            )[0]
            assert (rows, broken) == (
                source_loads.rows(f"select count(*) from raw.files__usage_events where _load_id = {latest}")[0][0],
                source_loads.rows(f"select count(*) from raw.unparseable_rows where load_id = {latest}")[0][0],
            )
        staged = source_loads.rows("select event_id from staging.stg_usage_events")
        assert len(staged) == len(set(staged))
        # Staged bit by bit or all at once: the same.
        bit_by_bit = source_loads.rows("from staging.stg_usage_events order by all")
        source_loads.rows("update run.staged_loads set model_hash = 'other' where entity = 'usage_events'")
        assert source_loads.stage("usage_events")["usage_events"].restaged
        assert source_loads.rows("from staging.stg_usage_events order by all") == bit_by_bit


KILLED = """
import os, sys, threading
from datetime import datetime, UTC
from pathlib import Path
import structlog
from csm_core.sources.settings import FilesSettings
from csm_core.sources.registry import get_system
from csm_core.staging.casts import validate
from csm_core.staging.gate import stage_entity
from csm_core.warehouse.database import Warehouse
sys.path.insert(0, sys.argv[4])
from tests.source_loads import ACCOUNTS, FEATURES, straight
folder, warehouse, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
with Warehouse(warehouse, threads=2).connect() as connection:
    threading.Timer(seconds, lambda: os._exit(9)).start()
    at = datetime(2026, 7, 2, tzinfo=UTC)
    source = FilesSettings(system="files", path=folder)
    get_system("files").load(
        connection, [source], loaded_at=at, folder=folder.parent / "sources", log=structlog.get_logger()
    )
    for entity in ("accounts", "features", "usage_events"):
        stage_entity(connection, entity, [("files", straight(entity))], staged_at=at)
os._exit(0)
"""


@pytest.mark.slow
def test_a_load_killed_at_any_time_ends_as_if_undisturbed(tmp_path):
    from tests.source_loads import new_source_loads

    with new_source_loads(tmp_path / "calm") as calm:
        calm.write_company()
        calm.write(
            "usage_events/more.csv",
            HEADER + "".join(f"k{n},a{n % 2 + 1},u,x,,,2026-06-{n % 28 + 1:02}\n" for n in range(200_000)),
        )
        calm.run()
        folder = calm.folder
        expected = calm.rows("select * exclude (_loaded_at) from staging.stg_usage_events order by all")
    warehouse = tmp_path / "killed.duckdb"
    here = str(Path(__file__).parent)
    killed = 0
    for attempt in range(40):
        arguments = [sys.executable, "-c", KILLED, str(folder), str(warehouse), str(0.05 + attempt * 0.07), here]
        done = subprocess.run(arguments, check=False, capture_output=True, text=True)
        assert done.returncode in (0, 9), done.stderr
        killed += done.returncode == 9
        if done.returncode == 0:
            break
    assert killed > 2
    with Warehouse(warehouse).connect() as connection:
        rows = connection.execute("select * exclude (_loaded_at) from staging.stg_usage_events order by all").fetchall()
        days = connection.execute("select count(*) from run.pending_usage_days").fetchone()
    assert rows == expected
    assert days == (28,)


# -- models ------------------------------------------------------------------------------------------------------------


def test_a_model_has_to_pass_on_where_its_records_come_from(source_loads):
    source_loads.write_company()
    source_loads.load()
    with pytest.raises(WarehouseError, match="lacks the columns _source_line, _loaded_at, _load_id"):
        stage_entity(
            source_loads.connection,
            "accounts",
            [("files", "select account_id, account_name, _source_file from raw.files__accounts")],
            staged_at=source_loads.now,
        )


@pytest.mark.parametrize("sql", ["select from where", "select 1; select 2", "delete from raw.loads"])
def test_a_model_has_to_be_one_select(source_loads, sql):
    source_loads.write_company()
    source_loads.load()
    with pytest.raises(WarehouseError, match="not one SELECT"):
        stage_entity(source_loads.connection, "accounts", [("files", sql)], staged_at=source_loads.now)


def test_an_unknown_entity_is_an_error(source_loads):
    with pytest.raises(ConfigError, match="unknown entity 'orders'"):
        stage_entity(source_loads.connection, "orders", [], staged_at=source_loads.now)


def test_an_entity_without_a_model_is_an_empty_table(source_loads):
    report = stage_entity(source_loads.connection, "invoices", [], staged_at=source_loads.now)
    assert report.read == report.loaded == 0
    assert source_loads.rows("select count(*) from staging.stg_invoices") == [(0,)]


def test_events_are_stored_in_the_order_of_time(source_loads, tmp_path):
    source_loads.write_company()
    rows = 300_000
    write_parquet(
        source_loads,
        f"select 'p' || range as event_id, timestamp '2026-01-01' + to_hours(cast(range * 7919 % 4000 as integer)) "
        f"as occurred_at from range({rows})",
    )
    source_loads.run()
    unordered = source_loads.rows(
        "select count(*) from (select occurred_at < lag(occurred_at) over (order by rowid) as falls "
        "from staging.stg_usage_events) where falls"
    )
    assert unordered == [(0,)]


def write_only(source_loads, events: str) -> None:
    """A company whose events are one Parquet file, so that the raw table has its types."""
    source_loads.write("accounts.csv", ACCOUNTS)
    source_loads.write("features.csv", FEATURES)
    write_parquet(source_loads, events)


def test_events_that_arrive_nearly_in_order_are_stored_as_they_come(source_loads):
    write_only(
        source_loads,
        "select 'p' || hour as event_id, timestamp '2026-06-01' + to_hours(cast(hour as integer)) as occurred_at "
        "from (select unnest([30, 10, 20]) as hour)",
    )
    source_loads.run()
    stored = source_loads.rows("select event_id from staging.stg_usage_events order by rowid")
    assert stored == [("p30",), ("p10",), ("p20",)]


@pytest.mark.parametrize(
    ("moment", "outcome"),
    [
        ("20260601", "invalid_timestamp"),
        ("true", "invalid_timestamp"),
        ("date '2026-06-01'", "2026-06-01 00:00:00"),
        ("'2026-06-01'", "2026-06-01 00:00:00"),
        ("timestamptz '2026-06-01 00:00:00+00'", "2026-06-01 00:00:00"),
    ],
)
def test_events_are_staged_whatever_type_their_time_has(source_loads, moment, outcome):
    write_only(source_loads, f"select {moment} as occurred_at")
    source_loads.run()
    assert source_loads.rows(
        "select reason from quarantine.usage_events where record_key = 'p' union all "
        "select cast(occurred_at as varchar) from staging.stg_usage_events where event_id = 'p'"
    ) == [(outcome,)]
