"""Segment-shaped events: files and tables of every shape, what comes late, what is wrong, and a whole run."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from assets.staging import behind_of
from csm_core import identity
from csm_core.config import Config, load_config
from csm_core.errors import ConfigError, SourceError
from csm_core.sources.registry import get_system
from csm_core.sources.remembered import remember_sources
from csm_core.sources.settings import SegmentSettings
from csm_core.sources.waiting import waiting_files
from csm_core.sql_models import staging_models, staging_steps
from csm_core.staging_gate import StageReport, stage_entity
from csm_core.warehouse import build_model
from tests.sources.test_stripe import write_company, write_lines
from tests.sources.way_in import WayIn
from tests.sql.test_staging_cases import in_order

SEGMENT = get_system("segment")
OPENED = "message_id, user_id, anonymous_id, group_id, called, happened, original, sent, received"
CALL = {
    "type": "track",
    "messageId": "m1",
    "userId": "u1",
    "anonymousId": "x1",
    "event": "Report Viewed",
    "timestamp": "2026-06-01T10:00:00Z",
    "originalTimestamp": "2026-06-01T12:00:00+02:00",
    "sentAt": "2026-06-01T10:00:01Z",
    "receivedAt": "2026-06-01T10:00:02Z",
    "context": {"groupId": "g1"},
    "properties": {"plan": "pro"},
}
ROW = (
    "select 'm1' as id, 'u1' as user_id, 'x1' as anonymous_id, 'report_viewed' as event, "
    "'Report Viewed' as event_text, "
    "timestamp '2026-06-01 10:00:00' as timestamp, timestamp '2026-06-01 10:00:00' as original_timestamp, "
    "timestamp '2026-06-01 10:00:01' as sent_at, timestamp '2026-06-01 10:00:02' as received_at, "
    "'g1' as context_group_id"
)


def load(way_in: WayIn, *sources: SegmentSettings) -> dict[str, int]:
    way_in.now += timedelta(hours=1)
    folder = way_in.folder.parent / "sources"
    results = SEGMENT.load(way_in.connection, sources, loaded_at=way_in.now, folder=folder, log=way_in.log)
    return {result.table.removeprefix("raw.segment__"): result.loaded for result in results if result.loaded}


def stage(way_in: WayIn, *sources: SegmentSettings) -> StageReport:
    """What a run does between the raw tables and the staged events."""
    connection, config = way_in.connection, Config(sources=sources)
    steps, models = staging_steps("segment"), staging_models("segment")
    remember_sources(connection, "segment", sources)
    for step in in_order(steps):
        build_model(connection, step, {})
    identity.load(connection, config, loaded_at=way_in.now, log=way_in.log)
    identity.build(connection, config, ["segment"])
    return stage_entity(
        connection,
        "usage_events",
        [("segment", models["usage_events"].sql)],
        staged_at=way_in.now,
        max_rejected_percent=100,
        behind={"segment": behind_of(config, "segment", steps, models)},
    )


@pytest.fixture
def segment(way_in: WayIn) -> Callable[..., tuple[Path, Callable[[], StageReport]]]:
    """Makes a folder for Segment's records beside a company of two accounts, and what loads and stages it."""

    def make(**settings: Any) -> tuple[Path, Callable[[], StageReport]]:
        folder = way_in.folder.parent / "segment"
        folder.mkdir()
        way_in.write_company()
        way_in.load()
        way_in.stage("accounts")
        source = SegmentSettings(system="segment", path=folder, account_key="group_id", **settings)

        def run() -> StageReport:
            load(way_in, source)
            report = stage(way_in, source)
            assert report.read == report.loaded + report.rejected + report.superseded
            return report

        return folder, run

    return make


def track(message: str, user: str, at: str, **more: Any) -> dict[str, Any]:
    return {"messageId": message, "userId": user, "event": "used", "timestamp": f"2026-06-{at}T00:00:00Z", **more}


def group(message: str, user: str, name: str, at: str) -> dict[str, Any]:
    stated = f"2026-06-{at}T00:00:00Z"
    return {"messageId": message, "userId": user, "groupId": name, "timestamp": stated}


def staged(way_in: WayIn) -> list[tuple[object, ...]]:
    return way_in.rows("select event_id, account_id, user_id from staging.stg_usage_events order by 1")


def write_shape(shape: str, folder: Path) -> dict[str, Any]:
    """One call written in a shape; the settings that read it."""
    folder.mkdir()
    if shape == "json lines":
        write_lines(folder / "tracks.jsonl", CALL)
    elif shape == "packed json lines":
        (folder / "tracks").mkdir()
        (folder / "tracks" / "1.json.gz").write_bytes(gzip.compress(json.dumps(CALL).encode()))
    elif shape == "all types in one":
        others = [{"type": "identify", "userId": "u1"}, {"type": "group", "userId": "u1", "groupId": "g1"}]
        write_lines(folder / "events" / "a.jsonl", CALL, *others)
    elif shape == "a database":
        with duckdb.connect(str(folder / "w.duckdb")) as connection:
            connection.execute(f"create schema production; create table production.tracks as {ROW}")
        return {"tables": {"path": folder / "w.duckdb", "schema": "production"}}
    else:
        form = "csv" if shape == "csv" else "parquet"
        with duckdb.connect() as connection:
            connection.execute(f"copy ({ROW}) to '{folder}/tracks.{form}' (format {form})")
        if shape == "a folder of tables":
            return {"tables": {"path": folder}}
    return {"path": folder}


@pytest.mark.parametrize(
    ("shape", "table"),
    [
        ("json lines", "tracks"),
        ("packed json lines", "tracks"),
        ("all types in one", "events"),
        ("csv", "tracks"),
        ("parquet", "tracks"),
        ("a folder of tables", "segment_tracks"),
        ("a database", "segment_tracks"),
    ],
)
def test_a_call_is_opened_whatever_it_comes_in(way_in, shape, table):
    folder = way_in.folder.parent / "segment"
    source = SegmentSettings.model_validate({"system": "segment", **write_shape(shape, folder)})
    assert "tracks" in SEGMENT.check(source) or "events" in SEGMENT.check(source)
    assert len(waiting_files(way_in.connection, [source]).files) == 1
    load(way_in, source)
    (found,) = way_in.rows(f"select {OPENED} from raw.segment__{table} where call_type is null or call_type = 'track'")
    assert found[:5] == ("m1", "u1", "x1", "g1", "Report Viewed")
    times = way_in.rows(
        f"select {', '.join(f'cast({name} as timestamptz)::varchar' for name in OPENED.split(', ')[5:])} "
        f"from raw.segment__{table} where happened is not null"
    )
    assert times == [tuple(f"2026-06-01 10:00:0{second}+00" for second in (0, 0, 1, 2))]
    (record,) = way_in.rows(f"select record from raw.segment__{table} where happened is not null")
    assert "m1" in json.loads(str(record[0])).values()
    assert load(way_in, source) == {}


def test_a_message_counts_once_and_the_one_loaded_last_counts(way_in, segment):
    folder, run = segment()
    twice = [track("m1", "u1", "02"), track("m1", "u1", "03"), track("m2", "u1", "04"), {"event": "used"}]
    write_lines(folder / "tracks" / "1.jsonl", *twice)
    write_lines(folder / "groups.jsonl", group("g1", "u1", "a1", "01"))
    (folder / "tracks" / "2.jsonl").write_text("no record\n")
    report = run()
    assert (report.read, report.loaded, report.superseded) == (5, 2, 1)
    assert report.by_reason == {"missing_required": 1, "unparseable_row": 1}
    write_lines(folder / "tracks" / "3.jsonl", track("m2", "u1", "05"), track("m3", "u1", "05"))
    assert (run().staged_anew, [name for name, *_ in staged(way_in)]) == (
        False,
        ["segment/m1", "segment/m2", "segment/m3"],
    )
    assert way_in.rows("select day(occurred_at) from staging.stg_usage_events order by event_id") == [(3,), (5,), (5,)]


def test_what_is_said_of_users_later_brings_their_events_in_and_moves_them(way_in, segment):
    folder, run = segment()
    write_lines(
        folder / "tracks" / "1.jsonl", track("m1", "u1", "02"), track("m2", "u1", "09"), track("m3", "u2", "02")
    )
    write_lines(folder / "groups" / "1.jsonl", group("g1", "u2", "a2", "01"))
    assert run().by_reason == {"unmatched": 2}
    assert staged(way_in) == [("segment/m3", "a2", "u2")]
    assert way_in.rows("select distinct field, value from quarantine.usage_events") == [("account_id", "user/u1")]
    # The group is told a week after the events.
    write_lines(folder / "groups" / "2.jsonl", group("g2", "u1", "a1", "16"))
    report = run()
    assert (report.staged_anew, report.rejected) == (True, 0)
    assert staged(way_in) == [("segment/m1", "a1", "u1"), ("segment/m2", "a1", "u1"), ("segment/m3", "a2", "u2")]
    # One that is dated between the two moves the later of them.
    write_lines(folder / "groups" / "3.jsonl", group("g3", "u1", "a2", "05"), group("g4", "u1", "a1", "01"))
    assert [day.day for day in run().touched_days] == [9]
    assert [account for _, account, _ in staged(way_in)] == ["a1", "a2", "a2"]


def test_an_anonymous_visitor_who_signs_up_brings_what_came_before(way_in, segment):
    folder, run = segment()
    write_lines(folder / "events" / "1.jsonl", {**CALL, "userId": None, "context": {}})
    assert run().read == 0
    told = {"type": "identify", "messageId": "i", "anonymousId": "x1", "userId": "u1", "context": {"groupId": "a1"}}
    write_lines(folder / "events" / "2.jsonl", told)
    assert run().loaded == 1
    assert staged(way_in) == [("segment/m1", "a1", "u1")]


def test_what_says_nothing_new_of_users_leaves_staged_events_alone(way_in, segment):
    folder, run = segment()
    write_lines(folder / "events" / "1.jsonl", {**group("g1", "u1", "a1", "01"), "type": "group"})
    write_lines(folder / "tracks" / "1.jsonl", track("m1", "u1", "02"))
    run()
    write_lines(folder / "events" / "2.jsonl", {**group("g2", "u1", "a1", "03"), "type": "group"})
    write_lines(folder / "identifies.jsonl", {"messageId": "i", "userId": "u1", "traits": {"plan": "pro"}})
    write_lines(folder / "tracks" / "2.jsonl", track("m2", "u1", "04"))
    report = run()
    assert (report.staged_anew, report.read, report.loaded) == (False, 1, 1)
    assert [account for _, account, _ in staged(way_in)] == ["a1", "a1"]


def test_a_group_whose_trait_names_another_account_takes_its_events_along(way_in, segment):
    folder, run = segment()
    source = SegmentSettings(system="segment", path=folder)
    write_lines(folder / "tracks.jsonl", track("m1", "u1", "02", context={"groupId": "g"}))
    for account in ("a1", "a2"):
        described = {"messageId": account, "groupId": "g", "traits": {"account_id": account}}
        write_lines(folder / "groups" / f"{account}.jsonl", described)
        load(way_in, source)
        stage(way_in, source)
        assert staged(way_in) == [("segment/m1", account, "u1")]
    assert run().by_reason == {"unknown_account": 1}


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"features": [{"event": "Used"}]}, r"sources\.0\.features\.0: give `feature`, `property` or `quantity`"),
        ({"features": [{"event": "Used", "feature": "f", "values": {"a": "b"}}]}, "give `property`"),
        ({"features": [{"event": "Used", "property": "a[0]"}]}, r"features\.0\.property: String should match"),
        ({"features": [{"event": "Used", "faeture": "f"}]}, "did you mean 'feature'"),
        ({"without_group": "drop"}, "'match' or 'ignore'"),
        ({"login_event": ["x"]}, "did you mean 'login_events'"),
        ({"tables": {"path": "x"}}, "exactly one of path, tables; path and tables given"),
        ({"clock_skew_seconds": -1}, "greater than or equal to 0"),
    ],
)
def test_settings_that_make_no_sense_are_told(tmp_path, stated, said):
    file = tmp_path / "csm.yaml"
    file.write_text(json.dumps({"sources": [{"system": "segment", "path": "in", **stated}]}))
    with pytest.raises(ConfigError, match=said):
        load_config(file, {})


def test_what_is_not_segments_is_told(tmp_path):
    write_lines(tmp_path / "identifies.jsonl", {"userId": "u1"})
    with pytest.raises(SourceError, match=r"no records of segment.*one of events, tracks\. Found: identifies"):
        SEGMENT.check(SegmentSettings(system="segment", path=tmp_path))
    with pytest.raises(SourceError, match="is not there"):
        SEGMENT.check(SegmentSettings(system="segment", path=tmp_path / "nowhere"))


@pytest.mark.slow
def test_events_of_a_tracking_plan_become_the_signals_of_the_accounts(tmp_path, company):
    files = write_company(tmp_path / "company")
    (files / "usage_events.csv").unlink()
    (files / "features.csv").write_text("feature,module\nreports,core\nexport,core\n")
    records = tmp_path / "segment"
    calls = [
        ("m1", "u1", "", "Signed In", "", "2026-06-20 08:00:00", "2026-06-20 08:00:01"),
        ("m2", "u1", "", "report_viewed", "", "2026-06-21 08:00:00", "2026-06-21 08:00:00"),
        ("m3", "u2", "", "Feature Used", "export", "2026-06-22 08:00:00", "2026-06-25 08:00:00"),
        # Of u3 nobody knows the group yet; the clock of the last is two days ahead.
        ("m4", "u3", "", "Signed In", "", "2026-06-23 08:00:00", "2026-06-23 08:00:00"),
        ("m5", "u4", "g2", "Signed In", "", "2026-06-26 08:00:00", "2026-06-24 08:00:00"),
    ]
    header = "id,user_id,context_group_id,event,feature,timestamp,received_at\n"
    records.mkdir()
    packed = gzip.compress((header + "".join(f"{','.join(call)}\n" for call in calls)).encode())
    (records / "tracks.csv.gz").write_bytes(packed)
    (records / "identifies.csv").write_text("user_id,context_group_id,email\nu1,g1,\nu2,,x@one.example\nu3,,\n")
    (records / "groups.csv").write_text("group_id,account_id\ng1,a1\ng2,a2\n")
    domains = tmp_path / "domains.csv"
    domains.write_text("account_id,domain\na1,one.example\n")
    rules = [{"event": "Report *", "feature": "reports"}, {"event": "*", "property": "feature"}]
    made = company(
        files,
        sources=[
            {"system": "files", "path": str(files), "entities": ["accounts", "features"]},
            {"system": "segment", "path": str(records), "features": rules},
        ],
        identity={"account_domains": str(domains)},
        checks={"max_silent_days": 60},
        max_rejected_percent=25,
    )
    done = made.csm("run", "--as-of", "2026-06-30", "--no-publish")
    assert done.returncode == 0, done.stdout + done.stderr
    signals = (
        "select account_id, feature_adoption_rate, usage_trend, login_frequency_days from marts.csm_health_signals "
        "where as_of_date = '2026-06-30' order by account_id"
    )
    # One login day in the last 90 days each.
    assert made.query(signals) == [("a1", 1.0, "growing", 90), ("a2", 0.0, "growing", 90)]
    days = "select account_id, day(occurred_at) from staging.stg_usage_events order by occurred_at"
    assert made.query(days) == [("a1", 20), ("a1", 21), ("a1", 22), ("a2", 24)]
    assert made.query("select reason, value from quarantine.usage_events") == [("unmatched", "user/u3")]
    (records / "identifies.csv").write_text("user_id,context_group_id,email\nu1,g1,\nu2,,x@one.example\nu3,g1,\n")
    done = made.csm("run", "--as-of", "2026-06-30", "--no-publish")
    assert done.returncode == 0, done.stdout + done.stderr
    assert made.query(signals)[0] == ("a1", 1.0, "growing", 45)
    assert made.query("select count(*) from quarantine.usage_events") == [(0,)]
