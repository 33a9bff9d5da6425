"""A run whose process was killed does not go on for Dagster: the next run, or the next tick, says that it failed."""

import signal
import subprocess
import sys
import time
from datetime import UTC, date, datetime

import dagster as dg

from csm_core.config import Config
from pipelines.abandoned import PROCESS_TAG, close_abandoned_runs, process_tag
from pipelines.build import build_defs
from pipelines.catch_up import days_due

TICK = datetime(2026, 9, 10, 7, tzinfo=UTC)


def started(instance: dg.DagsterInstance, tag: str | None, run_id: str) -> dg.DagsterRun:
    """A run that Dagster takes for going on, of a day before the tick's."""
    tags = {"dagster/partition": "2026-09-08", **({PROCESS_TAG: tag} if tag else {})}
    return instance.add_run(
        dg.DagsterRun(job_name="daily_health", run_id=run_id, status=dg.DagsterRunStatus.STARTED, tags=tags)
    )


def tag_of_a_process_that_ended(run_id: str) -> str:
    code = f"from pipelines.abandoned import *; print(process_tag({run_id!r})[PROCESS_TAG])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_only_runs_whose_process_on_this_machine_is_gone_are_closed():
    with dg.instance_for_test() as instance:
        ids = [f"00000000-0000-0000-0000-00000000000{number}" for number in range(6)]
        gone = tag_of_a_process_that_ended(ids[0])
        own = process_tag(ids[1])[PROCESS_TAG]
        started(instance, gone, ids[0])
        started(instance, own, ids[1])
        started(instance, None, ids[2])
        # Made from the first one, to do it again: its tags came with it.
        started(instance, gone, ids[3])
        _, _, pid, start = gone.split()
        started(instance, f"{ids[4]} another-machine {pid} {start}", ids[4])
        # The number of the process has been given to another one since.
        started(instance, f"{ids[5]} {' '.join(own.split()[1:3])} 1", ids[5])
        assert sorted(close_abandoned_runs(instance)) == [ids[0], ids[5]]
        statuses = {run.run_id: run.status for run in instance.get_runs()}
        assert [statuses[one] == dg.DagsterRunStatus.FAILURE for one in ids] == [True, False, False, False, False, True]
        (failed,) = instance.all_logs(ids[0], of_type=dg.DagsterEventType.RUN_FAILURE)
        assert "Run its days again" in failed.message
        assert close_abandoned_runs(instance) == []


def test_a_tick_takes_up_the_day_of_an_abandoned_run():
    definitions = build_defs(Config())
    with dg.instance_for_test() as instance:
        for day in ("2026-09-07", "2026-09-06"):
            instance.report_runless_asset_event(dg.AssetMaterialization("csm_days", partition=day))
        run_id = "00000000-0000-0000-0000-000000000000"
        started(instance, tag_of_a_process_that_ended(run_id), run_id)
        assert days_due(instance, "csm_days", "daily_health", date(2026, 9, 9), 31)[0] == date(2026, 9, 9)
        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=TICK, repository_def=definitions.get_repository_def()
        )
        (request,) = (
            definitions.get_repository_def()
            .get_schedule_def("daily_health_schedule")
            .evaluate_tick(context)
            .run_requests
        )
    assert request.tags["dagster/asset_partition_range_start"] == "2026-09-08"


def test_a_run_is_tagged_with_its_process_whoever_starts_it(company):
    one = company("acme")
    definitions = build_defs(one.config)
    with dg.instance_for_test() as instance:
        job = definitions.resolve_job_def("backfill_scores")
        result = job.execute_in_process(
            instance=instance,
            partition_key="2026-09-30",
            asset_selection=[dg.AssetKey("int_account_days")],
            raise_on_error=False,
        )
        tags = instance.get_run_by_id(result.run_id).tags
    assert tags[PROCESS_TAG] == process_tag(result.run_id)[PROCESS_TAG]


def test_a_killed_csm_run_has_failed_once_the_next_one_starts(company):
    one = company("acme")
    killed = one.start("run", "--as-of", "2026-09-30")
    history = one.folder / "dagster_home" / "history" / "runs"
    while killed.poll() is None and len(list(history.glob("*-*.db"))) == 0:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait(60)
    nothing = one.csm("run", "--as-of", "2026-09-30", "--select", "csm_qbr")
    with dg.DagsterInstance.from_config(str(one.folder / "dagster_home")) as instance:
        first, second = sorted(instance.get_run_records(), key=lambda record: record.create_timestamp)
    assert first.dagster_run.status == dg.DagsterRunStatus.FAILURE
    assert second.dagster_run.is_finished, nothing.stdout
