"""Records that arrive after their day was run: the next daily run takes them up, or says which run would."""

import csv
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from csm_core.contract import ENTITIES
from csm_core.operations.run_report import run_report
from csm_core.operations.run_report_text import report_lines
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.late_changes import LateRecords, TouchedDays, days_touched_by_late_records
from csm_core.warehouse.models import load_models
from pipelines.build import build_defs
from pipelines.run import run_days
from tests import in_process
from tests.conftest import Company, make_company, tables

FILES = {
    "accounts.csv": "account_id,account_name,plan,created_at,churned_at\n"
    "a1,Ahlers,pro,2025-01-01,\na2,Bolt,pro,2025-01-01,\n",
    "features.csv": "feature,module\nreports,core\n",
    # The renewal's review falls due on 2026-06-28, the first day within 90 days.
    "subscriptions.csv": "subscription_id,account_id,seats,mrr,currency,started_at,renews_at\n"
    "s1,a1,5,100,USD,2025-09-26,2026-09-26\n",
    "tickets.csv": "ticket_id,account_id,opened_at,solved_at,sentiment\nt1,a1,2026-05-01,,neutral\n",
    "usage_events.csv": "event_id,account_id,user_id,event_name,feature,occurred_at\n"
    + "".join(f"e{day},a1,u1,login,reports,2026-06-{day:02}T10:00:00Z\n" for day in range(1, 31)),
}


@dataclass(frozen=True)
class Prepared:
    """A company of two accounts, run for the days 2026-06-24 to 2026-06-29, and a copy of it as it was then."""

    company: Company
    copy: Path


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Prepared:
    base = tmp_path_factory.mktemp("late") / "base"
    records = base / "records"
    records.mkdir(parents=True)
    for name, content in FILES.items():
        (records / name).write_text(content, encoding="utf-8")
    company = make_company(base, records, checks={"max_mean_score_swing": 100, "max_rag_changed_percent": 100})
    run = ("run", "--from", "2026-06-24", "--to", "2026-06-29", "--no-publish")
    result = in_process.csm(*run, folder=company.folder, environment=company.environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return Prepared(company, Path(shutil.copytree(base, base.with_name("copy"))))


@pytest.fixture
def late(prepared, monkeypatch) -> Company:
    """The prepared company, as it was before any test; its records are in ``records``."""
    base = prepared.company.folder.parent
    shutil.rmtree(base)
    # With the times of the files: they are the ones that have been loaded.
    shutil.copytree(prepared.copy, base)
    monkeypatch.setenv("DAGSTER_HOME", str(prepared.company.folder / "dagster_home"))
    return prepared.company


def records_of(company: Company) -> Path:
    return company.folder.parent / "records"


def ran(company: Company, first: str, last: str | None = None, **more: Any) -> str:
    """Run days as `csm run` does, and give its report."""
    days = (date.fromisoformat(first), date.fromisoformat(last or first))
    outcome = run_days(company.config, days, publish=False, **more)
    report = "\n".join(report_lines(run_report(outcome, Warehouse.from_config(company.config), days, 0.0)))
    assert outcome.succeeded, report
    return report


def arrive(company: Company, entity: str, text: str) -> None:
    """Append lines to an entity's file."""
    with (records_of(company) / f"{entity}.csv").open("a", encoding="utf-8") as stream:
        stream.write(text)


def correct(company: Company, entity: str, key: str, values: Mapping[str, str]) -> None:
    """Change a record in its file."""
    file = records_of(company) / f"{entity}.csv"
    rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows([row | values if next(iter(row.values())) == key else row for row in rows])


def column(company: Company, name: str, account: str = "a2") -> dict[str, object]:
    return {
        str(day): value
        for day, value in company.query(
            f"select as_of_date, {name} from marts.csm_health_signals where account_id = '{account}' order by 1"
        )
    }


def lacking(company: Company, day: str, limit: int = 3) -> TouchedDays:
    with duckdb.connect(str(company.config.warehouse), read_only=True) as connection:
        return days_touched_by_late_records(connection, date.fromisoformat(day), limit)


def test_a_late_event_is_taken_up_by_the_next_daily_run_which_says_so(late, tmp_path):
    arrive(late, "usage_events", "late1,a2,u9,login,reports,2026-06-29T23:59:59.999999Z\n")
    before = column(late, "login_frequency_days")
    said = ran(late, "2026-06-30")
    assert "Late       1 usage_event dated 2026-06-29 arrived after the day was processed; 2026-06-29" in said
    assert "rebuilt" in said
    after = column(late, "login_frequency_days")
    assert before["2026-06-29"] is None
    assert after["2026-06-29"] == 90
    assert {day: after[day] for day in before if day < "2026-06-29"} == {
        day: value for day, value in before.items() if day < "2026-06-29"
    }
    # Every mart is what it would have been, had the record been there in time.
    straight = make_company(tmp_path, records_of(late))
    ran(straight, "2026-06-24", "2026-06-30")
    assert tables(late.config.warehouse) == tables(straight.config.warehouse)


@pytest.mark.slow
def test_a_warehouse_of_the_previous_version_goes_on_with_all_its_days(late, tmp_path):
    adoption = "select * exclude (window_days, display_name) from marts.csm_feature_adoption order by all"
    with duckdb.connect(str(late.config.warehouse)) as connection:
        as_the_previous_version_left_it(connection)
    arrive(late, "tickets", "t2,a1,2026-06-27T08:00:00Z,,critical\n")
    ran(late, "2026-06-30")
    straight = make_company(tmp_path, records_of(late))
    ran(straight, "2026-06-24", "2026-06-30")
    reviews = late.query("from marts.csm_qbr")
    assert [(row[1], row[2], str(row[4])) for row in reviews] == [("a1", "Renewal 2026-09-26", "2026-06-28")]
    for query in ("from marts.csm_qbr", "from marts.csm_review_signals order by all", adoption):
        assert late.query(query) == straight.query(query)
    assert late.query("select as_of_date, sum(users_28d) from marts.csm_feature_adoption_v0 group by 1 order by 1") == [
        (date(2026, 6, day), 1) for day in range(24, 31)
    ]


def as_the_previous_version_left_it(connection: duckdb.DuckDBPyConnection) -> None:
    """Take the steps of a review out of a warehouse, and give renamed columns their previous names."""
    models = [*load_models("intermediate").values(), *load_models("marts").values()]
    for model in models:
        if "_review_" in model.name:
            connection.execute(f"drop table {model.table}")
            connection.execute("delete from run.model_marks where model = ?", [model.table])
            connection.execute("delete from run.model_inputs where ? in (model, input)", [model.table])
        for name, previous in model.renamed.items():
            connection.execute(f"alter table {model.table} rename column {name} to {previous}")
    reads = ["staging.stg_subscriptions", "staging.stg_tickets", "marts.csm_health_scores"]
    connection.execute("insert into run.model_inputs select 'marts.csm_qbr', unnest(?::varchar[])", [reads])
    # The migration that renames these columns is number 10.
    connection.execute("delete from run.migrations where number >= 10")
    connection.execute("drop view marts.csm_feature_adoption_v0")
    connection.execute("alter table marts.csm_feature_adoption drop column window_days")
    for table in ("staging.stg_features", "intermediate.int_account_features", "marts.csm_feature_adoption"):
        connection.execute(f"alter table {table} drop column display_name")


@pytest.mark.slow
def test_the_same_day_again_materialises_nothing_more(late):
    arrive(late, "usage_events", "late1,a2,u9,login,reports,2026-06-28T12:00:00Z\n")
    assert "Late  " in ran(late, "2026-06-30")
    held = late.query("select as_of_date, scored_at from marts.csm_health_scores where as_of_date < '2026-06-30'")
    assert "Late  " not in ran(late, "2026-06-30")
    assert held == late.query(
        "select as_of_date, scored_at from marts.csm_health_scores where as_of_date < '2026-06-30'"
    )


@pytest.mark.slow
def test_only_the_days_that_lack_something_are_materialised_again(late):
    scored = "select as_of_date, max(scored_at) from marts.csm_health_scores group by 1"
    before = dict(late.query(scored))
    arrive(late, "usage_events", "late1,a2,u9,login,reports,2026-06-28T12:00:00Z\n")
    ran(late, "2026-06-30")
    after = dict(late.query(scored))
    assert {str(day) for day in before if before[day] != after[day]} == {"2026-06-28", "2026-06-29"}


@pytest.mark.slow
def test_nothing_is_late_when_records_come_in_time(late):
    arrive(late, "usage_events", "e30b,a2,u9,login,reports,2026-06-30T12:00:00Z\n")
    # Opened long ago, solved on the day that is run: no news about the days before.
    correct(late, "tickets", "t1", {"solved_at": "2026-06-30T09:00:00Z"})
    correct(late, "accounts", "a2", {"plan": "basic"})
    said = ran(late, "2026-06-30")
    assert "Late  " not in said
    assert "Note  " not in said
    assert not lacking(late, "2026-07-01")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("entity", "key", "values", "name", "first_changed"),
    [
        ("tickets", "t1", {"solved_at": "2026-06-28T09:00:00Z"}, "open_ticket_count", "2026-06-28"),
        ("usage_events", "e29", {"account_id": "a2"}, "login_frequency_days", "2026-06-29"),
        (
            "usage_events",
            "e30",
            {"occurred_at": "2026-06-28T01:00:00Z", "account_id": "a2"},
            "usage_trend",
            "2026-06-28",
        ),
    ],
)
def test_a_corrected_record_moves_the_days_from_which_it_differs(late, entity, key, values, name, first_changed):
    account = values.get("account_id", "a1")
    before = column(late, name, account)
    correct(late, entity, key, values)
    assert f"1 {entity.removesuffix('s')} dated {first_changed}" in ran(late, "2026-06-30")
    after = column(late, name, account)
    changed = [day for day in before if before[day] != after[day]]
    assert changed == [day for day in before if day >= first_changed]


@pytest.mark.slow
def test_an_account_that_turns_up_late_is_scored_from_its_first_day(late):
    arrive(late, "accounts", "a3,Corvin,pro,2026-06-28T08:00:00Z,\n")
    assert "1 account dated 2026-06-28" in ran(late, "2026-06-30")
    assert list(column(late, "open_ticket_count", "a3")) == ["2026-06-28", "2026-06-29", "2026-06-30"]


@pytest.mark.slow
def test_older_than_the_limit_is_kept_and_told_with_the_command_that_takes_it_up(late):
    arrive(late, "usage_events", "late1,a2,u9,login,reports,2026-06-26T12:00:00Z\n")
    before = column(late, "login_frequency_days")
    said = ran(late, "2026-06-30")
    assert "Late  " not in said
    assert "1 usage_event dated 2026-06-26 arrived after the day was processed, more than late_arrival_days (3)" in said
    command = "csm run --from 2026-06-26 --to 2026-06-29 --no-publish"
    assert command in said
    assert {day: value for day, value in column(late, "login_frequency_days").items() if day in before} == before
    assert lacking(late, "2026-06-30") == TouchedDays(
        beyond=tuple(date(2026, 6, day) for day in range(26, 30)),
        beyond_records=(LateRecords("usage_events", date(2026, 6, 26), 1),),
    )

    # The days are complete again, so the day after them is compared with them again.
    again = "Note       2026-06-30: transitions and reviews were rebuilt, compared with 2026-06-29"
    assert [line for line in ran(late, "2026-06-26", "2026-06-29").splitlines() if line.startswith("Note")] == [again]
    assert column(late, "login_frequency_days")["2026-06-26"] == 90
    assert "Note  " not in ran(late, "2026-06-30")
    assert not lacking(late, "2026-06-30")


@pytest.mark.slow
def test_the_limit_is_configuration(late):
    text = late.config_file.read_text(encoding="utf-8")
    late.config_file.write_text(text + "late_arrival_days: 4\n", encoding="utf-8")
    arrive(late, "usage_events", "late1,a2,u9,login,reports,2026-06-26T00:00:00Z\n")
    assert "2026-06-26 to 2026-06-29 rebuilt" in ran(late, "2026-06-30")


@pytest.mark.slow
def test_what_a_run_did_not_get_to_is_taken_up_by_the_next(late):
    arrive(late, "usage_events", "late1,a2,u9,login,reports,2026-06-29T12:00:00Z\n")
    # Cut short after the roll-up.
    raw = [f"raw_files__{entity}" for entity in ENTITIES]
    ran(late, "2026-06-30", select=[*raw, "stg_accounts", "stg_usage_events", "int_usage_daily"])
    assert lacking(late, "2026-06-30").within == (date(2026, 6, 29),)
    # Scores made of signals that lack the record must not pass for complete.
    ran(late, "2026-06-29", select=["csm_health_scores"])
    assert lacking(late, "2026-06-30").within == (date(2026, 6, 29),)
    assert "1 usage_event dated 2026-06-29" in ran(late, "2026-06-30")
    assert column(late, "login_frequency_days")["2026-06-29"] == 90
    assert not lacking(late, "2026-06-30")


@pytest.mark.slow
def test_what_a_killed_run_did_not_get_to_is_taken_up_by_the_next(late, tmp_path):
    arrive(late, "usage_events", "late1,a2,u9,login,reports,2026-06-29T12:00:00Z\n")
    process = late.start("run", "--as-of", "2026-06-30", "--no-publish")
    told = re.compile(r"staging +[0-9]+ done")
    for line in process.stdout:
        if told.search(line):
            break
    process.kill()
    process.wait(30)
    assert column(late, "login_frequency_days")["2026-06-29"] is None
    said = json.loads(late.csm("run", "--as-of", "2026-06-30", "--no-publish", "--json").stdout)
    assert said["late"] == {
        "materialised_again": ["2026-06-29", "2026-06-29"],
        "records": [{"entity": "usage_events", "day": "2026-06-29", "records": 1}],
    }
    straight = make_company(tmp_path, records_of(late))
    ran(straight, "2026-06-24", "2026-06-30")
    assert tables(late.config.warehouse) == tables(straight.config.warehouse)


@pytest.mark.slow
def test_dagsters_own_runs_do_the_same_and_report_it(late):
    arrive(late, "usage_events", "late1,a2,u9,login,reports,2026-06-29T12:00:00Z\n")
    arrive(late, "tickets", "t2,a2,2026-06-20,,negative\n")
    with dg.DagsterInstance.ephemeral() as instance:
        job = build_defs(late.config).resolve_job_def("backfill_scores")
        result = job.execute_in_process(instance=instance, partition_key="2026-06-30")
        assert result.success
        (scored,) = [
            event.materialization.metadata
            for event in result.get_asset_materialization_events()
            if event.asset_key == dg.AssetKey("csm_health_scores")
        ]
    assert scored["late_days_materialised_again"].value == "2026-06-29"
    assert scored["days_lacking_late_records"].value == "2026-06-24 to 2026-06-28"
    assert column(late, "login_frequency_days")["2026-06-29"] == 90
    assert column(late, "open_ticket_count") == dict.fromkeys([f"2026-06-{day}" for day in range(24, 29)], 0) | {
        "2026-06-29": 1,
        "2026-06-30": 1,
    }


def test_a_warehouse_without_any_run_lacks_nothing(tmp_path):
    with duckdb.connect(str(tmp_path / "fresh.duckdb")) as connection:
        assert not days_touched_by_late_records(connection, date(2026, 6, 30), 3)
