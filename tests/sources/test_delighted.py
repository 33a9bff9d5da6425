"""Delighted: its API over real HTTP, its exports as files, and a whole run."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from assets.staging import upstream_of
from csm_core.accounts import account_map
from csm_core.config import Config
from csm_core.errors import ConfigError, SourceError, SourceUnavailableError
from csm_core.sources.delighted import DELIGHTED
from csm_core.sources.settings import DelightedApi, DelightedSettings
from csm_core.sources.source_settings import write_source_settings
from csm_core.staging.gate import StageReport, stage_entity
from csm_core.staging.vendor_records import build_records
from csm_core.warehouse.materialize import build_model
from csm_core.warehouse.models import staging_models, staging_steps
from tests.sources.test_stripe import JUNE, write_company, write_lines
from tests.sql.test_staging_cases import in_order
from tests.web_server import Answer, Asked, WebServer, drop, refuse, serving

KEY = "delighted_key_12345"


class Delighted(WebServer):
    """Serves answers as Delighted does: limited by when they came or changed, in that order, by page."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[dict[str, Any]] = []
        self.refuse_since: int | None = None

    def respond(self, asked: Asked) -> Answer:
        query = asked.query
        if asked.path != "/v1/survey_responses.json":
            return Answer({}, 404)
        by = "updated_at" if "updated_since" in query else "created_at"
        since = int(query.get("updated_since", query.get("since", "0")))
        if self.refuse_since == since:
            return Answer({"message": f"no, {KEY}"}, 422)
        found = [one for one in self.answers if one[by] is not None and _order(one[by]) >= since]
        found.sort(key=lambda one: _order(one[by]))
        start = (int(query.get("page", "1")) - 1) * int(query["per_page"])
        return Answer(found[start : start + int(query["per_page"])])


def _order(stated: Any) -> int:
    """The place of a time in the order; text comes last."""
    return stated if isinstance(stated, int) else 2**40


def answer(number: int, created: int, **more: Any) -> dict[str, Any]:
    person = {"id": str(number % 7), "email": f"p{number % 7}@one.example", "name": "P"}
    stated = {"id": str(number), "person": person, "survey_type": "nps", "score": number % 11, "comment": "fine"}
    return {**stated, "created_at": created, "updated_at": None, "person_properties": {"account_id": "a1"}, **more}


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Delighted]:
    monkeypatch.setenv("DELIGHTED_API_KEY", KEY)
    made = Delighted()
    # 150 of them within one second: more than a page.
    made.answers = [answer(number, JUNE + max(0, number - 150)) for number in range(320)]
    with serving(made):
        yield made


def settings(vendor: Delighted, **more: Any) -> DelightedSettings:
    return DelightedSettings(system="delighted", api=DelightedApi(base_url=vendor.url, **more))


def load(source_loads, source: DelightedSettings, folder: Path) -> None:
    DELIGHTED.load(
        source_loads.connection, [source], loaded_at=source_loads.now, folder=folder / "sources", log=source_loads.log
    )


def ids(source_loads) -> int:
    return int(
        str(source_loads.rows("select count(distinct record ->> '$.id') from raw.delighted__survey_responses")[0][0])
    )


def test_answers_are_read_page_by_page_through_failures_and_then_what_came_and_what_changed(
    vendor, source_loads, tmp_path
):
    vendor.failures = [refuse(429, Retry_After="1"), drop]
    load(source_loads, settings(vendor), tmp_path)
    assert ids(source_loads) == 320
    login = base64.b64encode(f"{KEY}:".encode()).decode()
    assert {one.headers["Authorization"] for one in vendor.asked} == {f"Basic {login}"}
    assert {one.query["expand[]"] for one in vendor.asked} == {"person"}
    vendor.asked.clear()
    vendor.answers[5] |= {"score": 0, "updated_at": JUNE + 90_000}
    vendor.answers.append(answer(1_000, JUNE + 80_000))
    load(source_loads, settings(vendor), tmp_path)
    assert ids(source_loads) == 321
    changed = "select record ->> '$.score' from raw.delighted__survey_responses where record ->> '$.id' = '5'"
    assert source_loads.rows(f"{changed} order by _load_id desc limit 1") == [("0",)]
    assert len(vendor.asked) == 2


@pytest.mark.parametrize("text", ["soon", "2026-06-01", "NaN", [1]])
def test_an_answer_whose_time_is_not_a_number_is_an_error_that_names_it(vendor, source_loads, tmp_path, text):
    vendor.answers = [answer(1, 100), answer(2, 200) | {"created_at": text}]
    with pytest.raises(SourceError, match=r"created_at .* in response '2'; expected seconds since 1970"):
        load(source_loads, settings(vendor), tmp_path)


def test_a_pull_that_ends_in_the_middle_goes_on_there(vendor, source_loads, tmp_path, monkeypatch):
    monkeypatch.setattr("csm_core.sources.pull.PAGES_PER_PACKAGE", 1)
    vendor.refuse_since = JUNE + 49
    with pytest.raises(SourceError, match=r"rejects the request /v1/survey_responses.json \(status 422\)") as caught:
        load(source_loads, settings(vendor), tmp_path)
    assert KEY not in str(caught.value)
    vendor.refuse_since = None
    vendor.asked.clear()
    load(source_loads, settings(vendor), tmp_path)
    assert (vendor.asked[0].query["since"], ids(source_loads)) == (str(JUNE + 49), 320)


def test_the_connection_is_looked_at_and_what_is_missing_is_named(vendor, monkeypatch, tmp_path):
    assert DELIGHTED.check(settings(vendor)) == f"{vendor.url} is reachable, the key in DELIGHTED_API_KEY is valid"
    vendor.failures = [refuse(401, {"message": f"bad key {KEY}"})]
    with pytest.raises(ConfigError, match="rejects the key in DELIGHTED_API_KEY") as rejected:
        DELIGHTED.check(settings(vendor))
    assert KEY not in str(rejected.value)
    vendor.failures = [refuse(200, {"an": "object"})]
    with pytest.raises(SourceUnavailableError, match="not a JSON list; check `base_url`"):
        DELIGHTED.check(settings(vendor))
    monkeypatch.delenv("DELIGHTED_API_KEY")
    with pytest.raises(ConfigError, match="DELIGHTED_API_KEY is not set"):
        DELIGHTED.check(settings(vendor))
    with pytest.raises(SourceError, match=r"no delighted records found.*survey_responses\. Found: nothing"):
        DELIGHTED.check(DelightedSettings(system="delighted", path=tmp_path))


def stage(source_loads, source: DelightedSettings, folder: Path, percent: float = 100) -> StageReport:
    """What a run does from the source to the staged answers."""
    connection, config = source_loads.connection, Config(sources=(source,))
    source_loads.now += timedelta(hours=1)
    load(source_loads, source, folder)
    write_source_settings(connection, "delighted", [source])
    build_records(connection, "delighted", DELIGHTED.kinds, DELIGHTED.raw_tables)
    steps, models = staging_steps("delighted"), staging_models("delighted")
    for step in in_order(steps):
        build_model(connection, step, {})
    account_map.load(connection, config, loaded_at=source_loads.now, log=source_loads.log)
    account_map.build(connection, config, ["delighted"])
    return stage_entity(
        connection,
        "nps_responses",
        [("delighted", models["nps_responses"].sql)],
        staged_at=source_loads.now,
        max_rejected_percent=percent,
        upstream={"delighted": upstream_of(config, "delighted", steps, models)},
    )


@pytest.fixture
def exports(source_loads, tmp_path) -> tuple[DelightedSettings, Path]:
    """Settings and a folder for exports, beside a company of two accounts."""
    source_loads.write_company()
    source_loads.load()
    source_loads.stage("accounts")
    folder = tmp_path / "delighted"
    return DelightedSettings(system="delighted", path=folder, without_account="ignore"), folder


@pytest.mark.parametrize("field", ["score", "created_at", "updated_at"])
@pytest.mark.parametrize("text", ["6/1/2026", "2026-02-30", "nine", "1e5", "9.5"])
def test_what_does_not_parse_is_rejected_with_its_text(source_loads, exports, tmp_path, field, text):
    source, folder = exports
    write_lines(folder / "survey_responses.jsonl", answer(1, JUNE, **{field: text}), answer(2, JUNE))
    report = stage(source_loads, source, tmp_path)
    assert (report.read, report.loaded, report.rejected) == (2, 1, 1)
    name = "responded_at" if field == "created_at" else field
    assert source_loads.rows("select field, value from quarantine.nps_responses") == [(name, text)]


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_an_offset_is_honoured_on_either_side_of_midnight(source_loads, exports, tmp_path, form):
    source, folder = exports
    (folder / "survey_responses").mkdir(parents=True)
    local = {"before": "2026-06-10 01:59:59+02", "after": "2026-06-10 22:00:00-02"}
    for name, text in local.items():
        at = f"timestamptz '{text}'" if form == "parquet" else f"'{text}:00'"
        options = "(format json)" if form == "jsonl" else f"(format {form})"
        with duckdb.connect() as connection:
            connection.execute(
                f"copy (select '{name}' as id, 7 as score, 'a1' as account_id, {at} as created_at, {at} as updated_at) "
                f"to '{folder}/survey_responses/{name}.{form}' {options}"
            )
    assert stage(source_loads, source, tmp_path).loaded == 2
    times = {"delighted/before": "2026-06-09 23:59:59", "delighted/after": "2026-06-11 00:00:00"}
    for column in ("responded_at", "_version"):
        found = source_loads.rows(f"select response_id, {column}::varchar from staging.stg_nps_responses")
        assert dict(found) == times


@pytest.mark.parametrize("seed", range(8))
def test_every_answer_is_accounted_for_and_the_one_changed_last_counts(source_loads, exports, tmp_path, seed):
    draw = random.Random(seed)
    source, folder = exports
    expected: dict[str, tuple[int, int]] = {}
    for number in range(3):
        given: list[dict[str, Any]] = []
        for _ in range(draw.randint(1, 15)):
            name, changed, score = str(draw.randint(1, 4)), draw.randint(1, 10**6), draw.randint(0, 10)
            made = answer(int(name), JUNE, score=score, updated_at=JUNE + changed)
            fault = draw.choice(("none", "none", "score", "time", "properties", "survey", "nobody"))
            if fault == "none":
                expected[name] = max(expected.get(name, (0, 0)), (changed, score))
            elif fault == "survey":
                made |= {"id": f"csat{name}", "survey_type": "csat", "created_at": "never"}
            elif fault == "nobody":
                made |= {"id": f"free{name}", "person_properties": {}}
            else:
                key = {"score": "score", "time": "created_at", "properties": "person_properties"}[fault]
                made[key] = "wrong"
            given.append(made)
        write_lines(folder / "survey_responses" / f"{number}.jsonl", *given)
        report = stage(source_loads, source, tmp_path)
        assert report.read == report.loaded + report.rejected + report.superseded + report.ignored
        assert set(report.by_rule) <= {"without_account", "survey_type csat"}
        found = source_loads.rows("select response_id, score from staging.stg_nps_responses order by 1")
        assert found == [(f"delighted/{name}", score) for name, (_, score) in sorted(expected.items())]


def test_answers_of_no_account_are_rejected_unless_the_settings_ignore_them(source_loads, exports, tmp_path):
    source, folder = exports
    free = [answer(number, JUNE, person_properties={}) for number in range(9)]
    write_lines(folder / "survey_responses.jsonl", answer(10, JUNE), *free)
    with pytest.raises(SourceError, match="9 of 10 new records rejected"):
        stage(source_loads, source.model_copy(update={"without_account": "match"}), tmp_path, percent=5)
    report = stage(source_loads, source, tmp_path, percent=5)
    assert (report.read, report.loaded, report.by_rule) == (10, 1, {"without_account": 9})


@pytest.mark.slow
def test_an_export_gives_the_score_of_each_day_and_refuses_what_is_no_score(tmp_path, company):
    exports = tmp_path / "delighted" / "survey_responses"
    exports.mkdir(parents=True)
    (exports / "1.csv").write_text(
        "Response ID,Person ID,Email,Survey Type,Score,Comment,Created At,Updated At,Account ID\n"
        '1,10,x@one.example,NPS,9,"good, really",2026-06-10 08:00:00 UTC,,a1\n'
        "2,11,y@one.example,NPS,2,,2026-06-11 08:00:00 UTC,,\n"
        "3,12,z@one.example,CSAT,1,,2026-06-11 08:00:00 UTC,,a1\n"
        "4,13,z@one.example,NPS,12,,2026-06-11 08:00:00 UTC,,a1\n"
    )
    # The same answer, thought over; as the API has it.
    changed = answer(2, JUNE + 10 * 86_400, score=5, updated_at=JUNE + 20 * 86_400, person="11", person_properties={})
    write_lines(exports / "2.jsonl", changed)
    domains = tmp_path / "domains.csv"
    domains.write_text("account_id,domain\na1,one.example\n")
    write_lines(tmp_path / "delighted" / "people.jsonl", {"id": "11", "email": "y@one.example"})
    made = company(
        write_company(tmp_path / "company"),
        sources=[
            {"system": "files", "path": str(tmp_path / "company")},
            {"system": "delighted", "path": str(tmp_path / "delighted"), "account_key": "Account ID"},
        ],
        identity={"account_domains": str(domains)},
        checks={"max_silent_days": 60},
        max_rejected_percent=50,
    )
    done = made.csm("run", "--as-of", "2026-06-30", "--no-publish")
    assert done.returncode == 0, done.stdout + done.stderr
    assert made.query("select nps_score from marts.csm_health_signals where account_id = 'a1'") == [(7,)]
    assert made.query("select field, reason, value from quarantine.nps_responses") == [("score", "out_of_range", "12")]
