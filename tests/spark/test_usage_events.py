"""Usage events that are validated on Spark: the same rows, rejections and counts as with DuckDB, from the same file."""

from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from csm_core.errors import SourceError
from csm_core.logging import get_logger
from csm_core.operations.engine_erasure import EngineErasure
from csm_core.sources.registry import get_system
from csm_core.sources.settings import FilesSettings
from csm_core.sources.spark_settings import SparkSettings
from csm_core.staging import spark_gate
from csm_core.staging.erased_accounts import account_hash
from csm_core.staging.gate import StageReport, stage_entity
from csm_core.staging.spark_gate import leave_spark, stage_usage_on_spark
from csm_core.warehouse.catalog import transaction
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.engine_settings import EngineConfig
from csm_core.warehouse.engine_usage_days import USAGE_DAYS
from csm_core.warehouse.live_tables import EVENTS_TABLE, LIVE_DAYS, LiveTables
from csm_core.warehouse.models import staging_models

pytestmark = pytest.mark.slow

COLUMNS = ("event_id", "account_id", "user_id", "event_name", "feature", "quantity", "occurred_at", "updated_at")
RECORDS = [
    ("e1", "a1", "u1", "login", None, None, "2026-06-01T10:00:00Z", None),
    ("e2", "a1", "u1", "used", "reports", "3", "2026-06-02T10:00:00Z", None),
    ("e3", "a2", "u2.0", " login\u00a0", "7.0", "1.0", "2026-06-02 12:00:00 +02:00", None),
    ("e4", "a2", None, "used", "", " 2 ", "2026-06-03", None),
    ("e5", "a1", "", "used", "reports", "0", "2026-06-03", None),
    # Rejected, each for another reason.
    (None, "a1", "u1", "login", None, None, "2026-06-01T10:00:00Z", None),
    ("r1", None, "u1", "login", None, None, "2026-06-01T10:00:00Z", None),
    ("r2", "nobody", "u1", "login", None, None, "2026-06-01T10:00:00Z", None),
    ("r3", "a1", "u1", None, None, None, "2026-06-01T10:00:00Z", None),
    ("r4", "a1", "u1", "login", None, "1,000", "2026-06-01T10:00:00Z", None),
    ("r5", "a1", "u1", "login", None, "-1", "2026-06-01T10:00:00Z", None),
    ("r6", "a1", "u1", "login", None, "1000000001", "2026-06-01T10:00:00Z", None),
    ("r7", "a1", "u1", "login", None, None, "01/06/2026", None),
    ("r8", "a1", "u1", "login", None, None, None, None),
    ("r9", "a1", 'quoted "text"\t\\', "login", None, None, "2026-06-01T10:00:00Z", "soon"),
    # A zero that lacks a required value is ignored, one that does not parse is rejected.
    ("z1", None, None, None, None, "0", "2026-06-03", None),
    ("z2", "a1", None, None, None, "0", "yesterday", None),
    # The same key: the later line, the later version, a rejected one, an ignored one.
    ("d1", "a1", "u1", "used", "export", "1", "2026-06-04", None),
    ("d1", "a1", "u1", "used", "export", "2", "2026-06-05", None),
    ("d2", "a1", "u1", "used", "export", "5", "2026-06-04", "2026-06-10"),
    ("d2", "a1", "u1", "used", "export", "6", "2026-06-04", "2026-06-09"),
    ("d2", "a1", "u1", "used", "export", "7", "2026-06-04", None),
    ("d3", "a1", "u1", "used", "export", "1", "2026-06-04", None),
    ("d3", "a1", "u1", "used", "export", "x", "2026-06-04", None),
    ("d4", "a1", "u1", "used", "export", "x", "2026-06-04", "2026-06-01"),
    ("d4", "a1", "u1", "used", "export", "1", "2026-06-04", "2026-06-02"),
    ("d5", "a1", "u1", "used", "export", "1", "2026-06-04", None),
    ("d5", "a1", "u1", "used", "export", "0", "2026-06-04", None),
    ("d6", "a1", "u1", "used", "export", "x", "2026-06-04", None),
    ("d6", "a1", "u1", "used", "export", "y", "2026-06-04", None),
    ("7.0", "a1", "u1", "used", "export", "1", "2026-06-04", None),
    ("7", "a1", "u1", "used", "export", "2", "2026-06-04", None),
]
PLAIN = [
    (
        f"p{day}_{number}",
        f"a{number % 2 + 1}",
        f"u{number}",
        "used",
        "reports",
        "1",
        f"2026-06-{day:02}T0{number}:00:00Z",
        None,
    )
    for day in range(1, 6)
    for number in range(4)
]
STAGED = "event_id, account_id, user_id, event_name, feature, quantity, occurred_at"


def write(file: Path, records: list[tuple], kinds: str = "") -> None:
    """Write records to a Parquet file; ``kinds`` casts columns, as in ``* replace (...)``."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(f"create table records ({', '.join(f'{name} varchar' for name in COLUMNS)})")
        connection.executemany(f"insert into records values ({', '.join('?' * len(COLUMNS))})", records or [[None] * 8])
        where = "" if records else "where false"
        chosen = f"* replace ({kinds})" if kinds else "*"
        connection.execute(f"copy (select {chosen} from records {where}) to '{file}' (format parquet)")


class Company:
    """The usage events of a file, staged on Spark in one warehouse and by DuckDB in another."""

    def __init__(self, folder: Path, session, connection: duckdb.DuckDBPyConnection) -> None:
        self.folder = folder
        self.session = session
        self.connection = connection
        self.now = datetime(2026, 7, 1, tzinfo=UTC)
        self.records = folder / "records"
        self.events = self.records / "usage_events.parquet"
        self.records.mkdir()
        (self.records / "features.csv").write_text("feature\nreports\n", encoding="utf-8")
        self.write_accounts("a1", "a2")

    def write_accounts(self, *ids: str) -> None:
        lines = "".join(f"{one},Company {one}\n" for one in ids)
        (self.records / "accounts.csv").write_text("account_id,account_name\n" + lines, encoding="utf-8")

    def stage(self, percent: float = 100.0, **settings: object) -> StageReport:
        """Stage the accounts with DuckDB and the events on Spark."""
        self.now += timedelta(hours=1)
        entities = ("accounts",)
        load_files(self.connection, self.folder, self.records, self.now, entities)
        stage_with_duckdb(self.connection, "accounts", self.now)
        stated = {"system": "spark", "entity": "usage_events", "path": str(self.events)} | settings
        return stage_usage_on_spark(
            self.connection,
            self.session,
            SparkSettings.model_validate(stated),
            staged_at=self.now,
            max_rejected_percent=percent,
        )

    def staged(self) -> list[tuple]:
        tables = LiveTables(self.connection, self.session)
        tables.show(EVENTS_TABLE)
        rows = self.session.query(f"select {STAGED} from {EVENTS_TABLE}", {}).to_pylist()
        return sorted((tuple(row.values()) for row in rows), key=repr)

    def rows(self, sql: str) -> list[tuple]:
        return self.connection.execute(sql).fetchall()

    def quarantine(self) -> list[tuple]:
        return self.rows(QUARANTINE)

    def live(self) -> dict[date, str]:
        return dict(self.rows(f"select day, directory from {LIVE_DAYS} where table_name = '{EVENTS_TABLE}'"))

    def late(self) -> list[tuple]:
        return self.rows("select touched_day, records from run.late_records order by change_id, touched_day")

    def materialise(self, last: date) -> None:
        """Pretend that the days up to this one are built."""
        self.connection.execute("delete from run.pending_usage_days")
        self.connection.execute("insert into run.model_inputs values ('marts.m', 'staging.stg_usage_events')")
        self.connection.execute(
            "insert into run.model_marks select 'marts.m', cast(range as date), 0 "
            "from range(date '2026-06-01', ?::date + 1, interval 1 day)",
            [last],
        )

    def queued(self) -> list[int]:
        return [day.day for (day,) in self.rows("select usage_date from run.pending_usage_days order by 1")]


QUARANTINE = (
    "select system, source_line, field, reason, value, record_key, json(raw_text) "
    "from quarantine.usage_events order by all"
)


def load_files(connection, folder: Path, records: Path, now: datetime, entities=("accounts", "features")) -> None:
    settings = FilesSettings(system="files", path=records, entities=entities)
    get_system("files").load(connection, [settings], loaded_at=now, folder=folder, log=get_logger("test"))


def stage_with_duckdb(connection, entity: str, now: datetime, percent: float = 100.0) -> StageReport:
    model = staging_models("files")[entity].sql
    return stage_entity(connection, entity, [("files", model)], staged_at=now, max_rejected_percent=percent)


FILES_REJECTED = "select distinct source_file from quarantine.usage_events"


@pytest.fixture
def company(spark, tmp_path):
    with Warehouse(tmp_path / "spark.duckdb").connect() as connection:
        yield Company(tmp_path, spark, connection)


COUNTS = ("read", "loaded", "rejected", "superseded", "ignored", "by_reason", "by_rule", "touched_days")
COUNTS += ("new_read", "new_rejected", "closed", "restaged", "entity")
KINDS = {
    "text": "",
    "typed": "try_cast(quantity as double) as quantity, try_cast(occurred_at as timestamp) as occurred_at, "
    "try_cast(updated_at as timestamptz) as updated_at",
    "numbers": "try_cast(user_id as int) as user_id, try_cast(quantity as decimal(18, 4)) as quantity, "
    "try_cast(occurred_at as date) as occurred_at",
}


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("records", [RECORDS + PLAIN, PLAIN], ids=["odd", "plain"])
def test_rows_rejections_and_counts_are_those_of_duckdb(company, tmp_path, records, kinds):
    write(company.events, records, KINDS[kinds])
    report = company.stage()
    with Warehouse(tmp_path / "duckdb.duckdb").connect() as connection:
        load_files(connection, tmp_path / "other", company.records, company.now)
        stage_with_duckdb(connection, "accounts", company.now)
        wanted = stage_with_duckdb(connection, "usage_events", company.now)
        rows = sorted(connection.execute(f"select {STAGED} from {EVENTS_TABLE}").fetchall(), key=repr)
        rejected = connection.execute(QUARANTINE.replace("system,", "'spark',")).fetchall()
    assert {name: asdict(report)[name] for name in COUNTS} == {name: asdict(wanted)[name] for name in COUNTS}
    assert company.staged() == rows
    found = company.quarantine()
    if kinds == "typed":
        # Doubles are written with other digits.
        found, rejected = ([one[:4] + one[5:6] for one in each] for each in (found, rejected))
    assert found == rejected
    assert company.queued() == [day.day for day in wanted.touched_days]
    assert all(file.endswith("/usage_events.parquet") for (file,) in company.rows(FILES_REJECTED))
    assert company.rows(f"select count(*) from {EVENTS_TABLE}") == [(0,)]


def changed(records: list[tuple], key: str, **values: str) -> list[tuple]:
    """The records with values of one record changed."""
    return [
        tuple(values.get(name, value) for name, value in zip(COLUMNS, one, strict=True)) if one[0] == key else one
        for one in records
    ]


def test_only_days_that_differ_are_written_again(company):
    bad = [("bad", "a1", "u1", "used", "reports", "x", "2026-06-03", None)]
    write(company.events, PLAIN + bad)
    assert company.stage().touched_days == tuple(date(2026, 6, day) for day in range(1, 6))
    company.materialise(date(2026, 6, 4))
    first, rejected_at = company.live(), "select rejected_at from quarantine.usage_events"
    since = company.rows(rejected_at)

    # The same content, in another order: nothing is written, and nothing is new.
    write(company.events, (PLAIN + bad)[::-1])
    again = company.stage()
    assert (again.read, again.new_read, again.new_rejected, again.touched_days) == (21, 0, 0, ())
    assert (company.live(), company.queued(), company.rows(rejected_at)) == (first, [], since)

    # A corrected file: another feature on the 2nd, the rejected event of the 3rd, a later time from the 4th to the 5th.
    fixed = changed(PLAIN, "p2_0", feature="export")
    fixed = changed(fixed, "p4_1", occurred_at="2026-06-05T01:00:00Z")
    fixed += [("bad", "a1", "u1", "used", "reports", "2", "2026-06-03", None)]
    write(company.events, fixed)
    report = company.stage()
    assert [day.day for day in report.touched_days] == company.queued() == [2, 3, 4, 5]
    assert (report.rejected, report.new_read, report.loaded) == (0, 21, 21)
    assert company.quarantine() == []
    assert company.late() == [(date(2026, 6, 2), 1), (date(2026, 6, 3), 1), (date(2026, 6, 4), 1)]
    live = company.live()
    assert live[date(2026, 6, 1)] == first[date(2026, 6, 1)]
    assert len({*live.values()}) == 2
    assert len(company.staged()) == 21

    # A late event of the 1st, and every event of the 2nd removed; the 5th is not materialised.
    company.connection.execute("delete from run.late_records")
    company.connection.execute("delete from run.pending_usage_days")
    later = [one for one in fixed if not one[0].startswith("p2")]
    later += [("late", "a1", "u1", "login", None, None, "2026-06-01T23:00:00Z", None)]
    later = changed(later, "p5_0", user_id="someone")
    write(company.events, later)
    report = company.stage()
    assert [day.day for day in report.touched_days] == company.queued() == [1, 2, 5]
    assert company.late() == [(date(2026, 6, 1), 1), (date(2026, 6, 2), 4)]
    assert sorted(company.live()) == [date(2026, 6, day) for day in (1, 3, 4, 5)]
    assert len(company.staged()) == 18


def test_a_load_with_too_many_rejected_events_is_not_staged(company):
    write(company.events, PLAIN)
    company.stage()
    before = company.live(), company.staged()
    wrong = changed(PLAIN, "p1_0", quantity="many")
    wrong = changed(wrong, "p1_1", account_id="nobody")
    write(company.events, wrong)
    for _ in range(2):
        with pytest.raises(SourceError) as raised:
            company.stage(percent=5)
        assert str(raised.value) == (
            "usage_events from spark: 2 of 20 new records rejected (10.0 %, limit 5 %): invalid_number 1, "
            f"unknown_account 1. First: line 1 of {company.rows(FILES_REJECTED)[0][0]}, quantity 'many'. This load was "
            "not staged. See `csm quarantine usage_events`, correct the files and run again, or raise "
            "max_rejected_percent in csm.yaml."
        )
        assert (company.live(), company.staged()) == before
        assert len(company.quarantine()) == 2
    # The previous content again: its quarantine is empty.
    write(company.events, PLAIN)
    report = company.stage(percent=5)
    assert (report.rejected, report.touched_days, company.quarantine()) == (0, (), [])


def test_events_of_an_account_that_appears_later_are_staged(company):
    company.write_accounts("a1")
    write(company.events, PLAIN)
    report = company.stage()
    assert report.by_reason == {"unknown_account": 10}
    company.write_accounts("a1", "a2")
    report = company.stage()
    assert (report.rejected, report.loaded, len(report.touched_days)) == (0, 20, 5)


def test_events_of_an_erased_account_are_gone_and_rejected_without_their_text(company, spark_location):
    write(company.events, PLAIN)
    company.stage()
    engine = EngineConfig(kind="spark", master="local[2]", location=str(spark_location))
    erasure = EngineErasure(company.connection, engine, "a2")
    erasure.write()
    with transaction(company.connection):
        company.connection.execute(
            "insert into run.erasures values (?, now()::timestamp, 'someone', '{}', true)", [account_hash("a2")]
        )
        assert erasure.make_live() == {EVENTS_TABLE: 10}
    company.connection.execute("delete from run.pending_usage_days")
    erasure.delete_replaced()
    live = company.live()
    assert {account for _, account, *_ in company.staged()} == {"a1"}

    company.write_accounts("a1")
    report = company.stage(percent=5)
    assert (report.by_reason, report.touched_days, company.queued()) == ({"erased": 10}, (), [])
    assert company.live() == live
    assert company.rows(
        "select count(*), count(value), count(record_key), count(raw_text) from quarantine.usage_events"
    ) == [(10, 0, 0, 0)]


def test_only_some_rejected_events_are_stored_and_all_are_counted(company, monkeypatch):
    monkeypatch.setattr(spark_gate, "MAX_STORED", 3)
    write(company.events, [(*one[:5], "x", *one[6:]) for one in PLAIN[:10]] + PLAIN[10:])
    report = company.stage()
    assert report.by_reason == {"invalid_number": 10}
    assert [line for _, line, *_ in company.quarantine()] == [1, 2, 3]


def test_a_killed_run_leaves_the_days_before_it(company, monkeypatch):
    write(company.events, PLAIN[:8])
    company.stage()
    before = company.live(), company.staged(), company.rows(f"from {USAGE_DAYS} order by all")
    write(company.events, PLAIN)

    def killed(*_):
        raise KeyboardInterrupt

    for step in ("withdraw", "_queue", "record_counted_changes"):
        with monkeypatch.context() as patched:
            patched.setattr(spark_gate, step, killed)
            with pytest.raises(KeyboardInterrupt):
                company.stage()
        assert (company.live(), company.staged(), company.rows(f"from {USAGE_DAYS} order by all")) == before
    company.stage()
    assert len(company.staged()) == 20
    # The next run deletes what the killed ones wrote; that of the keys of this run is left.
    company.stage()
    written = {path for (path,) in company.rows("select directory from run.engine_directories") if Path(path).exists()}
    assert len(written - {*company.live().values()}) == 1


def test_an_emptied_source_is_not_staged_unless_it_may_be_empty(company):
    write(company.events, PLAIN)
    company.stage()
    write(company.events, [])
    with pytest.raises(SourceError, match="has no rows, but had rows before"):
        company.stage()
    assert len(company.staged()) == 20
    report = company.stage(may_be_empty=True)
    assert (report.read, len(report.touched_days), company.live()) == (0, 5, {})


def test_a_table_of_the_catalog_with_other_names(company, tmp_path, spark):
    file = tmp_path / "events.parquet"
    names = "event_id as id, account_id as org, event_name as name, occurred_at as ts, user_id, updated_at as changed"
    with duckdb.connect() as connection:
        write(company.events, RECORDS)
        connection.execute(f"copy (select {names}, {{'k': 1}} as more from '{company.events}') to '{file}'")
    spark._spark.read.parquet(str(file)).write.option("path", str(tmp_path / "table")).saveAsTable("gate_events")
    columns = {
        "event_id": "id",
        "account_id": "org",
        "event_name": "name",
        "occurred_at": "ts",
        "updated_at": "changed",
    }
    report = company.stage(path=None, table="gate_events", columns=columns)
    assert report.read == len(RECORDS)
    assert set(report.by_reason) == {"missing_required", "unknown_account", "invalid_timestamp"}
    assert ("d2", "2026-06-04") in {(one[0], str(one[6].date())) for one in company.staged()}
    assert company.rows("select distinct source_file, source_line from quarantine.usage_events") == [
        ("gate_events", None)
    ]


def test_from_duckdb_to_spark_and_back(company):
    write(company.events, PLAIN[:12])
    load_files(company.connection, company.folder, company.records, company.now)
    stage_with_duckdb(company.connection, "accounts", company.now)
    stage_with_duckdb(company.connection, "usage_events", company.now)
    company.materialise(date(2026, 6, 2))
    write(company.events, PLAIN[4:])
    report = company.stage()
    assert [day.day for day in report.touched_days] == company.queued() == [1, 2, 3, 4, 5]
    assert {day.day for day, _ in company.late()} == {1, 2}
    assert company.rows(f"select count(*) from {EVENTS_TABLE}") == [(0,)]
    assert len(company.staged()) == 16

    company.connection.execute("delete from run.pending_usage_days")
    leave_spark(company.connection, company.now)
    assert company.queued() == [2, 3, 4, 5]
    assert company.live() == {}
    wanted = stage_with_duckdb(company.connection, "usage_events", company.now)
    assert company.rows(f"select count(*) from {EVENTS_TABLE}") == [(wanted.loaded,)]
