"""A day is complete or it is not: what is held or unfinished is not served, is asked for again, and flows on later."""

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from assets.context import ACCEPT, DO_NOT_PUBLISH, Pipeline
from csm_core.analysts.charts import rag_over_time
from csm_core.analysts.published_copy import publish_copy
from csm_core.analysts.whatif import what_if
from csm_core.errors import InputError
from csm_core.operations.run_outcome import RunOutcome
from csm_core.operations.run_report import run_report
from csm_core.operations.run_report_text import report_lines
from csm_core.publishing.notion.commands import accept_and_apply, plan
from csm_core.scoring.macros import create_macros
from csm_core.warehouse import day_status
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.models import load_models
from pipelines.build import build_defs
from pipelines.instance import shared_instance
from pipelines.run import run_days
from tests.conftest import Company, make_company

WIDE = {"max_mean_score_swing": 100, "max_rag_changed_percent": 100}
# Usage is delivered until 26 June, and on 1 July again: 30 June is held, since it is four days after the latest event.
USED = [date(2026, 6, day) for day in range(1, 27)] + [date(2026, 7, 1)]
FILES = {
    "accounts.csv": "account_id,account_name,plan,created_at\na1,Ahlers,pro,2025-01-01\na2,Bolt,pro,2025-01-01\n",
    "features.csv": "feature,module\nreports,core\n",
    # From 30 June on, a1 is much worse off.
    "tickets.csv": "ticket_id,account_id,opened_at,sentiment,escalated_at\n"
    + "".join(f"t{number},a1,2026-06-30T08:00:00Z,critical,2026-06-30T09:00:00Z\n" for number in range(6)),
    "usage_events.csv": "event_id,account_id,user_id,event_name,feature,occurred_at\n"
    + "".join(f"e{day},{account},u1,login,reports,{day}T10:00:00Z\n" for day in USED for account in ("a1",)),
}
BEFORE, HELD, AFTER = "2026-06-29", "2026-06-30", "2026-07-01"
STATUSES = "select as_of_date, status, failed_checks, accepted_by from run.days_status where as_of_date >= '{}'"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """Two accounts: 28 and 29 June are complete, 30 June is held."""
    base = tmp_path_factory.mktemp("days")
    (base / "records").mkdir()
    for name, content in FILES.items():
        (base / "records" / name).write_text(content, encoding="utf-8")
    # Between what a1 scores before 30 June and from then on.
    policies = [{"green_threshold": 75}]
    company = make_company(base, base / "records", checks=WIDE, policies=policies, transition_settle_days=1)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DAGSTER_HOME", str(company.folder / "dagster_home"))
        environment.delenv("NOTION_TOKEN", raising=False)
        for first, last, status in (("2026-06-28", BEFORE, 0), (HELD, HELD, 1)):
            outcome = run_days(company.config, (date.fromisoformat(first), date.fromisoformat(last)))
            assert outcome.exit_status == status, outcome
    return base


@pytest.fixture
def company(prepared, tmp_path, monkeypatch) -> Company:
    shutil.copytree(prepared, tmp_path / "base")
    folder = tmp_path / "base" / "company_0"
    settings = (folder / "csm.yaml").read_text().replace(str(prepared), str(tmp_path / "base"))
    (folder / "csm.yaml").write_text(settings)
    monkeypatch.setenv("DAGSTER_HOME", str(folder / "dagster_home"))
    monkeypatch.delenv("NOTION_TOKEN", raising=False)
    return Company(folder, folder / "csm.yaml")


def at(moment: str) -> datetime:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC)


def definitions_of(company: Company, now: str = "2026-07-02T07:00") -> dg.Definitions:
    return build_defs(
        company.config, Pipeline(company.config, Warehouse.from_config(company.config), clock=lambda: at(now))
    )


def ticked(
    company: Company, instance: dg.DagsterInstance, tick: str, job: str
) -> tuple[dg.RunRequest | None, str | None]:
    """What a tick of a job asks for, or why it skips."""
    definitions = definitions_of(company, tick)
    context = dg.build_schedule_context(
        instance=instance, scheduled_execution_time=at(tick), repository_def=definitions.get_repository_def()
    )
    found = definitions.get_schedule_def(f"{job}_schedule").evaluate_tick(context)
    return next(iter(found.run_requests or ()), None), found.skip_message


def asked(company: Company, instance: dg.DagsterInstance, tick: str, job: str = "daily_health") -> dg.RunRequest:
    """What a tick of a job asks for."""
    request, skipped = ticked(company, instance, tick, job)
    assert request, skipped
    return request


def days_asked(request: dg.RunRequest) -> tuple[str, str]:
    first = request.tags.get("dagster/asset_partition_range_start") or request.partition_key
    return first, request.tags.get("dagster/asset_partition_range_end") or request.partition_key


def carried_out(
    company: Company,
    instance: dg.DagsterInstance,
    first: str,
    last: str | None = None,
    job: str = "daily_health",
    select: Sequence[str] = (),
    **tags: str,
) -> dg.ExecuteInProcessResult:
    span = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last or first}
    found = definitions_of(company, "2026-07-05T07:00").get_repository_def().get_job(job)
    return found.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in select] or None,
        tags={**found.tags, **span, **tags},
        raise_on_error=False,
    )


def ran(company: Company, day: str, **more: Any) -> tuple[RunOutcome, str]:
    """Run a day as `csm run` does, and give its report."""
    span = (date.fromisoformat(day),) * 2
    outcome = run_days(company.config, span, **more)
    return outcome, "\n".join(report_lines(run_report(outcome, Warehouse.from_config(company.config), span, 0.0)))


def statuses(company: Company, since: str = BEFORE) -> dict[str, tuple[Any, ...]]:
    return {str(day): tuple(row) for day, *row in company.query(STATUSES.format(since))}


def copied(company: Company, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(Warehouse.from_config(company.config).published_path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def copied_days(company: Company) -> dict[str, set[str]]:
    """The days in every table of the copy that is kept by day."""
    tables = copied(
        company,
        "select table_name from duckdb_columns() where schema_name = 'marts' and column_name = 'as_of_date' "
        "and table_name not in ('csm_days', 'csm_day_roots')",
    )
    return {
        table: {str(day) for (day,) in copied(company, f"select distinct as_of_date from marts.{table}")}
        for (table,) in tables
    }


def transitions(company: Company) -> list[tuple[str, str]]:
    found = company.query("select account_id, as_of_date from marts.csm_rag_transitions order by all")
    return [(account, str(day)) for account, day in found]


def test_a_held_day_is_in_no_table_for_analysts_but_the_list_of_days(company):
    assert statuses(company)[HELD] == ("held", "usage_delivered", None)
    assert all(HELD not in found for found in copied_days(company).values())
    assert copied(
        company, f"select status, failed_checks, accounts from marts.csm_days where as_of_date = '{HELD}'"
    ) == [("held", "usage_delivered", 2)]
    for mart in ("csm_health_current", "csm_outcomes"):
        assert copied(company, f"select distinct as_of_date from marts.{mart}") == [(date(2026, 6, 29),)]
    assert company.query(f"select count(*) from marts.csm_health_scores where as_of_date = '{HELD}'") == [(2,)]
    advice = f"{HELD} is held by usage_delivered. Correct the records and rebuild it: csm run --as-of {HELD}. Or accept"
    for arguments in (
        ("explain", "a1", "--as-of", HELD),
        ("explain", "a1", "--since", HELD),
        ("notion", "plan", "--as-of", HELD),
    ):
        refused = company.csm(*arguments)
        assert refused.returncode == 2, refused.stdout
        assert advice in refused.stderr
    assert json.loads(company.csm("explain", "a1", "--json").stdout)["as_of_date"] == BEFORE
    assert plan(company.config).day == date(2026, 6, 29)
    with duckdb.connect(str(company.config.warehouse), read_only=True) as connection:
        assert [str(one.as_of_date) for one in what_if(connection, []).days] == [BEFORE]
        with pytest.raises(InputError, match="2026-06-30 is held by usage_delivered"):
            what_if(connection, [], date_to=date(2026, 6, 30))


@pytest.mark.slow
def test_the_next_tick_asks_for_a_held_day_again_which_does_not_block_the_new_day_and_flows_on_when_accepted(company):
    with shared_instance(company.config) as instance:
        # The daily run has reported the held day; its reviews are caught up when it counts.
        request, skipped = ticked(company, instance, "2026-07-01T08:00", "renewal_check")
        assert (request, skipped) == (
            None,
            f"{HELD} is held by usage_delivered. A later tick requests it when it is complete or accepted.",
        )
        request = asked(company, instance, "2026-07-02T07:00")
        assert days_asked(request) == (HELD, AFTER)
        result = carried_out(company, instance, *days_asked(request))
        assert result.success
        # The renewal check asks for the new day alone, since the day before it remains held.
        assert days_asked(asked(company, instance, "2026-07-02T08:00", "renewal_check")) == (AFTER, AFTER)
    # 30 June is judged again, and remains held; 1 July is compared with 29 June.
    assert statuses(company) == {
        BEFORE: ("complete", "", None),
        HELD: ("held", "usage_delivered", None),
        AFTER: ("complete", "", None),
    }
    by_day = {one.partition: one for one in result.get_asset_check_evaluations() if one.check_name == "usage_delivered"}
    assert {day: check.passed for day, check in by_day.items()} == {HELD: False, AFTER: True}
    assert by_day[HELD].severity == dg.AssetCheckSeverity.WARN
    assert f"{HELD} is still held. usage events stopped" in by_day[HELD].description
    assert transitions(company) == [("a1", AFTER)]
    assert all(HELD not in found for found in copied_days(company).values())
    with duckdb.connect(str(company.config.warehouse), read_only=True) as connection:
        (chart,) = rag_over_time(connection, (date(2026, 7, 1),) * 2).values()
    assert f"each of 3 scored days from 2026-06-28 to {AFTER}" in chart
    assert company.query("select distinct as_of_date from sync.notion_runs order by 1") == [
        (date(2026, 6, 29),),
        (date(2026, 7, 1),),
    ]

    for checks, said in (
        (["usage"], "unknown check usage"),
        (["portfolio_swing"], "portfolio_swing did not fail on 2026-06-30"),
    ):
        with pytest.raises(InputError, match=said):
            accept_and_apply(company.config, checks, "anna")
    with pytest.raises(InputError, match="2026-06-29 is complete: only a held day can be accepted"):
        accept_and_apply(company.config, ["usage_delivered"], "anna", date(2026, 6, 29))
    done = accept_and_apply(company.config, ["usage_delivered"], "anna")
    report = done.published
    # The newest day is published, not the accepted one, whose scores are older.
    assert (str(done.day), str(report.day), sum(report.created.values())) == (HELD, AFTER, 0)
    # The run of the newest day has evaluated its alerts already.
    assert (str(done.alerts.day), done.alerts.evaluated_days, done.alerts.delivery.sent) == (AFTER, 0, 0)
    # The accepted day counts now, so the date of the change differs on the account's page and in its record.
    assert {kind: pages for kind, pages in report.updated.items() if pages} == {
        "health": 1,
        "record": 1,
        "portfolio": 1,
    }
    assert statuses(company)[HELD] == ("accepted", "usage_delivered", "anna")
    assert company.query("select check_name, as_of_date, accepted_by from run.accepted_checks") == [
        ("usage_delivered", date(2026, 6, 30), "anna")
    ]
    # Its holes are filled, and the day after it is compared with it.
    assert transitions(company) == [("a1", HELD)]
    assert company.query(f"select sum(accounts) from marts.csm_portfolio_daily where as_of_date = '{HELD}'") == [(2,)]
    assert copied_days(company)["csm_health_scores"] == {"2026-06-28", BEFORE, HELD, AFTER}
    assert copied(
        company, "select previous_score from marts.csm_health_current where account_id = 'a1'"
    ) == company.query(f"select score from marts.csm_health_scores where account_id = 'a1' and as_of_date = '{HELD}'")
    with shared_instance(company.config) as instance:
        # An accepted day is done.
        assert days_asked(asked(company, instance, "2026-07-02T07:00")) == (AFTER, AFTER)
        assert days_asked(asked(company, instance, "2026-07-02T08:00", "renewal_check")) == (HELD, AFTER)


@pytest.mark.slow
def test_an_accepted_day_stays_accepted_when_it_is_built_again_in_a_range(company):
    with shared_instance(company.config) as instance:
        assert carried_out(company, instance, HELD, AFTER).success
        accept_and_apply(company.config, ["usage_delivered"], "anna", date.fromisoformat(HELD))
        assert days_asked(asked(company, instance, "2026-07-02T08:00", "renewal_check")) == (HELD, AFTER)
        assert carried_out(company, instance, HELD, AFTER, job="backfill_scores").success
    assert statuses(company)[HELD] == ("accepted", "usage_delivered", "anna")


@pytest.mark.slow
def test_a_day_whose_run_failed_is_unfinished_and_asked_for_again(company):
    # Cut short after the signals.
    steps = [*load_models("intermediate"), "csm_health_signals"]
    outcome, said = ran(company, AFTER, select=steps, publish=False)
    assert outcome.succeeded
    assert f"{AFTER} is unfinished" in said
    assert statuses(company)[AFTER] == ("building", "", None)
    outcome, said = ran(company, AFTER, select=["csm_health_scores", "csm_portfolio_daily"], publish=False)
    assert outcome.succeeded
    refused = company.csm("explain", "a1", "--as-of", AFTER)
    assert refused.returncode == 2
    assert f"{AFTER} is unfinished: its run is in progress or failed. Build it: csm run --as-of {AFTER}" in (
        refused.stderr
    )
    assert plan(company.config).day == date(2026, 6, 29)
    with shared_instance(company.config) as instance:
        assert days_asked(asked(company, instance, "2026-07-03T07:00")) == (HELD, "2026-07-02")
        # Its checks have passed, but another run does not count on it.
        assert carried_out(company, instance, "2026-07-02").success
        assert transitions(company) == [("a1", "2026-07-02")]
        assert all(AFTER not in found for found in copied_days(company).values())
        assert carried_out(company, instance, AFTER).success
    assert transitions(company) == [("a1", AFTER)]
    assert statuses(company)[AFTER][0] == "complete"


def test_a_run_killed_after_the_checks_leaves_the_copy_and_the_newest_day_as_they_were(company):
    reviews = ("csm_review_signals", "csm_qbr")
    killed_before = ("csm_days", "csm_analytics", "csm_feature_adoption", "csm_expansion_opportunities", *reviews)
    steps = [*load_models("intermediate"), *(name for name in load_models("marts") if name not in killed_before)]
    ran(company, AFTER, select=steps, publish=False)
    assert statuses(company)[AFTER][0] == "building"
    # Another run does not count on the day, and a copy that is written meanwhile does not show it.
    ran(company, AFTER, select=["csm_portfolio_daily", "csm_rag_transitions"], publish=False)
    assert company.query("select list(as_of_date) from run.uncounted_days") == [
        ([date(2026, 6, 30), date(2026, 7, 1)],)
    ]
    publish_copy(Warehouse.from_config(company.config), create_macros)
    assert all(not {HELD, AFTER} & found for found in copied_days(company).values())
    assert copied(company, "select distinct as_of_date from marts.csm_health_current") == [(date(2026, 6, 29),)]
    assert copied(company, f"select status from marts.csm_days where as_of_date = '{AFTER}'") == [("building",)]


@pytest.mark.slow
def test_a_held_day_is_accepted_by_a_tag_of_the_run(company):
    with shared_instance(company.config) as instance:
        wrong = carried_out(company, instance, HELD, **{ACCEPT: "usage"})
        assert not wrong.success
        assert statuses(company)[HELD][0] == "held"
        result = carried_out(company, instance, HELD, **{ACCEPT: "portfolio_swing, usage_delivered"})
        assert result.success
        assert days_asked(asked(company, instance, "2026-07-02T07:00")) == (AFTER, AFTER)
    assert statuses(company)[HELD] == ("accepted", "usage_delivered", "tag csm/accept")
    assert company.query("select check_name, accepted_by from run.accepted_checks") == [
        ("usage_delivered", "tag csm/accept")
    ]
    assert company.query("select max(as_of_date) from sync.notion_runs") == [(date(2026, 6, 30),)]


@pytest.mark.slow
def test_a_run_that_goes_on_from_the_failure_of_another_completes_its_days(company):
    first = [*load_models("intermediate"), "csm_health_signals", "csm_health_scores"]
    rest = [name for name in load_models("marts") if name not in (*first, "csm_review_signals", "csm_qbr")]
    with shared_instance(company.config) as instance:
        failed = carried_out(company, instance, AFTER, select=first)
        assert failed.success
        assert not carried_out(company, instance, AFTER, select=rest).success
        assert statuses(company)[AFTER][0] == "building"
        assert carried_out(company, instance, AFTER, select=rest, **{"dagster/root_run_id": failed.run_id}).success
    assert statuses(company)[AFTER] == ("complete", "", None)
    assert transitions(company) == [("a1", AFTER)]


@pytest.mark.slow
def test_a_complete_day_that_is_held_when_it_is_built_again_is_taken_back(company):
    settings = company.config_file.read_text(encoding="utf-8")
    company.config_file.write_text(settings.replace("checks:", "checks:\n  max_silent_days: 2"), encoding="utf-8")
    outcome, said = ran(company, BEFORE)
    assert outcome.exit_status == 1
    assert f"nothing: {BEFORE} is held by usage_delivered" in said
    assert {
        table: found - {"2026-06-28"} for table, found in copied_days(company).items() if found - {"2026-06-28"}
    } == {}
    assert copied(company, "select distinct as_of_date from marts.csm_health_current") == [(date(2026, 6, 28),)]


@pytest.mark.slow
def test_the_summary_says_why_nothing_was_published(company):
    _, said = ran(company, "2026-06-28")
    assert (
        "Published  nothing: 2026-06-28 is older than the newest complete day, 2026-06-29; only the newest day is"
        in said
    )
    assert f"           {HELD} is held by usage_delivered" in said
    _, said = ran(company, BEFORE, publish=False)
    assert "Published  nothing: publishing is disabled for this run (--no-publish or --dry-run)" in said
    _, said = ran(company, BEFORE, select=["csm_portfolio_daily"])
    assert "Published  nothing: the selected assets do not publish" in said
    outcome, said = ran(company, BEFORE, select=["notion_health_updates"])
    assert f"Published  {BEFORE} to the Notion sandbox (NOTION_TOKEN is not set)" in said
    outcome, said = ran(company, HELD, select=["notion_health_updates"])
    # Publishing a held day is refused, whatever is selected.
    assert outcome.exit_status == 2
    assert f"FAILED     notion_health_updates: {HELD} is held by usage_delivered" in said
    with shared_instance(company.config) as instance:
        assert carried_out(company, instance, BEFORE, **{DO_NOT_PUBLISH: "a later tick is due"}).success


@pytest.mark.parametrize(
    "job",
    ["renewal_check", *(pytest.param(job, marks=pytest.mark.slow) for job in ("daily_health", "backfill_scores"))],
)
def test_a_day_that_has_not_ended_is_neither_scored_nor_published(company, job):
    definitions = definitions_of(company, "2026-07-01T23:59")
    keys = definitions.resolve_asset_graph().get(dg.AssetKey("csm_health_scores")).partitions_def.get_partition_keys()
    assert keys[-1] == str(datetime.now(UTC).date() - timedelta(days=1))
    span = {"dagster/asset_partition_range_start": AFTER, "dagster/asset_partition_range_end": AFTER}
    with dg.DagsterInstance.ephemeral() as instance:
        found = definitions.get_repository_def().get_job(job)
        result = found.execute_in_process(instance=instance, tags=span, raise_on_error=False)
    assert not result.success
    said = " ".join(str(event.step_failure_data.error) for event in result.all_events if event.is_step_failure)
    assert f"{AFTER} has not ended yet (in UTC), so it cannot be scored or published. Choose {HELD}" in said
    assert AFTER not in statuses(company)


@pytest.mark.slow
def test_a_quarter_is_reviewed_on_its_first_morning_without_scoring_that_day(company):
    with shared_instance(company.config) as instance:
        tags = {"csm/accept": "usage_delivered", "csm/reviews_of_quarter_before": AFTER}
        assert carried_out(company, instance, HELD, job="quarterly_qbr", **tags).success
        assert AFTER not in statuses(company)
        reviews = "select account_id, period, as_of_date, health_end_date, trigger from marts.csm_qbr"
        wanted = [(f"a{number}", "Q2 2026", date(2026, 7, 1), date(2026, 6, 30), "quarterly") for number in (1, 2)]
        assert company.query(f"{reviews} order by 1") == wanted
        assert company.query("select count(*) from sync.notion_pages where kind = 'qbr'") == [(2,)]
        # The daily run of the day before is published, since no later day is scored.
        assert carried_out(company, instance, HELD, **{"csm/accept": "usage_delivered"}).success
        assert days_asked(asked(company, instance, "2026-07-02T07:00")) == (AFTER, AFTER)
        assert carried_out(company, instance, AFTER).success
        assert carried_out(company, instance, AFTER, job="renewal_check").success
    assert company.query(f"{reviews} order by 1") == wanted
    assert copied_days(company)["csm_qbr"] == {AFTER}


@pytest.mark.slow
def test_reviews_of_a_held_day_are_not_published(company):
    with shared_instance(company.config) as instance:
        result = carried_out(company, instance, HELD, job="renewal_check")
    failed = [event for event in result.all_events if event.is_step_failure]
    assert [event.step_key for event in failed] == ["csm_days"]
    assert f"{HELD} is held by usage_delivered" in str(failed[0].step_failure_data.error)
    assert company.query("select count(*) from sync.notion_pages where kind = 'qbr'") == [(0,)]


def test_days_of_an_earlier_version_are_complete_if_their_checks_had_passed(company):
    expected = {BEFORE: "complete", HELD: "building"}
    with duckdb.connect(str(company.config.warehouse)) as connection:
        connection.execute("drop table run.days_status; drop table run.uncounted_days; drop table marts.csm_days")
        connection.execute("drop table run.migrations; drop schema sync cascade; drop table run.changed_marts")
        found = {str(day): one.status for day, one in day_status.statuses(connection).items()}
        assert {day: found[day] for day in expected} == expected
        assert day_status.newest_counted_day(connection) == date(2026, 6, 29)
    with Warehouse.from_config(company.config).connect() as connection:
        assert day_status.newest_counted_day(connection) == date(2026, 6, 29)
    assert {day: status for day, (status, *_) in statuses(company).items()} == expected
    assert company.query("select as_of_date from run.uncounted_days") == [(date(2026, 6, 30),)]
