"""Records of a kind without a key: each counts for itself."""

from __future__ import annotations

import json
from dataclasses import replace

from csm_core.ingest.loader import load_tables
from csm_core.ingest.raw_tables import RawTable
from csm_core.ingest.record_kinds import RecordKind, times
from csm_core.staging.record_counts import RecordCounts
from csm_core.staging.vendor_records import build_records

TABLE = RawTable("vendor", "calls", "usage_events", (), records=True)
KIND = RecordKind("calls", ("calls",), key=(), fields=times("at"), versions=())


def test_a_deleted_record_without_a_key_marks_no_other_record(source_loads):
    lines = '{"at": "2026-06-01"}\n{"at": "2026-06-02", "is_deleted": true}\n{"at": "someday"}\n'
    path = source_loads.write("calls.jsonl", lines)
    load_tables(source_loads.connection, [(TABLE, {path: "shop"})], loaded_at=source_loads.now, log=source_loads.log)
    (counts,) = build_records(source_loads.connection, "vendor", [KIND], [TABLE])
    assert (counts.records, counts.current, counts.superseded, counts.rejected) == (3, 2, 0, 1)
    found = source_loads.rows("select _source_line, record_id, is_deleted from staging.vendor_records order by 1")
    assert found == [(1, None, False), (2, None, True)]
    assert source_loads.rows("select field, value from run.rejected_records") == [("at", "someday")]


def test_records_of_no_kind_are_counted_as_ignored(source_loads):
    read = [replace(KIND, name=name, where=f"record ->> '$.type' = '{name}'") for name in ("call", "page")]
    types = ("call", "page", "page", "identify", "alias", None)
    lines = "".join(f"{json.dumps({'at': '2026-06-01', 'type': name})}\n" for name in types)
    path = source_loads.write("calls.jsonl", lines)
    load_tables(source_loads.connection, [(TABLE, {path: "shop"})], loaded_at=source_loads.now, log=source_loads.log)
    (counts,) = build_records(source_loads.connection, "vendor", read, [TABLE])
    assert counts == RecordCounts("raw.vendor__calls", records=6, current=3, superseded=0, rejected=0, ignored=3)
    assert counts.system == "vendor"
