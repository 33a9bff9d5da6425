"""Segment-shaped events: files and tables of every shape, what comes late, what is wrong, and a whole run."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from assets.staging import upstream_of
from csm_core.accounts import account_map
from csm_core.config import Config, IdentitySettings, load_config
from csm_core.errors import ConfigError, SourceError
from csm_core.ingest.record_kinds import FieldKind
from csm_core.sources.pending_files import pending_files
from csm_core.sources.segment import SEGMENT
from csm_core.sources.settings import SegmentSettings
from csm_core.sources.source_settings import write_source_settings
from csm_core.staging.gate import StageReport, stage_entity
from csm_core.staging.vendor_records import build_records
from csm_core.warehouse.materialize import build_model
from csm_core.warehouse.models import quoted as sql_quoted
from csm_core.warehouse.models import staging_models, staging_steps
from tests.source_loads import SourceLoads
from tests.sources.test_stripe import write_company, write_lines
from tests.sql.test_staging_cases import in_order

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


def load(source_loads: SourceLoads, *sources: SegmentSettings) -> dict[str, int]:
    source_loads.now += timedelta(hours=1)
    folder = source_loads.folder.parent / "sources"
    results = SEGMENT.load(
        source_loads.connection, sources, loaded_at=source_loads.now, folder=folder, log=source_loads.log
    )
    return {result.table.removeprefix("raw.segment__"): result.loaded for result in results if result.loaded}


def stage(
    source_loads: SourceLoads, *sources: SegmentSettings, identity_settings: IdentitySettings | None = None
) -> StageReport:
    """What a run does between the raw tables and the staged events."""
    connection = source_loads.connection
    config = Config(sources=sources, identity=identity_settings or IdentitySettings())
    steps, models = staging_steps("segment"), staging_models("segment")
    write_source_settings(connection, "segment", sources)
    build_records(connection, "segment", SEGMENT.kinds, SEGMENT.raw_tables)
    for step in in_order(steps):
        build_model(connection, step, {})
    account_map.load(connection, config, loaded_at=source_loads.now, log=source_loads.log)
    account_map.build(connection, config, ["segment"])
    return stage_entity(
        connection,
        "usage_events",
        [("segment", models["usage_events"].sql)],
        staged_at=source_loads.now,
        max_rejected_percent=100,
        upstream={"segment": upstream_of(config, "segment", steps, models)},
    )


@pytest.fixture
def segment(source_loads: SourceLoads) -> Callable[..., tuple[Path, Callable[[], StageReport]]]:
    """Makes a folder for Segment's records beside a company of two accounts, and what loads and stages it."""

    def make(**settings: Any) -> tuple[Path, Callable[[], StageReport]]:
        folder = source_loads.folder.parent / "segment"
        folder.mkdir()
        source_loads.write_company()
        source_loads.load()
        source_loads.stage("accounts")
        source = SegmentSettings(system="segment", path=folder, account_key="group_id", **settings)

        def run() -> StageReport:
            load(source_loads, source)
            report = stage(source_loads, source)
            assert report.read == report.loaded + report.rejected + report.superseded + report.ignored
            return report

        return folder, run

    return make


def track(message: str, user: str, at: str, **more: Any) -> dict[str, Any]:
    return {"messageId": message, "userId": user, "event": "used", "timestamp": f"2026-06-{at}T00:00:00Z", **more}


def group(message: str, user: str, name: str, at: str) -> dict[str, Any]:
    stated = f"2026-06-{at}T00:00:00Z"
    return {"messageId": message, "userId": user, "groupId": name, "timestamp": stated}


def staged(source_loads: SourceLoads) -> list[tuple[object, ...]]:
    return source_loads.rows("select event_id, account_id, user_id from staging.stg_usage_events order by 1")


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
def test_a_call_is_opened_whatever_it_comes_in(source_loads, shape, table):
    folder = source_loads.folder.parent / "segment"
    source = SegmentSettings.model_validate({"system": "segment", **write_shape(shape, folder)})
    assert "tracks" in SEGMENT.check(source) or "events" in SEGMENT.check(source)
    assert len(pending_files(source_loads.connection, [source]).files) == 1
    load(source_loads, source)
    (found,) = source_loads.rows(
        f"select {OPENED} from raw.segment__{table} where call_type is null or call_type = 'track'"
    )
    assert found[:5] == ("m1", "u1", "x1", "g1", "Report Viewed")
    times = source_loads.rows(
        f"select {', '.join(f'cast({name} as timestamptz)::varchar' for name in OPENED.split(', ')[5:])} "
        f"from raw.segment__{table} where happened is not null"
    )
    assert times == [tuple(f"2026-06-01 10:00:0{second}+00" for second in (0, 0, 1, 2))]
    (record,) = source_loads.rows(f"select record from raw.segment__{table} where happened is not null")
    assert "m1" in json.loads(str(record[0])).values()
    assert load(source_loads, source) == {}


def test_a_message_counts_once_and_the_one_loaded_last_counts(source_loads, segment):
    folder, run = segment()
    twice = [track("m1", "u1", "02"), track("m1", "u1", "03"), track("m2", "u1", "04"), {"event": "used"}]
    write_lines(folder / "tracks" / "1.jsonl", *twice)
    write_lines(folder / "groups.jsonl", group("g1", "u1", "a1", "01"))
    (folder / "tracks" / "2.jsonl").write_text("no record\n")
    report = run()
    assert (report.read, report.loaded, report.superseded) == (5, 2, 1)
    assert report.by_reason == {"missing_required": 1, "unparseable_row": 1}
    write_lines(folder / "tracks" / "3.jsonl", track("m2", "u1", "05"), track("m3", "u1", "05"))
    assert (run().restaged, [name for name, *_ in staged(source_loads)]) == (
        False,
        ["segment/m1", "segment/m2", "segment/m3"],
    )
    assert source_loads.rows("select day(occurred_at) from staging.stg_usage_events order by event_id") == [
        (3,),
        (5,),
        (5,),
    ]


def test_what_is_said_of_users_later_brings_their_events_in_and_moves_them(source_loads, segment):
    folder, run = segment()
    write_lines(
        folder / "tracks" / "1.jsonl", track("m1", "u1", "02"), track("m2", "u1", "09"), track("m3", "u2", "02")
    )
    write_lines(folder / "groups" / "1.jsonl", group("g1", "u2", "a2", "01"))
    assert run().by_reason == {"unmatched": 2}
    assert staged(source_loads) == [("segment/m3", "a2", "u2")]
    assert source_loads.rows("select distinct field, value from quarantine.usage_events") == [("account_id", "user/u1")]
    # The group is told a week after the events.
    write_lines(folder / "groups" / "2.jsonl", group("g2", "u1", "a1", "16"))
    report = run()
    assert (report.restaged, report.rejected) == (True, 0)
    assert staged(source_loads) == [("segment/m1", "a1", "u1"), ("segment/m2", "a1", "u1"), ("segment/m3", "a2", "u2")]
    # One that is dated between the two moves the later of them.
    write_lines(folder / "groups" / "3.jsonl", group("g3", "u1", "a2", "05"), group("g4", "u1", "a1", "01"))
    assert [day.day for day in run().touched_days] == [9]
    assert [account for _, account, _ in staged(source_loads)] == ["a1", "a2", "a2"]


def test_an_anonymous_visitor_who_signs_up_brings_what_came_before(source_loads, segment):
    folder, run = segment()
    write_lines(folder / "events" / "1.jsonl", {**CALL, "userId": None, "context": {}})
    report = run()
    assert (report.read, report.by_rule) == (1, {"anonymous": 1})
    told = {"type": "identify", "messageId": "i", "anonymousId": "x1", "userId": "u1", "context": {"groupId": "a1"}}
    write_lines(folder / "events" / "2.jsonl", told)
    assert run().loaded == 1
    assert staged(source_loads) == [("segment/m1", "a1", "u1")]


def test_what_says_nothing_new_of_users_leaves_staged_events_alone(source_loads, segment):
    folder, run = segment()
    write_lines(folder / "events" / "1.jsonl", {**group("g1", "u1", "a1", "01"), "type": "group"})
    write_lines(folder / "tracks" / "1.jsonl", track("m1", "u1", "02"))
    run()
    write_lines(folder / "events" / "2.jsonl", {**group("g2", "u1", "a1", "03"), "type": "group"})
    write_lines(folder / "identifies.jsonl", {"messageId": "i", "userId": "u1", "traits": {"plan": "pro"}})
    write_lines(folder / "tracks" / "2.jsonl", track("m2", "u1", "04"))
    report = run()
    assert (report.restaged, report.read, report.loaded) == (False, 1, 1)
    assert [account for _, account, _ in staged(source_loads)] == ["a1", "a1"]


def test_a_group_whose_trait_names_another_account_takes_its_events_along(source_loads, segment):
    folder, run = segment()
    source = SegmentSettings(system="segment", path=folder)
    write_lines(folder / "tracks.jsonl", track("m1", "u1", "02", context={"groupId": "g"}))
    for account in ("a1", "a2"):
        described = {"messageId": account, "groupId": "g", "traits": {"account_id": account}}
        write_lines(folder / "groups" / f"{account}.jsonl", described)
        load(source_loads, source)
        stage(source_loads, source)
        assert staged(source_loads) == [("segment/m1", account, "u1")]
    assert run().by_reason == {"unknown_account": 1}


def nested(path: str, value: Any) -> dict[str, Any]:
    """A record with one value at a path with dots."""
    first, _, rest = path.partition(".")
    return {first: nested(rest, value) if rest else value}


HELPER_FIELDS = [
    (kind.name, kind.tables[0], field)
    for kind in SEGMENT.kinds
    for field in kind.fields
    if kind.tables[0] != "events" or field.kind is FieldKind.TIME
]


def test_each_field_of_a_call_that_does_not_parse_rejects_it_with_its_text(source_loads, segment):
    folder, run = segment()
    expected: list[tuple[str, str]] = []
    for number, (kind, table, field) in enumerate(HELPER_FIELDS):
        text = f"{{wrong {number}"
        call = {"type": kind, "userId": "u1", "groupId": "a2", **nested(field.name, text)}
        write_lines(folder / table / f"{number}.jsonl", call)
        expected.append((field.name, text))
    write_lines(folder / "groups" / "right.jsonl", group("g", "u1", "a1", "01"))
    columns = {"happened": "timestamp", "original": "originalTimestamp", "sent": "sentAt", "received": "receivedAt"}
    for number, path in enumerate(columns.values()):
        text = f"2026-06-3{number + 1}"
        write_lines(folder / "tracks" / f"{number}.jsonl", {**track(f"m{number}", "u1", "02"), path: text})
        expected.append(("occurred_at", text))
    write_lines(folder / "tracks" / "right.jsonl", track("m", "u1", "02"))
    report = run()
    assert (report.rejected, report.loaded) == (len(expected), 1)
    found = source_loads.rows("select field, value from quarantine.usage_events")
    assert sorted(map(str, found)) == sorted(map(str, expected))
    # None of the rejected calls moved the user.
    assert staged(source_loads) == [("segment/m", "a1", "u1")]


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("column", ["timestamp", "original_timestamp", "sent_at", "received_at"])
def test_an_offset_is_honoured_on_either_side_of_midnight(source_loads, segment, form, column):
    folder, run = segment()
    (folder / "tracks").mkdir()
    (folder / "groups").mkdir()
    # In UTC: the last second of the 9th and the first of the 11th.
    local = {"before": "2026-06-10 01:59:59+02", "after": "2026-06-10 22:00:00-02"}
    given_times = {"timestamp": ("timestamp",), "received_at": ("received_at",)}.get(
        column, ("original_timestamp", "sent_at", "received_at")
    )
    for name, text in local.items():
        stated = [f"timestamptz '{text}' as {one}" for one in given_times]
        if form != "parquet":
            stated = [f"'{text}:00' as {one}" for one in given_times]
        options = {"jsonl": "(format json)"}.get(form, f"(format {form})")
        with duckdb.connect() as connection:
            connection.execute(
                f"copy (select '{name}' as id, 'u' as user_id, 'used' as event, 'a1' as context_group_id, "
                f"{', '.join(stated)}) to '{folder}/tracks/{name}.{form}' {options}"
            )
            connection.execute(
                f"copy (select 'g{name}' as id, 'u' as user_id, 'a1' as group_id, {', '.join(stated)}) "
                f"to '{folder}/groups/{name}.{form}' {options}"
            )
    assert run().loaded == 2
    times = {"segment/before": "2026-06-09 23:59:59", "segment/after": "2026-06-11 00:00:00"}
    assert dict(source_loads.rows("select event_id, occurred_at::varchar from staging.stg_usage_events")) == times
    calls = source_loads.rows("select stated_at::varchar from staging.segment_calls order by 1")
    assert calls == [(at,) for at in times.values()]


PEOPLE = ("u1", "u2", None)
VISITORS = ("x1", "x2", None)
TIMES = ("2026-06-01T00:00:00Z", "2026-06-05T01:00:00+02:00", 1780617600, "never", "", None)


def random_call(draw: random.Random, day: int) -> dict[str, Any]:
    kind = draw.choice(("track", "track", "track", "page", "identify", "group", "alias"))
    call: dict[str, Any] = {"type": kind, "userId": draw.choice(PEOPLE), "anonymousId": draw.choice(VISITORS)}
    call["messageId"] = draw.choice((None, *(f"{kind}{number}" for number in range(6))))
    call |= {"timestamp": draw.choice(TIMES), "receivedAt": draw.choice(("never", *[f"2026-06-{day:02}"] * 5))}
    if kind in ("track", "page"):
        call |= {"event": "used", "context": draw.choice(({}, {}, {"groupId": "g1"}, {"groupId": "ignored"}))}
    elif kind == "identify":
        call["traits"] = draw.choice(({}, {"email": "x@one.example"}, {"email": "x@two.example"}, "{"))
    elif kind == "group":
        call |= {
            "groupId": draw.choice(("g1", "g2")),
            "traits": draw.choice(({}, {"account_id": "a1"}, {"account_id": "a2"})),
        }
    return {name: value for name, value in call.items() if value is not None}


@pytest.mark.parametrize("seed", [0, 1, 2, 3, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 20))])
def test_events_that_come_load_by_load_are_staged_as_if_they_came_at_once(source_loads, segment, seed):
    draw = random.Random(seed)
    folder, _ = segment()
    without_group = draw.choice(("match", "ignore"))
    source = SegmentSettings(system="segment", path=folder, without_group=without_group)
    domains = source_loads.write("domains.csv", "account_id,domain\na1,one.example\na2,two.example\n")
    customers = source_loads.write("map.csv", "system,external_id,account_id\nsegment,ignored,\n")
    mapped = IdentitySettings(account_domains=domains, account_map=customers)
    everything = "select * exclude (_loaded_at) from staging.stg_usage_events order by all"
    for number in range(5):
        write_lines(
            folder / "events" / f"{number}.jsonl", *(random_call(draw, number + 10) for _ in range(draw.randint(1, 12)))
        )
        load(source_loads, source)
        report = stage(source_loads, source, identity_settings=mapped)
        assert report.read == report.loaded + report.rejected + report.superseded + report.ignored
    by_loads = source_loads.rows(everything)
    source_loads.connection.execute("delete from run.staged_loads where entity = 'usage_events'")
    source_loads.connection.execute("delete from staging.stg_usage_events")
    report = stage(source_loads, source, identity_settings=mapped)
    assert report.restaged
    assert report.read == report.loaded + report.rejected + report.superseded + report.ignored
    assert source_loads.rows(everything) == by_loads


def test_a_call_that_is_stated_again_moves_the_events_of_its_user(source_loads, segment):
    folder, run = segment()
    write_lines(folder / "events" / "1.jsonl", {**group("g", "u1", "a1", "01"), "type": "group"})
    write_lines(folder / "events" / "2.jsonl", {**group("h", "u1", "a2", "05"), "type": "group"})
    write_lines(folder / "tracks.jsonl", track("m1", "u1", "09"))
    run()
    assert staged(source_loads) == [("segment/m1", "a2", "u1")]
    # The second call again, corrected: nothing remains of what it stated.
    write_lines(folder / "events" / "3.jsonl", {**group("h", "u1", "a1", "05"), "type": "group"})
    assert run().restaged
    assert staged(source_loads) == [("segment/m1", "a1", "u1")]


def test_a_trait_that_is_stated_as_it_was_before_takes_the_events_back(source_loads, segment):
    folder, _ = segment()
    source = SegmentSettings(system="segment", path=folder)
    write_lines(folder / "tracks.jsonl", track("m1", "u1", "02", context={"groupId": "g"}))
    for number, account in enumerate(("a1", "a2", "a1")):
        described = {"type": "group", "messageId": f"g{number}", "groupId": "g", "traits": {"account_id": account}}
        write_lines(folder / "events" / f"{number}.jsonl", described)
        load(source_loads, source)
        stage(source_loads, source)
        assert staged(source_loads) == [("segment/m1", account, "u1")]


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"features": [{"event": "Used"}]}, r"sources\.0\.features\.0: the rule has no effect; set `feature`"),
        ({"features": [{"event": "Used", "feature": "f", "values": {"a": "b"}}]}, "requires `property`"),
        ({"features": [{"event": "Used", "property": "a[0]"}]}, r"features\.0\.property: String should match"),
        ({"features": [{"event": "Used", "faeture": "f"}]}, "did you mean 'feature'"),
        ({"without_group": "drop"}, "'match' or 'ignore'"),
        ({"login_event": ["x"]}, "did you mean 'login_events'"),
        ({"tables": {"path": "x"}}, "exactly one of path, tables; found path and tables"),
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
    with pytest.raises(SourceError, match=r"no segment records found.*events, tracks\. Found: identifies"):
        SEGMENT.check(SegmentSettings(system="segment", path=tmp_path))
    with pytest.raises(SourceError, match="does not exist"):
        SEGMENT.check(SegmentSettings(system="segment", path=tmp_path / "nowhere"))


@pytest.mark.slow
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


TEXTS: dict[str, Any] = {
    "properties": {"page": "billing", "note": 'a "quoted" {brace}', "n": 12345678901234567890123},
    "context": {"groupId": "g2", "traits": {"company": {"id": "g3"}}},
    "user": {"id": "u7"},
}


def as_json_text(call: dict[str, Any], depth: int) -> dict[str, Any]:
    """The call with its objects as JSON text, down to a depth."""
    return {
        name: json.dumps(as_json_text(value, depth - 1)) if isinstance(value, dict) and depth else value
        for name, value in call.items()
    }


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_a_call_whose_objects_are_json_text_is_read_as_one_with_objects(source_loads, segment, form):
    folder, run = segment()
    at = "2026-06-01T10:00:00Z"
    calls: list[dict[str, Any]] = []
    for depth in (1, 2, 3):
        call = {"type": "track", "event": "Viewed", "timestamp": at, **TEXTS}
        calls += [{**call, "messageId": f"o{depth}"}, {**as_json_text(call, depth), "messageId": f"t{depth}"}]
    # The user may be an id instead of an object.
    calls.append({"type": "track", "event": "Viewed", "timestamp": at, "userId": "u1", "messageId": "m", "user": "u1"})
    if form == "jsonl":
        write_lines(folder / "tracks.jsonl", *calls)
    else:
        rows = [as_json_text(call, 1) for call in calls]
        names = list(dict.fromkeys(name for row in rows for name in row))
        columns = ", ".join(f"{name} varchar" for name in map(sql_quoted, names))
        source_loads.connection.execute(f"create temp table calls ({columns})")
        values = [[row.get(name) for name in names] for row in rows]
        source_loads.connection.executemany(f"insert into calls values ({', '.join('?' * len(names))})", values)
        source_loads.connection.execute(f"copy calls to '{folder}/tracks.{form}'")
    report = run()
    assert report.read == 7
    assert "invalid_json" not in report.by_reason
    opened = {
        str(message): rest
        for message, *rest in source_loads.rows(
            "select message_id, user_id, group_id, record ->> '$.properties.page', record ->> '$.properties.note', "
            "record ->> '$.properties.n', record ->> '$.context.traits.company.id' from raw.segment__tracks"
        )
    }
    for depth in (1, 2, 3):
        assert opened[f"t{depth}"] == opened[f"o{depth}"]
    assert opened["t1"] == ["u7", "g2", "billing", 'a "quoted" {brace}', "12345678901234567890123", "g3"]


@pytest.mark.parametrize(("table", "form"), [("tracks", "csv"), ("tracks", "jsonl"), ("events", "jsonl")])
def test_text_that_is_not_json_rejects_the_call_with_its_text(source_loads, segment, table, form):
    folder, run = segment()
    paths = ("properties", "context", "traits", "user", "context.traits")
    call = {"type": "track", "event": "Viewed", "timestamp": "2026-06-01T10:00:00Z", "userId": "u1"}
    calls = [{**call, "messageId": path, **nested(path, "{bad")} for path in paths]
    calls += [{**call, "messageId": f"blank {path}", **nested(path, " ")} for path in paths]
    if form == "jsonl":
        write_lines(folder / f"{table}.jsonl", *calls)
    else:
        names = list(dict.fromkeys(name for one in calls for name in one))
        texts = [[as_json_text(one, 1).get(name, "") for name in names] for one in calls]
        lines = [",".join('"' + str(text).replace('"', '""') + '"' for text in row) for row in [names, *texts]]
        (folder / f"{table}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    report = run()
    assert (report.read, report.by_reason["invalid_json"]) == (10, 5)
    found = source_loads.rows(
        "select value, raw_text like '%bad%' from quarantine.usage_events where reason = 'invalid_json' order by 1"
    )
    assert found == [(f"{path} is not a JSON object: {{bad", True) for path in sorted(paths)]
