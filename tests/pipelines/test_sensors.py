"""What is watched: late files run the days that they touch and publish nothing; a failed run reaches a webhook."""

import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.context import Pipeline
from csm_core.errors import InputError
from csm_core.operations.alerts import AlertError, post, slack_message
from csm_core.redaction import without_secrets
from csm_core.warehouse.database import Warehouse
from pipelines.build import build_defs
from pipelines.instance import shared_instance
from tests.conftest import Company, make_company
from tests.webhook import Hook, webhook

FILES = {
    "accounts.csv": "account_id,account_name,plan,created_at\na1,Ahlers,pro,2025-01-01\na2,Bolt,pro,2025-01-01\n",
    "features.csv": "feature,module\nreports,core\n",
    "tickets.csv": "ticket_id,account_id,opened_at,sentiment\nt1,a1,2026-05-01,neutral\n",
    "usage_events.csv": "event_id,account_id,user_id,event_name,feature,occurred_at\n"
    + "".join(f"e{day},a1,u1,login,reports,2026-06-{day:02}T10:00:00Z\n" for day in range(1, 31)),
}
WIDE = {"max_mean_score_swing": 100, "max_rag_changed_percent": 100}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("sensors")
    (base / "records").mkdir()
    for name, content in FILES.items():
        (base / "records" / name).write_text(content, encoding="utf-8")
        os.utime(base / "records" / name, (time.time() - 3600,) * 2)
    company = make_company(base, base / "records", checks=WIDE)
    result = company.csm("run", "--from", "2026-06-18", "--to", "2026-06-29", "--no-publish")
    assert result.returncode == 0, result.stdout + result.stderr
    return base


@pytest.fixture
def company(prepared, tmp_path, monkeypatch) -> Company:
    shutil.copytree(prepared, tmp_path / "base")
    folder = tmp_path / "base" / "company_0"
    settings = (folder / "csm.yaml").read_text().replace(str(prepared), str(tmp_path / "base"))
    (folder / "csm.yaml").write_text(settings)
    monkeypatch.setenv("DAGSTER_HOME", str(folder / "dagster_home"))
    monkeypatch.delenv("CSM_ALERT_WEBHOOK", raising=False)
    return Company(folder, folder / "csm.yaml")


def definitions_of(company: Company, **settings: Any) -> dg.Definitions:
    config = company.config.model_copy(update=settings)
    return build_defs(config, Pipeline(config, Warehouse.from_config(config)))


def arrive(company: Company, line: str, *, seconds_ago: float = 600) -> None:
    file = company.folder.parent / "records" / "tickets.csv"
    with file.open("a", encoding="utf-8") as stream:
        stream.write(line)
    then = time.time() - seconds_ago
    os.utime(file, (then, then))


def look(definitions: dg.Definitions, instance: dg.DagsterInstance) -> tuple[list[dg.RunRequest], str]:
    with dg.build_sensor_context(instance=instance, repository_def=definitions.get_repository_def()) as context:
        data = definitions.get_sensor_def("late_files_sensor").evaluate_tick(context)
    return list(data.run_requests or ()), data.skip_message or ""


def carry_out(definitions: dg.Definitions, instance: dg.DagsterInstance, request: dg.RunRequest) -> dg.DagsterRun:
    job = definitions.get_repository_def().get_job(request.job_name)
    result = job.execute_in_process(instance=instance, tags=request.tags, raise_on_error=False)
    assert result.success, [event.message for event in result.all_events if event.is_failure]
    return result.dagster_run


def days_of(request: dg.RunRequest) -> tuple[str, str]:
    return (
        request.tags["dagster/asset_partition_range_start"],
        request.tags["dagster/asset_partition_range_end"],
    )


@pytest.mark.slow
def test_late_files_are_loaded_and_the_days_that_they_touch_are_run_without_publishing(company):
    # The folder has moved with its copy: once, every file is new, and none of its records.
    with shared_instance(company.config) as instance:
        definitions = definitions_of(company)
        (moved,), _ = look(definitions, instance)
        carry_out(definitions, instance, moved)
        assert "no day up to 2026-06-29 lacks a record" in look(definitions, instance)[1]

        arrive(company, "t2,a2,2026-06-20,critical\nt3,a1,2026-06-28,critical\n", seconds_ago=1)
        requests, skipped = look(definitions, instance)
        assert (requests, "written just now" in skipped) == ([], True)
        arrive(company, "", seconds_ago=600)
        (load,), _ = look(definitions, instance)
        assert load.job_name == "load_records"
        # The same state of the files is asked for under the same key, which Dagster runs once.
        assert look(definitions, instance)[0][0].run_key == load.run_key
        carry_out(definitions, instance, load)

        far, near = look(definitions, instance)[0]
        assert (far.job_name, days_of(far)) == ("backfill_scores", ("2026-06-20", "2026-06-27"))
        assert (near.job_name, days_of(near)) == ("late_days", ("2026-06-28", "2026-06-29"))
        assert "1 ticket dated 2026-06-20" in far.tags["csm/late"]
        before = company.query("select scored_at from marts.csm_health_scores where as_of_date = '2026-06-19'")
        for request in (far, near):
            carry_out(definitions, instance, request)
        assert "no day up to 2026-06-29 lacks a record" in look(definitions, instance)[1]

        # The same days for another record are another request.
        arrive(company, "t4,a1,2026-06-28,critical\n")
        carry_out(definitions, instance, look(definitions, instance)[0][0])
        (again,), _ = look(definitions, instance)
        assert days_of(again) == days_of(near)
        assert again.run_key != near.run_key
    assert company.query("select scored_at from marts.csm_health_scores where as_of_date = '2026-06-19'") == before
    sentiments = company.query(
        "select as_of_date, support_sentiment from marts.csm_health_signals where account_id = 'a2' "
        "and as_of_date in ('2026-06-19', '2026-06-20') order by 1"
    )
    assert sentiments[1] == (date(2026, 6, 20), "critical")
    assert sentiments[0][1] != "critical"
    assert company.query("from sync.notion_runs") == []


def test_the_sensor_steps_aside_for_a_run_that_is_writing(company):
    definitions = definitions_of(company)
    with dg.DagsterInstance.ephemeral() as instance, Warehouse.from_config(company.config).connect():
        assert "a run is writing" in look(definitions, instance)[1]


def test_a_company_that_was_never_run_has_nothing_late(tmp_path):
    (tmp_path / "records").mkdir()
    fresh = make_company(tmp_path, tmp_path / "records")
    with dg.DagsterInstance.ephemeral() as instance:
        assert "the warehouse does not exist" in look(definitions_of(fresh), instance)[1]
    assert not fresh.config.warehouse.exists()


def has_its_own_numbers(company: Company, scored: dict[str, Any]) -> None:
    """Each partition of a range has the figures that a query for that day alone gives."""
    expected = company.query(
        "select as_of_date::varchar, count(*), round(avg(score), 2), count(*) filter (rag = 'RED'), "
        "count(*) filter (rag = 'AMBER'), count(*) filter (rag = 'GREEN'), count(*) filter (should_alert) "
        "from marts.csm_health_scores where as_of_date between '2026-06-28' and '2026-06-30' group by all order by all"
    )
    figures = ("rows", "mean_score", "red_accounts", "amber_accounts", "green_accounts", "alerts")
    assert [(day, *(found[name].value for name in figures)) for day, found in sorted(scored.items())] == expected
    for day, found in scored.items():
        assert found["dagster/partition_row_count"].value == found["rows"].value
        assert found["dagster/row_count"].value == company.query("select count(*) from marts.csm_health_scores")[0][0]
        assert f"Scores on {day} from 0 to 100" in found["score_distribution"].value
        assert f"to {day};" in found["rag_over_time"].value
        assert ("preview" in found) == (day == max(scored))


def leaves_past_days_in_sync(instance: dg.DagsterInstance) -> None:
    """What models by day read has the same data version after another run: a past partition is not out of date."""
    for name in ("stg_tickets", "stg_usage_events", "int_usage_daily"):
        records = instance.fetch_materializations(dg.AssetKey(name), limit=2).records
        assert len({record.run_id for record in records}) == 2
        assert len({record.asset_materialization.tags["dagster/data_version"] for record in records}) == 1, name


def test_nothing_is_published_from_a_backfill_even_of_the_newest_day(company):
    with shared_instance(company.config) as instance:
        job = definitions_of(company).get_repository_def().get_job("backfill_scores")
        span = {"dagster/asset_partition_range_start": "2026-06-28", "dagster/asset_partition_range_end": "2026-06-30"}
        result = job.execute_in_process(instance=instance, tags=span)
        assert result.success
        events = result.get_asset_materialization_events()
        leaves_past_days_in_sync(instance)
    done = {event.asset_key.to_user_string() for event in events}
    assert "csm_health_scores" in done
    scored = {
        event.partition: event.materialization.metadata
        for event in events
        if event.asset_key == dg.AssetKey("csm_health_scores")
    }
    has_its_own_numbers(company, scored)
    told = scored["2026-06-30"]
    assert all("(data:image/png;base64," in told[name].value for name in ("score_distribution", "rag_over_time"))
    origins = told["dagster/column_lineage"].value.deps_by_column
    assert origins["usage_trend_points"] == [dg.TableColumnDep("csm_health_signals", "usage_trend")]
    described = {column.name: column.description for column in told["dagster/column_schema"].value.columns}
    assert described["usage_trend_points"].endswith("before the cap. From csm_health_signals.usage_trend.")
    assert described["score"].endswith("not rounded. From csm_health_signals.")
    assert "13 scored days from 2026-06-18 to 2026-06-30" in told["rag_over_time"].value
    assert not any(name.startswith("notion") for name in done)
    assert company.query("select max(as_of_date) from marts.csm_health_scores") == [(date(2026, 6, 30),)]
    assert company.query("from sync.notion_runs") == []


# -- the webhook -------------------------------------------------------------------------------------------------


@pytest.fixture
def hook() -> Iterator[Hook]:
    with webhook() as found:
        yield found


def failed_run(company: Company, instance: dg.DagsterInstance) -> dg.RunFailureSensorContext:
    job = definitions_of(company).get_repository_def().get_job("daily_health")
    result = job.execute_in_process(instance=instance, partition_key="2026-07-20", raise_on_error=False)
    assert not result.success
    (event,) = [event for event in result.all_events if event.is_job_failure]
    return dg.build_run_status_sensor_context(
        sensor_name="run_failure_sensor", dagster_event=event, dagster_instance=instance, dagster_run=result.dagster_run
    ).for_run_failure()


def ends_with_what_failed_and_what_to_do(instance: dg.DagsterInstance, run_id: str) -> None:
    """The last event is Dagster's own of the failed run; the sensor has nothing to add to it."""
    last = instance.all_logs(run_id)[-1]
    assert last.dagster_event_type == dg.DagsterEventType.RUN_FAILURE
    assert "Steps failed: ['csm_health_scores_checks']." in last.message
    # What to do comes first: the UI shows the first lines of a long message.
    assert last.message.split("\n", 1)[1].startswith(
        "2026-07-20 is held by usage_delivered.\n"
        "Next: fix the cause, then run 2026-07-20 again: re-execute this run, or `csm run --as-of 2026-07-20`.\n"
        "Or accept 2026-07-20: launch a run of 2026-07-20 with the tag csm/accept and the value "
        "`usage_delivered`, or `csm run --as-of 2026-07-20 --accept usage_delivered`.\n"
        "held by usage_delivered: usage events stopped"
    )
    assert "ntn_not_to_be_told" not in last.message


def shows_the_held_day_as_failed(company: Company, instance: dg.DagsterInstance) -> None:
    """Dagster counts the day as failed though its scores were materialised; days before it stay as they are."""
    days = ["2026-06-29", "2026-07-20", "2026-07-21"]
    scores = definitions_of(company).resolve_asset_graph().get(dg.AssetKey("csm_health_scores"))
    found = instance.get_status_by_partition(scores.key, days, scores.partitions_def)
    assert [status.value if status else None for status in found.values()] == ["MATERIALIZED", "FAILED", None]
    assert "2026-07-20" in instance.get_materialized_partitions(scores.key)


def test_a_failed_run_reaches_the_webhook_if_there_is_one_in_the_words_of_what_failed(
    company, hook, monkeypatch, caplog
):
    monkeypatch.setenv("CSM_ALERT_WEBHOOK", hook.url)
    monkeypatch.setenv("NOTION_TOKEN", "ntn_not_to_be_told")
    hook.statuses = [503]
    with shared_instance(company.config) as instance, caplog.at_level(logging.DEBUG):
        context = failed_run(company, instance)
        definitions_of(company, dagster_url="https://dagster.example/").get_sensor_def("run_failure_sensor")(context)
        ends_with_what_failed_and_what_to_do(instance, context.dagster_run.run_id)
        shows_the_held_day_as_failed(company, instance)
    first, second = hook.received
    assert first == second
    assert "daily_health for 2026-07-20 failed" in second["text"]
    assert "usage_delivered" in second["text"]
    assert "--accept usage_delivered" in second["text"]
    assert [block["type"] for block in second["blocks"]] == ["section"] * 3
    assert f"*link:* https://dagster.example/runs/{context.dagster_run.run_id}" in second["text"]
    assert "*next:* fix the cause, then run 2026-07-20 again" in second["text"]
    assert "with the tag csm/accept and the value `usage_delivered`" in second["text"]
    assert "very-secret" not in caplog.text + json.dumps(second)
    assert "ntn_not_to_be_told" not in json.dumps(second)
    monkeypatch.delenv("CSM_ALERT_WEBHOOK")
    with shared_instance(company.config), caplog.at_level(logging.ERROR):
        definitions_of(company).get_sensor_def("run_failure_sensor")(context)
    assert len(hook.received) == 2
    # Without an address of the UI there is no link, only the id of the run.
    monkeypatch.setenv("CSM_ALERT_WEBHOOK", hook.url)
    with shared_instance(company.config):
        definitions_of(company).get_sensor_def("run_failure_sensor")(context)
    assert f"*run:* {context.dagster_run.run_id}" in hook.received[2]["text"]
    assert "http" not in hook.received[2]["text"]


def test_an_alert_that_is_refused_says_so_without_the_address(hook):
    hook.statuses = [404]
    with pytest.raises(AlertError, match=r"rejected the alert with status 404\. Check CSM_ALERT_WEBHOOK") as refused:
        post(slack_message("t", {}, []), hook.url)
    assert len(hook.received) == 1
    hook.statuses = [500, 429, 502]
    with pytest.raises(AlertError, match="3 attempts: the webhook returned status 502") as failed:
        post(slack_message("t", {}, []), hook.url, pause_seconds=0.01)
    gone = hook.url.replace(str(hook.server.server_address[1]), "9")
    with pytest.raises(AlertError, match="no connection") as nobody:
        post(slack_message("t", {}, []), gone, pause_seconds=0.01)
    with pytest.raises(InputError, match="does not begin with http") as bad:
        post(slack_message("t", {}, []), "file:///etc/very-secret")
    for problem in (refused, failed, nobody, bad):
        assert "very-secret" not in str(problem.value)
        assert problem.value.__cause__ is None
        assert problem.value.__suppress_context__ or problem.value.__context__ is None


def test_what_is_posted_is_escaped_cut_and_without_secrets():
    message = slack_message("<b> & co", {"job": "a>b"}, ["x" * 5000])
    assert message["text"].startswith("&lt;b&gt; &amp; co\n*job:* a&gt;b")
    assert all(len(block["text"]["text"]) <= 3000 for block in message["blocks"])
    said = without_secrets("key sk_live_1234567 and abc", {"STRIPE_API_KEY": "sk_live_1234567", "X_TOKEN": "abc"})
    assert said == "key (hidden) and abc"


@pytest.mark.slow
def test_a_run_that_is_tagged_so_publishes_nothing(company):
    with shared_instance(company.config) as instance:
        job = definitions_of(company).get_repository_def().get_job("daily_health")
        tags = {"csm/do_not_publish": "a later tick is due"}
        result = job.execute_in_process(instance=instance, partition_key="2026-06-30", tags=tags)
        done = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
    assert {"notion_health_updates", "notion_expansion_records"} <= done
    assert company.query("from sync.notion_runs") == []
