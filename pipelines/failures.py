"""What failed in a run, read from Dagster's events: the asset, the message for a person, what checks found."""

from collections.abc import Iterable
from dataclasses import dataclass

import dagster as dg

from csm_core import errors


@dataclass(frozen=True)
class StepFailure:
    """One asset that failed: its name, the message for a person, and the exit status that its error asks for."""

    asset: str
    message: str
    exit_status: int


def step_failure(event: dg.DagsterEvent) -> StepFailure:
    """The failure that a step's event tells of, in the words of the error that caused it."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    name = error.cls_name if error else None
    known = getattr(errors, name, None) if name else None
    text = error.message.strip() if error else "failed"
    prefix, _, rest = text.partition(": ")
    message = rest if prefix.rsplit(".", 1)[-1] == name else text
    status = known.exit_status if isinstance(known, type) and issubclass(known, errors.CSMError) else 1
    return StepFailure(event.step_key or "?", message, status)


def is_failed_check(event: dg.DagsterEvent) -> bool:
    """Whether a step failed for nothing but a blocking check, which tells in words of its own what it found."""
    error = event.step_failure_data.error
    return error is not None and error.cls_name == "DagsterAssetCheckFailedError"


def problems_of(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """Everything that went wrong in a run, a line each: failed blocking checks, then failed assets."""
    found: list[str] = []
    entries = instance.all_logs(
        run_id, of_type={dg.DagsterEventType.ASSET_CHECK_EVALUATION, dg.DagsterEventType.STEP_FAILURE}
    )
    events = [entry.dagster_event for entry in entries if entry.dagster_event]
    for event in _checks(events):
        check = event.asset_check_evaluation_data
        if not check.passed and check.severity == dg.AssetCheckSeverity.ERROR:
            found.append(f"held by {check.check_name}: {check.description or 'failed'}")
    for event in events:
        if event.is_step_failure and not (found and is_failed_check(event)):
            failure = step_failure(event)
            found.append(f"{failure.asset}: {failure.message}")
    return found


def _checks(events: Iterable[dg.DagsterEvent]) -> list[dg.DagsterEvent]:
    return [event for event in events if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION]
