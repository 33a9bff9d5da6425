"""The sensors: late files and failed runs."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import dagster as dg

from assets.context import LATE, Pipeline
from assets.names import DEFAULT, Names
from csm_core.config import Config
from csm_core.logging import get_logger
from csm_core.operations.alerts import WEBHOOK_VARIABLE, post, run_address, slack_message, webhook
from csm_core.redaction import without_secrets
from csm_core.sources.pending_files import pending_files
from csm_core.system.text_table import counted
from csm_core.warehouse.day_status import BUILDING, statuses
from csm_core.warehouse.late_changes import TouchedDays, days_touched_by_late_records, late_text
from pipelines.catch_up import RANGE_END, RANGE_START, days_text
from pipelines.failures import explain_failure, next_steps, problems_of
from pipelines.jobs import BACKFILL_SCORES, LATE_DAYS, LOAD_RECORDS

LATE_FILES_SENSOR = "late_files_sensor"
RUN_FAILURE_SENSOR = "run_failure_sensor"
INTERVAL_SECONDS = 300
# A file that was written just now may be incomplete.
QUIET = timedelta(seconds=60)


def all_sensors(
    pipeline: Pipeline,
    jobs: Sequence[Any],
    names: Names = DEFAULT,
    status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED,
) -> list[dg.SensorDefinition]:
    """All sensors, with the jobs of ``all_jobs``; ``status`` is the default of the sensor of late files."""
    return [_late_files_sensor(pipeline, jobs, names, status), _run_failure_sensor(pipeline.config, jobs, names)]


def _late_files_sensor(
    pipeline: Pipeline, jobs: Sequence[Any], names: Names, status: dg.DefaultSensorStatus
) -> dg.SensorDefinition:
    requested = {names.unique(name) for name in (LOAD_RECORDS, LATE_DAYS, BACKFILL_SCORES)}

    @dg.sensor(
        name=names.unique(LATE_FILES_SENSOR),
        jobs=[job for job in jobs if job.name in requested],
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=status,
        description="Loads files that are new or changed since the last run, then runs the past days that their "
        "records affect, one run per range. Does not publish; the next daily run publishes the newest day.",
    )
    def _late_files(_context: dg.SensorEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        with pipeline.warehouse.open_read_only() as connection:
            if connection is None:
                return dg.SkipReason(
                    "the warehouse does not exist, or a run is writing to it; the next tick checks again"
                )
            # A held day may need a late record. A run of an unfinished day is in progress or due.
            newest = max((day for day, one in statuses(connection).items() if one.status != BUILDING), default=None)
            if newest is None:
                return dg.SkipReason("no day has been scored, so no record can be late")
            pending = pending_files(connection, pipeline.config.sources)
            lacking = days_touched_by_late_records(
                connection, newest + timedelta(days=1), pipeline.config.late_arrival_days
            )
        requests = _requests_for(lacking, names)
        if pending.changed_at and pipeline.clock() - pending.changed_at >= QUIET:
            requests.append(
                _range_request(
                    names.unique(LOAD_RECORDS),
                    (newest, newest),
                    f"files-{pending.fingerprint}",
                    f"{len(pending.files)}",
                )
            )
        if requests:
            return requests
        if pending:
            return dg.SkipReason(
                f"{counted(len(pending.files), 'file was', 'files were')} written just now; the next tick checks again"
            )
        return dg.SkipReason(f"all files have been loaded, and no day up to {newest} lacks a record")

    return _late_files


def _requests_for(lacking: TouchedDays, names: Names) -> list[dg.RunRequest]:
    affected = [
        (names.unique(BACKFILL_SCORES), lacking.beyond, lacking.beyond_records),
        (names.unique(LATE_DAYS), lacking.within, lacking.within_records),
    ]
    return [
        _range_request(job, span, f"{job}-{lacking.newest_change}-{span[0]}-{span[1]}", late_text(span, records))
        for job, days, records in affected
        if days
        for span in [(days[0], days[-1])]
    ]


def _range_request(job: str, days: tuple[date, date], run_key: str, why: str) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=run_key,
        job_name=job,
        tags={RANGE_START: days[0].isoformat(), RANGE_END: days[1].isoformat(), LATE: why[:255]},
    )


def _run_failure_sensor(config: Config, jobs: Sequence[Any], names: Names) -> dg.SensorDefinition:
    own = {job.name for job in jobs}

    @dg.run_failure_sensor(
        name=names.unique(RUN_FAILURE_SENSOR),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Logs each failed run, and posts it to the webhook in {WEBHOOK_VARIABLE} if it is set.",
    )
    def _run_failed(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        run = context.dagster_run
        if not names.owns(run, own):
            # Another instance of the pipeline, or another job of the same code location.
            return dg.SkipReason(f"run {run.run_id} of {run.job_name} has no assets of this pipeline")
        # Another instance class does not explain the failure when the run ends.
        explain_failure(context.instance, run.run_id)
        problems = [without_secrets(one) for one in problems_of(context.instance, run.run_id)]
        problems = problems or [without_secrets(context.failure_event.message or "the run failed")]
        days = days_text(run.tags)
        get_logger("csm_core.operations.alerts").error(
            "run failed", run_id=run.run_id, job=run.job_name, days=days, problems=problems
        )
        context.log.error(f"run {run.run_id} of {run.job_name} for {days} failed: {'; '.join(problems)}")
        url = webhook()
        if not url:
            return None
        facts = {"job": run.job_name, "days": days, "run": run.run_id}
        if config.dagster_url:
            facts["link"] = run_address(config.dagster_url, run.run_id)
        facts["next"] = " ".join(next_steps(context.instance, run)).removeprefix("Next: ")
        post(slack_message(f"csm-health: {run.job_name} for {days} failed", facts, problems), url)
        return None

    return _run_failed
