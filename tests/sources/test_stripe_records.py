"""Stripe's records: text that does not parse in any field that models read, and times with an offset in any column."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from csm_core.accounts import account_map
from csm_core.config import Config
from csm_core.contract import Reason
from csm_core.ingest.record_kinds import LANDED_VERSIONS, Field, FieldKind, RecordKind
from csm_core.sources.registry import get_system, record_kinds
from csm_core.sources.settings import StripeSettings
from csm_core.sources.settings_base import LandedTables
from csm_core.sources.source_settings import write_source_settings
from csm_core.staging.vendor_records import RECORD_COUNTS, REJECTED_RECORDS, build_records
from csm_core.warehouse.materialize import build_model
from csm_core.warehouse.models import staging_models, staging_steps
from tests.examples import examples
from tests.sources.test_stripe import write_lines
from tests.sql.harness import fresh
from tests.sql.test_staging_cases import given_identity, in_order

KINDS = record_kinds("stripe")
JSON_KINDS = (FieldKind.JSON, FieldKind.OBJECT, FieldKind.LIST)
VALID: Mapping[FieldKind, Any] = {
    FieldKind.TIME: 1_767_225_600,
    FieldKind.WHOLE: 5,
    FieldKind.NUMBER: "5.5",
    FieldKind.FLAG: False,
    FieldKind.COMPLETE: False,
    FieldKind.JSON: {},
    FieldKind.OBJECT: {},
    FieldKind.LIST: [{}],
}
BROKEN = dict.fromkeys(JSON_KINDS, "{broken")


def put(record: dict[str, Any], field: Field, value: Any) -> None:
    """Set a field of a record, with the objects and lists that lead to it."""
    *names, last = [*([field.inside] if field.inside else []), *field.path.split(".")]
    for name in names:
        if name.endswith("[*]"):
            record = record.setdefault(name.removesuffix("[*]"), [{}])[0]
        else:
            record = record.setdefault(name, {})
    record[last] = value


def fields_of(kind: RecordKind) -> list[Field]:
    """The declared fields, and the times that order versions."""
    return [*kind.fields, *(Field(path, FieldKind.TIME) for path in (*kind.versions, *LANDED_VERSIONS))]


def valid_record(kind: RecordKind, name: str) -> dict[str, Any]:
    """A record with a valid value in every field."""
    record: dict[str, Any] = {"id": name, "type": "customer.subscription.updated"}
    if kind.name != "events":
        del record["type"]
    for field in sorted(fields_of(kind), key=lambda field: field.kind not in JSON_KINDS):
        value = field.levels[0] if field.kind is FieldKind.LEVEL else VALID[field.kind]
        put(record, field, deepcopy(value))
    return record


def insert(connection: duckdb.DuckDBPyConnection, table: str, load_id: int, records: Sequence[Any]) -> None:
    for line, record in enumerate(records, start=1):
        connection.execute(
            f"insert into {table} values (?, 'stripe', ?, ?, timestamp '2026-07-01', ?)",
            [json.dumps(record), f"{load_id}.jsonl", line, load_id],
        )
    connection.execute(
        "insert into raw.loads values (?, 'stripe', 'x', ?, ?, 1, 1, 'x', 1, 1, 0, timestamp '2026-07-01', 'loaded')",
        [load_id, table, f"{load_id}.jsonl"],
    )


def build(connection: duckdb.DuckDBPyConnection, kinds: Sequence[RecordKind]) -> list[tuple[Any, ...]]:
    build_records(connection, "stripe", kinds, get_system("stripe").raw_tables)
    return connection.execute(
        "select kind, record_id, record, is_deleted, version_at, _load_id, _source_line from staging.stripe_records "
        "order by all"
    ).fetchall()


def nested_in(kind: RecordKind) -> set[str]:
    """The columns of a kind that hold objects, which CSV files and landed tables have as text."""
    return {field.inside for field in kind.fields if field.inside}


@pytest.mark.parametrize(
    ("kind", "table", "as_text"),
    [
        *(pytest.param(kind, table, False, id=table) for kind in KINDS for table in kind.tables),
        *(pytest.param(kind, kind.tables[-1], True, id=f"{kind.name} as text") for kind in KINDS if nested_in(kind)),
    ],
)
def test_text_that_does_not_parse_rejects_the_record_by_its_field_and_changes_nothing_else(kind, table, as_text):
    fields = fields_of(kind)
    raw = f"raw.stripe__{table}"
    inside = nested_in(kind)
    with fresh() as connection:
        for one in get_system("stripe").raw_tables:
            connection.execute(
                f"create table {one.table} (record varchar, _source varchar, _source_file varchar, "
                "_source_line bigint, _loaded_at timestamp, _load_id bigint)"
            )
        insert(connection, raw, 1, [valid_record(kind, f"r{number}") for number in range(len(fields))])
        before = build(connection, [kind])
        assert len(before) == len(fields)
        assert connection.execute(f"select count(*) from {REJECTED_RECORDS}").fetchall() == [(0,)]
        broken: list[dict[str, Any]] = []
        for number, field in enumerate(fields):
            record = valid_record(kind, f"r{number}")
            put(record, field, BROKEN.get(field.kind, "x?"))
            if as_text:
                record |= {name: json.dumps(record[name]) for name in inside if isinstance(record[name], dict)}
            broken.append(record)
        insert(connection, raw, 2, broken)
        after = build(connection, [kind])
        rejected = connection.execute(
            f"select field, reason, value, source_line from {REJECTED_RECORDS} order by source_line"
        ).fetchall()
        counts = connection.execute(
            f"select records, current, superseded, rejected from {RECORD_COUNTS} where raw_table = ?", [raw]
        ).fetchall()
    assert after == before
    assert rejected == [
        (field.name, field.kind.reason, BROKEN.get(field.kind, "x?"), line)
        for line, field in enumerate(fields, start=1)
    ]
    assert counts == [(2 * len(fields), len(fields), 0, len(fields))]


def test_a_list_that_is_cut_off_rejects_the_record():
    complete = [(kind, field) for kind in KINDS for field in kind.fields if field.kind is FieldKind.COMPLETE]
    assert {(kind.name, field.name) for kind, field in complete} == {
        ("subscriptions", "items.has_more"),
        ("invoices", "lines.has_more"),
    }
    assert {field.kind.reason for _, field in complete} == {Reason.INCOMPLETE}


EAST, WEST = "2026-06-02T00:30:00+02:00", "2026-06-01 23:30:00.000 -0200"
IN_UTC = {EAST: datetime.fromisoformat("2026-06-01 22:30"), WEST: datetime.fromisoformat("2026-06-02 01:30")}
LONG_AGO = "2026-01-01T00:00:00Z"
TRANSITIONS = {
    "finalized_at": "issued_at",
    "paid_at": "paid_at",
    "voided_at": "voided_at",
    "marked_uncollectible_at": "voided_at",
}
YEARLY = {"id": "p1", "unit_amount": 12_000, "currency": "usd", "recurring": {"interval": "year"}}
Tables = dict[str, list[dict[str, Any]]]


def as_api_records(time: str) -> tuple[Tables, Tables]:
    """Records with one time each, and which column of which row it has to be in."""
    invoice = {"customer": "c1", "status": "open", "currency": "usd", "amount_due": 100}
    subscription = {"customer": "c1", "status": "active", "start_date": LONG_AGO}

    def item(name: str, **more: Any) -> dict[str, Any]:
        return {"data": [{"id": f"i_{name}", "quantity": 2, "price": YEARLY, **more}]}

    def line(name: str, start: str, end: str) -> dict[str, Any]:
        billed = {"subscription": name, "subscription_item": f"i_{name}", "quantity": 1, "amount": 100, "price": YEARLY}
        return {"data": [{**billed, "currency": "usd", "period": {"start": start, "end": end}}]}

    given: Tables = {
        "invoices": [
            {"id": "created", **invoice, "created": time},
            {"id": "date", **invoice, "date": time},
            {"id": "due_date", **invoice, "created": LONG_AGO, "due_date": time},
            *({"id": name, **invoice, "created": LONG_AGO, "status_transitions": {name: time}} for name in TRANSITIONS),
            *(
                {"id": name, **invoice, "created": LONG_AGO, "amount_due": 0, "pre_payment_credit_notes_amount": 100}
                for name in ("note_created", "note_effective_at")
            ),
            {"id": "l1", "status": "paid", "created": LONG_AGO, "lines": line("line_end", LONG_AGO, time)},
            {"id": "l2", "status": "paid", "created": LONG_AGO, "lines": line("line_start", time, "2027-06-02")},
        ],
        "credit_notes": [
            {"id": "n1", "invoice": "note_created", "type": "pre_payment", "amount": 100, "created": time},
            {
                "id": "n2",
                "invoice": "note_effective_at",
                "type": "pre_payment",
                "amount": 100,
                "created": LONG_AGO,
                "effective_at": time,
            },
        ],
        "subscriptions": [
            {"id": "start_date", **subscription, "start_date": time},
            {"id": "created", **subscription, "start_date": None, "created": time},
            {"id": "ended_at", **subscription, "ended_at": time},
            {"id": "canceled", **subscription, "status": "canceled", "canceled_at": time},
            {"id": "cancel_at", **subscription, "cancel_at": time},
            {"id": "item_end", **subscription, "items": item("item_end", current_period_end=time)},
            {"id": "period_end", **subscription, "current_period_end": time, "items": item("period_end")},
            {
                "id": "asked",
                **subscription,
                "canceled_at": time,
                "cancel_at": "2026-09-01",
                "items": item("asked", current_period_end="2027-01-01"),
            },
            {"id": "line_end", **subscription, "items": item("line_end", current_period_start="2026-07-01")},
            {"id": "line_start", **subscription, "items": item("line_start", current_period_start="2026-07-01")},
            {"id": "event", **subscription, "items": item("event", current_period_start=LONG_AGO)},
        ],
        "events": [
            {
                "id": "e1",
                "type": "customer.subscription.updated",
                "created": time,
                "data": {"object": {"id": "event", "items": item("event", current_period_end="2027-01-01")}},
            },
            {
                "id": "e0",
                "type": "customer.subscription.created",
                "created": LONG_AGO,
                "data": {"object": {"id": "event", "items": item("event", quantity=1)}},
            },
        ],
    }
    expected: Tables = {
        "invoices": [
            {"id": "created", "issued_at": time},
            {"id": "date", "issued_at": time},
            {"id": "due_date", "due_at": time},
            *({"id": name, column: time} for name, column in TRANSITIONS.items()),
            {"id": "note_created", "paid_at": time},
            {"id": "note_effective_at", "paid_at": time},
        ],
        "subscriptions": [
            {"id": "start_date", "started_at": time},
            {"id": "created", "started_at": time},
            {"id": "ended_at", "ended_at": time},
            {"id": "canceled", "ended_at": time},
            {"id": "cancel_at", "renews_at": time},
            {"id": "item_end", "renews_at": time},
            {"id": "period_end", "renews_at": time},
            {"id": "asked", "ended_at": time},
            {"id": "line_end", "renews_at": time},
            {"id": "event", "ended_at": time},
        ],
    }
    return given, expected


def as_landed_rows(time: str) -> tuple[Tables, Tables]:
    """The same as rows of Fivetran's tables, without what is an object there."""
    invoice = {"customer_id": "c1", "status": "open", "currency": "usd", "amount_due": 100, "created": LONG_AGO}
    subscription = {"customer_id": "c1", "status": "active", "start_date": LONG_AGO}
    given: Tables = {
        "invoice": [
            {"id": "created", **invoice, "created": time},
            {"id": "due_date", **invoice, "due_date": time},
            *({"id": name, **invoice, f"status_transitions_{name}": time} for name in TRANSITIONS),
            {"id": "note_created", **invoice, "amount_due": 0},
        ],
        "credit_note": [
            {"id": "n1", "invoice_id": "note_created", "type": "pre_payment", "amount": 100, "created": time}
        ],
        "subscription": [
            {"id": "start_date", **subscription, "start_date": time},
            {"id": "ended_at", **subscription, "ended_at": time},
            {"id": "cancel_at", **subscription, "cancel_at": time},
            {"id": "item_end", **subscription},
            {"id": "line_end", **subscription},
        ],
        "price": [{"id": "p1", "unit_amount": 12_000, "currency": "usd", "recurring_interval": "year"}],
        "subscription_item": [
            {"id": "t1", "subscription_id": "item_end", "price_id": "p1", "quantity": 1, "current_period_end": time},
            {
                "id": "t2",
                "subscription_id": "line_end",
                "price_id": "p1",
                "quantity": 2,
                "current_period_end": LONG_AGO,
            },
        ],
        "invoice_line_item": [
            {
                "id": "l1",
                "subscription_id": "line_end",
                "subscription_item_id": "t2",
                "price_id": "p1",
                "quantity": 1,
                "amount": 100,
                "currency": "usd",
                "period_start": LONG_AGO,
                "period_end": time,
            }
        ],
    }
    expected: Tables = {
        "invoices": [
            {"id": "created", "issued_at": time},
            {"id": "due_date", "due_at": time},
            *({"id": name, column: time} for name, column in TRANSITIONS.items()),
            {"id": "note_created", "paid_at": time},
        ],
        "subscriptions": [
            {"id": "start_date", "started_at": time},
            {"id": "ended_at", "ended_at": time},
            {"id": "cancel_at", "renews_at": time},
            {"id": "item_end", "renews_at": time},
        ],
    }
    return given, expected


def write_csv(file: Path, rows: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, columns)
        writer.writeheader()
        writer.writerows(rows)


def write_zoned_parquet(file: Path, rows: list[dict[str, Any]]) -> None:
    """Every column of times as ``timestamptz``."""
    plain = file.with_suffix(".csv")
    write_csv(plain, rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    times = {name for row in rows for name, value in row.items() if value in (EAST, WEST, LONG_AGO)}
    cast = ", ".join(
        f"cast(regexp_replace({name}, ' ([+-])', '\\1') as timestamptz) as {name}" if name in times else name
        for name in columns
    )
    with duckdb.connect() as connection:
        connection.execute(f"copy (select {cast} from read_csv('{plain}', all_varchar = true)) to '{file}'")
    plain.unlink()


def staged(source_loads, source: StripeSettings, entity: str) -> dict[Any, dict[str, Any]]:
    """Rows of a staging model by their key, after the real loader."""
    connection = source_loads.connection
    stripe = get_system("stripe")
    stripe.load(
        connection,
        [source],
        loaded_at=source_loads.now,
        folder=source_loads.folder.parent / "kept",
        log=source_loads.log,
    )
    write_source_settings(connection, "stripe", [source])
    build_records(connection, "stripe", KINDS, stripe.raw_tables)
    for step in in_order(staging_steps("stripe")):
        build_model(connection, step, {})
    if not connection.execute("from duckdb_tables() where table_name = 'account_map'").fetchall():
        given_identity(connection, {})
        account_map.build(connection, Config(sources=(source,)), ["stripe"])
    cursor = connection.execute(staging_models("stripe")[entity].sql)
    names = [column[0] for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    assert connection.execute(f"select field, value from {REJECTED_RECORDS}").fetchall() == []
    return {row[names[0]]: row for row in rows}


@pytest.mark.parametrize("time", [EAST, WEST], ids=["east", "west"])
@pytest.mark.parametrize("form", ["jsonl", "airbyte jsonl", "csv", "parquet"])
def test_a_time_with_an_offset_is_the_instant_in_every_staged_column(source_loads, form, time):
    given, expected = as_landed_rows(time) if form in ("csv", "parquet") else as_api_records(time)
    source_loads.folder.mkdir(exist_ok=True)
    if form == "airbyte jsonl":
        del given["events"]
        expected["subscriptions"] = [row for row in expected["subscriptions"] if row["id"] != "event"]
    for table, rows in given.items():
        if form.endswith("jsonl"):
            write_lines(source_loads.folder / f"{table}.jsonl", *rows)
        elif form == "csv":
            write_csv(source_loads.folder / f"{table}.csv", rows)
        else:
            write_zoned_parquet(source_loads.folder / f"{table}.parquet", rows)
    by = {"csv": "fivetran", "parquet": "fivetran", "airbyte jsonl": "airbyte"}.get(form)
    source = (
        StripeSettings(system="stripe", tables=LandedTables.model_validate({"path": source_loads.folder, "by": by}))
        if by
        else StripeSettings(system="stripe", path=source_loads.folder)
    )
    for entity, rows in expected.items():
        found = staged(source_loads, source, entity)
        looked_at = [{"id": row["id"], **{c: found[row["id"]][c] for c in row if c != "id"}} for row in rows]
        assert looked_at == [{"id": row["id"], **{c: IN_UTC[v] for c, v in row.items() if c != "id"}} for row in rows]
        if entity == "subscriptions" and form == "jsonl":
            start = IN_UTC[time]
            assert {f"{name}/{start}" for name in ("asked", "event")} <= set(found)


DAY = 86_400
EPOCH = datetime.fromisoformat("1970-01-01")
QUANTITIES = st.lists(st.integers(min_value=0, max_value=50), min_size=1, max_size=8)


# Each example builds a warehouse: shrinking one that fails would take minutes.
@settings(max_examples=examples(6), deadline=None, phases=[Phase.explicit, Phase.generate])
@given(quantities=QUANTITIES, months=st.sampled_from((1, 3, 12)))
def test_spans_of_a_subscription_follow_each_other_and_have_the_seats_that_were_billed(quantities, months):
    """A property: whatever was billed, each instant since the start is in one span, with the seats billed last."""
    start, step = 1_700_000_000, 30 * months * DAY
    recurring = {"interval": "month", "interval_count": months}
    price = {"id": "p", "unit_amount": 100, "currency": "usd", "recurring": recurring}
    item = {"id": "i", "quantity": quantities[-1], "price": price}
    current = {"id": "s", "customer": "c", "status": "active", "start_date": start, "items": {"data": [item]}}
    invoices = [
        {
            "id": f"in{number}",
            "status": "paid",
            "created": start + number * step,
            "lines": {
                "data": [
                    {
                        "amount": 100 * quantity,
                        "currency": "usd",
                        "quantity": quantity,
                        "period": {"start": start + number * step, "end": start + (number + 1) * step},
                        "pricing": {"unit_amount_decimal": "100", "price_details": {"price": "p"}},
                        "parent": {"subscription_item_details": {"subscription": "s", "subscription_item": "i"}},
                    }
                ]
            },
        }
        for number, quantity in enumerate(quantities)
    ]
    with fresh() as connection:
        for one in get_system("stripe").raw_tables:
            connection.execute(
                f"create table {one.table} (record varchar, _source varchar, _source_file varchar, "
                "_source_line bigint, _loaded_at timestamp, _load_id bigint)"
            )
        source = StripeSettings(system="stripe", path=Path("in"))
        write_source_settings(connection, "stripe", [source])
        insert(connection, "raw.stripe__subscriptions", 1, [current])
        insert(connection, "raw.stripe__invoices", 1, invoices)
        build(connection, KINDS)
        for model in in_order(staging_steps("stripe")):
            build_model(connection, model, {})
        given_identity(connection, {})
        account_map.build(connection, Config(sources=(source,)), ["stripe"])
        spans = connection.execute(
            "select started_at, ended_at, seats, mrr, renews_at, term_months from "
            f"({staging_models('stripe')['subscriptions'].sql}) order by started_at"
        ).fetchall()
    assert spans[0][0] == datetime.fromisoformat("2023-11-14 22:13:20")
    assert spans[-1][1] is None
    assert all(earlier[1] == later[0] for earlier, later in pairwise(spans))
    assert all(abs(float(mrr) - seats / months) < 0.01 for _, _, seats, mrr, _, _ in spans)
    assert {term for *_, term in spans} == {months}
    for number, quantity in enumerate(quantities):
        begins, ends = (EPOCH + timedelta(seconds=start + later * step) for later in (number, number + 1))
        (found,) = [span for span in spans if span[0] <= begins and (span[1] is None or begins < span[1])]
        assert found[2] == quantity
        assert found[4] == (ends if months == 12 else None)
