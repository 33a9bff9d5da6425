"""Records of a vendor: which version counts, and that the gate accounts for those that no model reads."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from csm_core.contract import BOOKKEEPING
from csm_core.errors import SourceError
from csm_core.ingest.loader import load_tables
from csm_core.ingest.raw_tables import RawTable
from csm_core.ingest.record_kinds import RecordKind, level, times
from csm_core.staging.gate import StageReport, stage_entity
from csm_core.staging.plan import UpstreamInputs
from csm_core.staging.vendor_records import build_records

BILLS = RawTable("vendor", "bills", "invoices", ("id",), records=True)
NOTES = RawTable("vendor", "notes", "invoices", ("id",), records=True)
KIND = RecordKind("bills", ("bills",), key=("id",), fields=(*times("at"), *level("mood", "good*", "bad")), versions=())
KINDS = (KIND, replace(KIND, name="notes", tables=("notes",)))
MODEL = (
    "select record ->> '$.id' as invoice_id, 'a1' as account_id, record ->> '$.at' as issued_at, "
    f"{', '.join(BOOKKEEPING)} from staging.vendor_records where kind = 'bills'"
)


def load(source_loads, **files: list[Any]) -> None:
    """Load lines into the raw tables of bills and notes: a file for each, named after the load."""
    targets = []
    for table in (BILLS, NOTES):
        lines = files.get(table.name, [])
        text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
        number = len(list(source_loads.folder.glob(f"{table.name}*.jsonl")))
        if lines:
            source_loads.write(f"{table.name}{number}.jsonl", text)
        targets.append((table, dict.fromkeys(sorted(source_loads.folder.glob(f"{table.name}*.jsonl")), "shop")))
    load_tables(source_loads.connection, targets, loaded_at=source_loads.now, log=source_loads.log)
    build_records(source_loads.connection, "vendor", KINDS, (BILLS, NOTES))


def stage(source_loads, percent: float = 100.0) -> StageReport:
    return stage_entity(
        source_loads.connection,
        "invoices",
        [("vendor", MODEL)],
        staged_at=source_loads.now,
        max_rejected_percent=percent,
        upstream={"vendor": UpstreamInputs(raw_tables=frozenset((BILLS.table, NOTES.table)))},
    )


@pytest.fixture
def company(source_loads):
    source_loads.write_company()
    source_loads.run()
    return source_loads


def bill(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "at": "2026-06-01", **more}


@pytest.mark.parametrize(
    ("last", "kept"), [({}, "good"), ({"object": "bill"}, "good"), ({"object": "bill", "by": "x"}, None)]
)
def test_a_record_that_only_states_a_deletion_leaves_the_fields_of_the_version_before(company, last, kept):
    load(company, bills=[bill("b1", mood="good")])
    company.now = company.now.replace(hour=20)
    load(company, bills=[{"id": "b1", "deleted": True, **last}])
    found = company.rows("select record ->> '$.mood', is_deleted from staging.vendor_records")
    assert found == [(kept, True)]


@pytest.mark.parametrize(("mood", "valid"), [("good", True), ("Goodish", True), ("goo", False), ("badly", False)])
def test_a_level_with_an_asterisk_is_a_beginning(company, mood, valid):
    load(company, bills=[bill("b1", mood=mood)])
    assert company.rows("select count(*) from staging.vendor_records") == [(int(valid),)]


def test_every_record_that_no_model_reads_is_accounted_for(company):
    load(company, bills=[bill("b1"), bill("b2"), {"id": "b3", "at": "someday"}, "no json"])
    report = stage(company)
    assert (report.read, report.loaded, report.rejected, report.superseded) == (4, 2, 2, 0)
    assert (report.new_read, report.new_rejected) == (4, 2)


def test_versions_that_were_superseded_before_the_model_count_once(company):
    load(company, bills=[bill("b1"), bill("b1"), bill("b2"), bill("b2"), bill("b2"), bill("b3")])
    report = stage(company)
    assert (report.read, report.loaded, report.rejected, report.superseded) == (6, 3, 0, 3)


def test_a_table_with_only_rejected_records_fails_the_load_that_its_share_would_pass(company):
    bills = [bill(f"b{number}") for number in range(30)]
    load(company, bills=bills, notes=[{"id": "n1", "at": "someday"}])
    with pytest.raises(SourceError, match=r"raw.vendor__notes: 1 of 1 new records rejected"):
        stage(company, percent=5.0)


def test_a_table_with_a_valid_record_does_not(company):
    bills = [bill(f"b{number}") for number in range(30)]
    load(company, bills=bills, notes=[{"id": "n1", "at": "someday"}, bill("n2")])
    assert stage(company, percent=5.0).rejected == 1


def test_records_are_built_again_only_after_a_new_load(company):
    def state():
        return company.rows("select state from run.record_builds")

    load(company, bills=[bill("b1")])
    build_records(company.connection, "vendor", KINDS, (BILLS, NOTES))
    states = [state()]
    for number in range(2, 6):
        build_records(company.connection, "vendor", KINDS, (BILLS, NOTES))
        assert state() == states[-1]
        load(company, bills=[bill(f"b{number}")], notes=[bill(f"n{number}")])
        assert company.rows("select count(*) from staging.vendor_records") == [(2 * number - 1,)]
        states.append(state())
    assert len({str(one) for one in states}) == len(states)
