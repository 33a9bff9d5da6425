"""A past day stays what it was: later records and states that ended afterwards change no partition before them."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from csm_core.config import PROJECT_ROOT
from csm_core.warehouse.models import load_models
from tests.conftest import Company, make_company, tables
from tests.in_process import csm

FIRST, LAST = "2026-06-30", "2026-07-01"
# The first instant after the last day: nothing dated from here on may be seen in the days before.
AFTER = "2026-07-02 00:00:00"

# What is true at the end of the last day and ends in the instant after it: the column that says so, and who it is.
ENDED = {
    "tickets": ("solved_at", f"opened_at < '{AFTER}' and (solved_at is null or solved_at >= '{AFTER}')"),
    "invoices": ("paid_at", f"issued_at < '{AFTER}' and paid_at is null and voided_at is null"),
    "subscriptions": ("ended_at", f"started_at < '{AFTER}' and (ended_at is null or ended_at >= '{AFTER}')"),
    "accounts": (
        "churned_at",
        f"(created_at is null or created_at < '{AFTER}') and (churned_at is null or churned_at >= '{AFTER}') "
        "and account_id < 'A0020'",
    ),
}
# New records dated that instant, each a copy of a record that is there, under a key of its own.
DATED = {
    "accounts": ("account_id", ("created_at",)),
    "features": ("feature", ("released_at",)),
    "subscriptions": ("subscription_id", ("started_at",)),
    "invoices": ("invoice_id", ("issued_at", "due_at")),
    "tickets": ("ticket_id", ("opened_at", "escalated_at")),
    "nps_responses": ("response_id", ("responded_at",)),
    "interactions": ("interaction_id", ("occurred_at",)),
    "tam_assessments": ("assessment_id", ("assessed_at",)),
}
# Marts of records as they are now: their dates say what they were on a day.
OF_RECORDS = {"marts.csm_invoices", "marts.csm_record_days", "marts.csm_tickets"}
STATES = ("solved_at", "paid_at", "voided_at", "ended_at", "churned_at")


def staged(company: Company, entity: str, condition: str) -> list[dict[str, Any]]:
    with duckdb.connect(str(company.config.warehouse), read_only=True) as connection:
        cursor = connection.execute(f"select columns('^[^_]') from staging.stg_{entity} where {condition} order by 1")
        names = [column[0] for column in cursor.description]
        return [
            {name: None if value is None else str(value) for name, value in zip(names, row, strict=True)}
            for row in cursor.fetchall()
        ]


def append(records: Path, entity: str, rows: list[dict[str, Any]]) -> None:
    """Add rows to the entity's file: of two with one key the later in the file counts."""
    lines = records / f"{entity}.jsonl"
    if lines.exists():
        with lines.open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in rows)
        return
    file = records / f"{entity}.csv"
    with file.open(encoding="utf-8-sig", newline="") as stream:
        header = next(csv.reader(stream))
    with file.open("a", encoding="utf-8", newline="") as stream:
        # A column that the file does not have is null in all of its records.
        assert all(row[name] is None for row in rows for name in row.keys() - set(header))
        csv.DictWriter(stream, header, extrasaction="ignore", lineterminator="\n").writerows(rows)


def add_usage(records: Path) -> None:
    """A file of usage events in the instant after the last day, of the shape that the files beside it have."""
    source, target = records / "usage_events" / "2026-06.parquet", records / "usage_events" / "later.parquet"
    with duckdb.connect() as connection:
        kinds = dict(connection.execute(f"select column_name, column_type from (describe from '{source}')").fetchall())
        connection.execute(
            f"copy (select * replace ('later-' || event_id as event_id, "
            f"cast('{AFTER}' as {kinds['occurred_at']}) as occurred_at) from '{source}' limit 5000) "
            f"to '{target}' (format parquet)"
        )


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """The company with two days materialised, their tables, then later records, and the same days again."""
    folder = tmp_path_factory.mktemp("history")
    records = folder / "records"
    shutil.copytree(PROJECT_ROOT / "examples" / "acme", records)
    company = make_company(folder, records)
    run = ("run", "--from", FIRST, "--to", LAST, "--no-publish")
    first = csm(*run, folder=company.folder, environment=company.environment)
    assert first.returncode == 0, first.stdout + first.stderr
    before = tables(company.config.warehouse)
    ended = {entity: staged(company, entity, condition) for entity, (_, condition) in ENDED.items()}
    dated = {entity: staged(company, entity, "true")[:50] for entity in DATED}
    for entity, rows in ended.items():
        append(records, entity, [{**row, ENDED[entity][0]: AFTER} for row in rows])
    for entity, rows in dated.items():
        key, moments = DATED[entity]
        blank = {name: None for name in STATES if rows and name in rows[0]}
        append(
            records,
            entity,
            [{**row, **blank, key: f"later-{row[key]}", **dict.fromkeys(moments, AFTER)} for row in rows],
        )
    add_usage(records)
    again = csm(*run, folder=company.folder, environment=company.environment)
    assert again.returncode == 0, again.stdout + again.stderr
    return company, before, tables(company.config.warehouse), ended


@pytest.mark.parametrize("entity", ENDED)
def test_the_states_ended_afterwards_were_taken_up(history, entity):
    company, _, _, ended = history
    column, _ = ENDED[entity]
    assert len(ended[entity]) > 5
    assert company.query(f"select count(*) from staging.stg_{entity} where {column} = '{AFTER}'") == [
        (len(ended[entity]),)
    ]


@pytest.mark.parametrize("entity", [*DATED, "usage_events"])
def test_the_records_dated_later_were_taken_up(history, entity):
    company, *_ = history
    key = DATED[entity][0] if entity in DATED else "event_id"
    assert company.query(f"select count(*) > 10 from staging.stg_{entity} where {key} like 'later-%'") == [(True,)]


def test_no_mart_of_the_past_days_moved(history):
    _, before, after, _ = history
    marts = [name for name in before if name.startswith("marts.")]
    assert {name.removeprefix("marts.") for name in marts} == load_models("marts").keys() - {"csm_day_roots"}
    assert {name for name in marts if before[name] != after[name]} == OF_RECORDS


def test_no_account_day_moved(history):
    _, before, after, _ = history
    names = [name for name in before if name.startswith("intermediate.int_account")]
    # Spells are not of a day: an account that leaves later ends one.
    names.remove("intermediate.int_account_spells")
    assert [name for name in names if before[name] != after[name]] == []
