"""The summary of a run: what it says of files that are not read."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from csm_core.ingest.found_files import UnreadFile
from csm_core.operations.run_outcome import RunOutcome
from csm_core.operations.run_report import run_report
from csm_core.operations.run_report_text import report_lines
from csm_core.staging.record_counts import RecordCounts
from csm_core.warehouse.database import Warehouse

DAYS = (date(2026, 6, 30), date(2026, 6, 30))


@pytest.mark.parametrize(("files", "lines"), [(0, 0), (1, 1), (10, 10), (11, 11), (25, 11)])
def test_a_line_for_each_file_that_is_not_read_at_most_ten_then_a_count(tmp_path, files, lines):
    unread = tuple(UnreadFile(Path(f"/data/{number}.xlsx"), "a spreadsheet") for number in range(files))
    outcome = RunOutcome("0123456789", succeeded=False, unread=unread)
    warehouse = Warehouse(tmp_path / "csm.duckdb")
    said = [
        line for line in report_lines(run_report(outcome, warehouse, DAYS, 1.0)) if ".xlsx" in line or "more;" in line
    ]
    assert len(said) == lines
    if files:
        assert said[0] == "Not read   /data/0.xlsx: a spreadsheet"
    if files > 10:
        assert said[-1] == f"           and {files - 10} more; `csm run --json` lists all"
    listed = run_report(outcome, warehouse, DAYS, 1.0).as_dict()["unread"]
    assert listed == [{"path": str(one.path), "why": one.why} for one in unread]


def test_a_line_for_each_system_says_what_became_of_its_records(tmp_path):
    records = (
        RecordCounts("raw.stripe__customers", records=1200, current=1100, superseded=98, rejected=2, ignored=0),
        RecordCounts("raw.stripe__events", records=50, current=10, superseded=0, rejected=0, ignored=40),
        RecordCounts("raw.zendesk__tickets", records=3, current=3, superseded=0, rejected=0, ignored=0),
    )
    outcome = RunOutcome("0123456789", succeeded=False, records=records)
    warehouse = Warehouse(tmp_path / "csm.duckdb")
    lines = report_lines(run_report(outcome, warehouse, DAYS, 1.0))
    first = lines.index(
        "Sources    stripe: 1,250 records read = 1,110 current + 98 superseded + 2 rejected + 40 ignored"
    )
    assert lines[first + 1] == "           zendesk: 3 records read = 3 current"
    listed = run_report(outcome, warehouse, DAYS, 1.0).as_dict()["source_records"]
    assert listed[1] == {
        "system": "stripe",
        "table": "raw.stripe__events",
        "read": 50,
        "current": 10,
        "superseded": 0,
        "rejected": 0,
        "ignored": 40,
    }
