"""Reads the failures of a run from Dagster's events: failed assets, their messages and failed checks."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import dagster as dg
from dagster._core.events import AssetMaterializationPlannedData

from assets.context import ACCEPT, days_between
from csm_core import errors
from csm_core.days import portfolio_checks
from csm_core.operations.run_outcome import StepFailure
from csm_core.redaction import without_secrets
from pipelines.catch_up import PARTITION, RANGE_END, RANGE_START, days_text


def step_failure(event: dg.DagsterEvent) -> StepFailure:
    """The failure in a step's event, with the message of the original error."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    name = error.cls_name if error else None
    error_class = getattr(errors, name, None) if name else None
    text = error.message.strip() if error else "failed"
    prefix, _, rest = text.partition(": ")
    message = rest if prefix.rsplit(".", 1)[-1] == name else text
    status = (
        error_class.exit_status if isinstance(error_class, type) and issubclass(error_class, errors.CSMError) else 1
    )
    return StepFailure(event.step_key or "?", message, status)


def is_failed_check(event: dg.DagsterEvent) -> bool:
    """Whether a step failed only because of a blocking check, which has its own message."""
    error = event.step_failure_data.error
    return error is not None and error.cls_name == "DagsterAssetCheckFailedError"


def problems_of(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """The problems of a run, one line each: failed blocking checks, then failed assets."""
    return _problems(_events(instance, run_id))


def next_steps(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str]:
    """The next steps after a failed run, one line each: fix the cause, or accept the checks that hold its last day."""
    return _next_steps(run, _events(instance, run.run_id))


def _problems(events: Sequence[dg.DagsterEvent]) -> list[str]:
    failed: dict[dg.AssetCheckKey, list[dg.AssetCheckEvaluation]] = {}
    for check in _failed_checks(events):
        failed.setdefault(check.asset_check_key, []).append(check)
    problems = [_held_by(checks) for checks in failed.values()]
    for event in events:
        if event.is_step_failure and not (problems and is_failed_check(event)):
            failure = step_failure(event)
            problems.append(f"{failure.asset}: {failure.message}")
    return problems


def _held_by(checks: Sequence[dg.AssetCheckEvaluation]) -> str:
    """The failure of one check, which has an evaluation for each failed day."""
    first, last = checks[0], checks[-1]
    text = f"held by {first.check_name}: {first.description or 'failed'}"
    return text if first is last else f"{text} {len(checks)} days failed, from {first.partition} to {last.partition}."


def failure_text(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """The next steps and problems of a run, one line each, without secrets; None if no check or asset failed.

    The next steps come first, because the UI shows only the first lines of a long message.
    """
    events = _events(instance, run.run_id)
    problems = _problems(events)
    if not problems:
        return None
    days, held_by = _days_of(run.tags), _acceptable_checks(events)
    summary = [f"{days[1]} is held by {', '.join(held_by)}."] if days and held_by else []
    return "\n".join([*summary, *_next_steps(run, events), *(without_secrets(one) for one in problems)])


def show_held_partitions(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Show the partitions that a failed run materialised and its blocking checks hold as failed."""
    events = _events(instance, run.run_id)
    for asset, days in _held_partitions(_failed_checks(events), _days_of(run.tags)).items():
        done = {one.partition for one in events if one.is_step_materialization and one.asset_key == asset}
        for day in sorted(days & done):
            _show_as_failed(instance, run, asset, day)


def explain_failure(instance: dg.DagsterInstance, run_id: str) -> None:
    """Add problems and next steps to the log of a failed run, unless the project's instance has added them."""
    run = instance.get_run_by_id(run_id)
    if run is None or run.status != dg.DagsterRunStatus.FAILURE:
        return
    ends = instance.all_logs(run_id, of_type={dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.ENGINE_EVENT})
    text = failure_text(instance, run)
    if text is None or any(text in entry.message for entry in ends):
        return
    show_held_partitions(instance, run)
    instance.report_engine_event(f"The run failed.\n{text}", run)


def _events(instance: dg.DagsterInstance, run_id: str) -> list[dg.DagsterEvent]:
    wanted = {
        dg.DagsterEventType.ASSET_CHECK_EVALUATION,
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        dg.DagsterEventType.STEP_FAILURE,
    }
    return [entry.dagster_event for entry in instance.all_logs(run_id, of_type=wanted) if entry.dagster_event]


def _failed_checks(events: Iterable[dg.DagsterEvent]) -> list[dg.AssetCheckEvaluation]:
    checks = [
        event.asset_check_evaluation_data
        for event in events
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    # In a long range, the evaluations that only show the failed days are not blocking.
    return [
        check
        for check in checks
        if not check.passed and check.severity == dg.AssetCheckSeverity.ERROR and check.blocking is not False
    ]


def _held_partitions(
    failed: Iterable[dg.AssetCheckEvaluation], days: tuple[date, date] | None
) -> dict[dg.AssetKey, set[str]]:
    """The partitions that failed checks hold: the last day for a portfolio check, all days for a check of a model."""
    partitions: dict[dg.AssetKey, set[str]] = {}
    of_last_day = {check.name for check in portfolio_checks.ALL}
    for check in failed:
        if check.partition:
            partitions.setdefault(check.asset_key, set()).add(check.partition)
        elif days:
            checked = days[1:] if check.check_name in of_last_day else days_between(*days)
            partitions.setdefault(check.asset_key, set()).update(day.isoformat() for day in checked)
    return partitions


def _show_as_failed(instance: dg.DagsterInstance, run: dg.DagsterRun, asset: dg.AssetKey, day: str) -> None:
    # Dagster shows a partition as failed if a failed run planned it and it was not materialised afterwards.
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value,
        job_name=run.job_name,
        message=f"{asset.to_user_string()}: a failed check holds {day}, so its partition is shown as failed.",
        event_specific_data=AssetMaterializationPlannedData(asset, partition=day),
    )
    instance.report_dagster_event(event, run_id=run.run_id, log_level=logging.ERROR)


def _acceptable_checks(events: Iterable[dg.DagsterEvent]) -> list[str]:
    """The names of the failed checks that can be accepted: the portfolio checks."""
    acceptable = {check.name for check in portfolio_checks.ALL}
    return [check.check_name for check in _failed_checks(events) if check.check_name in acceptable]


def _next_steps(run: dg.DagsterRun, events: Iterable[dg.DagsterEvent]) -> list[str]:
    days = _days_of(run.tags)
    if days is None:
        return ["Next: fix the cause, then re-execute this run."]
    command = "csm run " + (f"--as-of {days[0]}" if days[0] == days[1] else f"--from {days[0]} --to {days[1]}")
    named = days_text(run.tags)
    steps = [f"Next: fix the cause, then run {named} again: re-execute this run, or `{command}`."]
    held_by = _acceptable_checks(events)
    if held_by:
        accept = " ".join(f"--accept {name}" for name in held_by)
        steps.append(
            f"Or accept {days[1]}: launch a run of {named} with the tag {ACCEPT} and the value "
            f"`{','.join(held_by)}`, or `{command} {accept}`."
        )
    return steps


def _days_of(tags: Mapping[str, str]) -> tuple[date, date] | None:
    first = tags.get(RANGE_START) or tags.get(PARTITION)
    last = tags.get(RANGE_END) or first
    return (date.fromisoformat(first), date.fromisoformat(last)) if first and last else None
