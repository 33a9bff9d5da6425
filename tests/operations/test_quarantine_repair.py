"""`csm quarantine repair FILE`: exports of rejected records, corrected in part, come back in."""

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from csm_core.config import Config
from csm_core.errors import InputError
from csm_core.logging import get_logger
from csm_core.operations.quarantine_repair import repair
from csm_core.sources.registry import get_system
from csm_core.sources.settings import FilesSettings
from csm_core.staging import quarantine
from csm_core.staging.gate import StageReport, stage_entity
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.models import staging_models

START = datetime(2026, 7, 1, 7, tzinfo=UTC)
ENTITIES_READ = ("accounts", "features", "usage_events", "tickets")
ACCOUNTS = "account_id,account_name,created_at\na1,Ahlers,2026-01-01\na2,=Bolt,1.6.2026\na3,Cremer,soon\n"
TICKETS = (
    "ticket_id,account_id,opened_at,priority\n"
    "t1,a1,31/05/2026,high\n"
    "t2,a1,32/05/2026,'quoted'\n"
    "t3,nobody,01/06/2026,low\n"
    ",a1,02/06/2026,low\n"
    "broken\n"
    "t6,a1,never,low\n"
)
EVENTS = (
    "event_id,account_id,event_name,quantity,occurred_at\n"
    "e1,a1,login,1,2026-06-01\ne2,a1,login,many,2026-06-01\n,a1,login,7,2026-06-02\ne4,a1,login,few,2026-06-03\n"
)
FEATURES = "feature,module\nreports,core\n"


class Company:
    """A folder of files, its warehouse, and runs of the first two layers of it."""

    def __init__(self, folder: Path) -> None:
        (folder / "in").mkdir()
        self.folder = folder
        settings = FilesSettings(system="files", path=folder / "in", dates=("%d/%m/%Y",))
        self.config = Config(warehouse=folder / "data" / "csm.duckdb", sources=(settings,))
        self.warehouse = Warehouse.from_config(self.config)
        self.now = START
        for name, text in (("accounts", ACCOUNTS), ("features", FEATURES), ("usage_events", EVENTS)):
            (folder / "in" / f"{name}.csv").write_text(text)
        (folder / "in" / "tickets.csv").write_text(TICKETS)

    def run(self) -> dict[str, StageReport]:
        self.now += timedelta(hours=1)
        models = staging_models("files")
        with self.warehouse.connect() as connection:
            get_system("files").load(
                connection,
                self.config.sources,
                loaded_at=self.now,
                folder=self.folder / "data" / "sources",
                log=get_logger("test"),
            )
            return {
                name: stage_entity(
                    connection, name, [("files", models[name].sql)], staged_at=self.now, max_rejected_percent=100.0
                )
                for name in ENTITIES_READ
            }

    def repair(self, file: Path) -> Any:
        self.now += timedelta(hours=1)
        return repair(self.config, file, now=self.now)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with self.warehouse.connect() as connection:
            return connection.execute(sql).fetchall()

    def export(self, entity: str, name: str) -> Path:
        with self.warehouse.connect() as connection:
            quarantine.export(connection, entity, self.folder / name)
        return self.folder / name

    def listed(self, entity: str) -> list[tuple[int, str | None, str]]:
        with self.warehouse.connect() as connection:
            return [(one.source_line, one.field, one.reason) for one in quarantine.rows(connection, entity)]


@pytest.fixture
def company(tmp_path) -> Company:
    one = Company(tmp_path)
    one.run()
    return one


def corrected(file: Path, corrections: dict[str, dict[str, str]], name: str) -> Path:
    """The export with some values changed by line, saved under another name, in the same format."""
    target = file.with_name(name)
    if file.suffix == ".csv":
        with file.open(encoding="utf-8", newline="") as read:
            rows = list(csv.DictReader(read))
    else:
        with duckdb.connect() as connection:
            cursor = connection.execute(f"from '{file}'")
            names = [column for column, *_ in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    for row in rows:
        row.update(corrections.get(str(row["rejected_line"]), {}))
    if file.suffix == ".csv":
        with target.open("w", encoding="utf-8-sig", newline="") as written:
            writer = csv.DictWriter(written, rows[0], delimiter=";", lineterminator="\r\n")
            writer.writeheader()
            writer.writerows(rows)
        return target
    lines = target.with_suffix(".jsonl")
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if file.suffix == ".parquet":
        with duckdb.connect() as connection:
            connection.execute(f"copy (from '{lines}') to '{target}' (format parquet)")
        return target
    return lines


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_tickets_corrected_in_part_come_back_in(company, form):
    assert [line for line, *_ in company.listed("tickets")] == [3, 4, 5, 6, 7]
    corrections = {
        "3": {"opened_at": "30/05/2026"},
        "4": {"account_id": "nobody else"},
        "5": {"ticket_id": "t4"},
        "6": {"ticket_id": "t5", "account_id": "a1", "opened_at": "2026-06-05"},
    }
    file = corrected(company.export("tickets", f"out.{form}"), corrections, f"back from Anna (2).{form}")
    report = company.repair(file)
    assert (report.entity, report.accepted, report.unchanged, report.gone) == ("tickets", 3, 1, 0)
    (still,) = report.still_rejected
    assert (still.source_line, still.field, still.reason, still.value) == (
        4,
        "account_id",
        "unknown_account",
        "nobody else",
    )
    assert still.source_file == str(company.folder / "in" / "tickets.csv")
    assert "tickets: 3 accepted, 1 still rejected, 1 unchanged" in report.text()

    for _ in range(2):
        report = company.run()["tickets"]
        assert report.read == report.loaded + report.rejected + report.superseded + report.ignored
        assert company.rows(
            "select ticket_id, account_id, cast(opened_at as date)::varchar, priority "
            "from staging.stg_tickets order by 1"
        ) == [
            ("t1", "a1", "2026-05-31", "high"),
            ("t2", "a1", "2026-05-30", "'quoted'"),
            ("t4", "a1", "2026-06-02", "low"),
            ("t5", "a1", "2026-06-05", None),
        ]
        assert [line for line, *_ in company.listed("tickets")] == [4, 7]
    again = company.repair(file)
    assert (again.accepted, again.gone, again.unchanged, len(again.still_rejected)) == (0, 3, 1, 1)


def test_events_corrected_in_part_come_back_in(company):
    corrections = {"3": {"quantity": "5"}, "4": {"event_id": "e3"}}
    file = corrected(company.export("usage_events", "out.csv"), corrections, "events.csv")
    report = company.repair(file)
    assert (report.accepted, report.unchanged, report.still_rejected) == (2, 1, ())
    for _ in range(2):
        company.run()
        events = company.rows("select event_id, quantity from staging.stg_usage_events order by 1")
        assert events == [("e1", 1), ("e2", 5), ("e3", 7)]
        assert [line for line, *_ in company.listed("usage_events")] == [5]


def test_accounts_are_a_full_list_and_repaired_ones_stay_in_it(company):
    file = corrected(company.export("accounts", "out.csv"), {"3": {"created_at": "2026-06-01"}}, "x.csv")
    report = company.repair(file)
    assert (report.accepted, report.unchanged) == (1, 1)
    for _ in range(3):
        company.run()
        accounts = "select account_id, account_name from staging.stg_accounts where churned_at is null order by 1"
        assert company.rows(accounts) == [("a1", "Ahlers"), ("a2", "=Bolt")]
        assert [line for line, *_ in company.listed("accounts")] == [4]


def test_an_export_as_it_is_changes_nothing(company):
    for entity in ("accounts", "usage_events", "tickets"):
        report = company.repair(company.export(entity, f"{entity}.csv"))
        assert (report.accepted, report.still_rejected, report.gone) == (0, (), 0)
        assert report.unchanged == len(company.listed(entity))
    assert not (company.folder / "data" / "sources").exists()


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.csv", "ticket_id,account_id\nt2,a1\n", "lacks the columns rejected_field"),
        ("a.csv", "", "lacks the columns"),
        ("a.xlsx", "", r"use one of \.csv"),
        ("a.csv", 'a,b\n"open', "cannot be read as csv"),
        ("a.jsonl", "{", "cannot be read as json"),
        ("a.jsonl", "[1]", "line 1 is not an object"),
        ("a.parquet", "no", "cannot be read as parquet"),
        ("a.csv", ",".join(quarantine.EXPORT_COLUMNS) + "\nx,y,z,/elsewhere.csv,2\n", "none of its records"),
        ("a.csv", ",".join(quarantine.EXPORT_COLUMNS) + "\nx,y,z,,2\n", "record 1: rejected_file"),
        ("a.csv", ",".join(quarantine.EXPORT_COLUMNS) + "\nx,y,z,f,two\n", "rejected_line 'two'"),
        ("a.csv", ",".join(quarantine.EXPORT_COLUMNS) + "\nx,y,z,f,2\nx,y,z,f,2\n", "a second record for line 2"),
    ],
)
def test_a_file_that_is_not_an_export_is_an_error(company, name, text, expected):
    (company.folder / name).write_text(text)
    with pytest.raises(InputError, match=expected):
        company.repair(company.folder / name)
