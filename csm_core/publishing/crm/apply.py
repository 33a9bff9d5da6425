"""Applies a plan: records the intent before each request and the outcome after it, one batch at a time.

If a run is killed and repeated, the result is the same as without the interruption: records whose outcome is unknown
are in the ledger as ``sending``, and the next plan sends them again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from csm_core.errors import PublishError
from csm_core.logging import get_logger
from csm_core.publishing.crm.ledger import (
    CREATED,
    DONE,
    FAILED,
    INTERRUPTED,
    REJECTED,
    SENDING,
    STOPPED,
    UPDATED,
    WRITTEN,
    Change,
    CrmLedger,
    KnownRecord,
)
from csm_core.publishing.crm.plan import CrmPlan, Step
from csm_core.publishing.crm.targets import Configured, content_hash
from csm_core.publishing.crm.upserts import Outcome, Record, Vendor
from csm_core.publishing.crm.vendor_api import Unreachable
from csm_core.system.text_table import counted

# After this number of batches without any response, the vendor is not reachable.
MAX_UNREACHABLE = 3
# If at least so many records of one batch are rejected with the same message, the settings are wrong.
SAME_REJECTIONS = 20

OnProgress = Callable[[int, int], None]

log = get_logger(__name__)


@dataclass(frozen=True)
class CrmReport:
    """The result of publishing to a destination.

    ``skipped`` counts accounts that needed no request, by reason; ``absent`` those without a record that the settings
    do not create. ``changes`` are the rejected and failed records. ``stopped`` says why records are left to the next
    run; empty if none are.
    """

    run_id: str
    destination: str
    day: date
    created: int
    updated: int
    skipped: Mapping[str, int]
    absent: int
    changes: Sequence[Change]
    requests: int
    seconds: float
    stopped: str = ""
    left: int = 0

    @property
    def rejected(self) -> list[Change]:
        """The records that the vendor rejected, with its message."""
        return [one for one in self.changes if one.action == REJECTED]

    @property
    def failed(self) -> list[Change]:
        """The records whose outcome is unknown, which the next run sends again."""
        return [one for one in self.changes if one.action == FAILED]

    @property
    def is_complete(self) -> bool:
        """Whether every record was written, or needed no request."""
        return not self.changes and not self.stopped

    def counts(self) -> dict[str, int]:
        """The counts for ``sync.crm_runs``."""
        return {
            "created": self.created,
            "updated": self.updated,
            "skipped": sum(self.skipped.values()),
            "absent": self.absent,
            "rejected": len(self.rejected),
            "failed": len(self.failed),
            "requests": self.requests,
        }

    def as_dict(self) -> dict[str, Any]:
        """The report for ``--json``."""
        return {
            "run_id": self.run_id,
            "destination": self.destination,
            "day": self.day.isoformat(),
            **self.counts(),
            "skipped_by_reason": dict(self.skipped),
            "left": self.left,
            "stopped": self.stopped or None,
            "rejected_records": [{"account_id": one.account_id, "message": one.message} for one in self.rejected],
            "failed_records": [{"account_id": one.account_id, "message": one.message} for one in self.failed],
            "seconds": round(self.seconds, 3),
        }


@dataclass
class _Progress:
    created: int = 0
    updated: int = 0
    absent: int = 0
    done: int = 0
    unreachable: int = 0
    stopped: str = ""
    changes: list[Change] = field(default_factory=list[Change])


def apply_plan(
    plan: CrmPlan,
    destination: Configured,
    vendor: Vendor,
    ledger: CrmLedger,
    *,
    run_id: str,
    on_progress: OnProgress | None = None,
) -> CrmReport:
    """Write every step of the plan. Rejected records are reported and the others are written.

    ``on_progress`` is called with the completed and all steps. Raises ConfigError if the vendor denies access.
    """
    started = time.monotonic()
    progress = _Progress()
    ledger.begin_run(run_id, plan.day)
    status = INTERRUPTED
    try:
        _write(plan, destination, vendor, ledger, run_id, progress, on_progress)
        status = STOPPED if progress.stopped else DONE
    finally:
        report = CrmReport(
            run_id=run_id,
            destination=plan.destination,
            day=plan.day,
            created=progress.created,
            updated=progress.updated,
            skipped=plan.skipped,
            absent=progress.absent,
            changes=tuple(progress.changes),
            requests=vendor.api.sent,
            seconds=time.monotonic() - started,
            stopped=progress.stopped,
            left=len(plan.steps) - progress.done,
        )
        ledger.end_run(run_id, report.counts(), status)
    return report


def _write(
    plan: CrmPlan,
    destination: Configured,
    vendor: Vendor,
    ledger: CrmLedger,
    run_id: str,
    progress: _Progress,
    on_progress: OnProgress | None,
) -> None:
    for batch in _batches(plan.steps, vendor.batch_size):
        try:
            steps = _with_records(batch, vendor)
            progress.absent += len(batch) - len(steps)
            ledger.store([_known(destination, plan.day, step, SENDING) for step in steps])
            outcomes = vendor.upsert([Record(step.account_id, step.values) for step in steps])
        except Unreachable as error:
            # The look-up failed, so nothing of this batch was sent.
            outcomes = [Outcome(step.account_id, "unknown", message=str(error)) for step in batch]
            _record(destination, plan.day, ledger, run_id, progress, batch, outcomes, store_unknown=False)
        except PublishError as error:
            progress.stopped = str(error)
            break
        else:
            progress.stopped = _settings_problem(outcomes)
            _record(destination, plan.day, ledger, run_id, progress, steps, outcomes)
        progress.done += len(batch)
        if on_progress:
            on_progress(progress.done, len(plan.steps))
        progress.stopped = progress.stopped or _outage(outcomes, progress)
        if progress.stopped:
            break
    if progress.stopped:
        log.warning("publishing stopped", destination=plan.destination, reason=progress.stopped, day=str(plan.day))


def _batches(steps: Sequence[Step], size: int) -> Iterator[Sequence[Step]]:
    """Yield batches of steps that may, then of steps that may not create records."""
    for may_create in (True, False):
        some = [step for step in steps if step.may_create is may_create]
        for start in range(0, len(some), size):
            yield some[start : start + size]


def _with_records(batch: Sequence[Step], vendor: Vendor) -> list[Step]:
    """The steps of a batch that may create records, or whose records exist."""
    unsure = [step.account_id for step in batch if not step.may_create]
    existing = vendor.existing(unsure) if unsure else set[str]()
    return [step for step in batch if step.may_create or step.account_id in existing]


def _known(destination: Configured, day: date, step: Step, state: str, outcome: Outcome | None = None) -> KnownRecord:
    # Until the vendor confirms them, only the values of this request count.
    values = step.known_values if state == WRITTEN else step.values
    return KnownRecord(
        step.account_id,
        state,
        content_hash(destination, values),
        values,
        (outcome.record_id if outcome else None) or step.record_id,
        outcome.message if outcome else None,
        day,
    )


def _record(
    destination: Configured,
    day: date,
    ledger: CrmLedger,
    run_id: str,
    progress: _Progress,
    steps: Sequence[Step],
    outcomes: Sequence[Outcome],
    *,
    store_unknown: bool = True,
) -> None:
    """Commit the outcomes of a batch."""
    by_account = {step.account_id: step for step in steps}
    records: list[KnownRecord] = []
    changes: list[Change] = []
    for outcome in outcomes:
        step = by_account[outcome.key]
        if outcome.state == "written":
            action = CREATED if outcome.created else UPDATED
            progress.created += outcome.created
            progress.updated += not outcome.created
            records.append(_known(destination, day, step, WRITTEN, outcome))
            changes.append(Change(step.account_id, action, outcome.record_id))
            continue
        rejected = outcome.state == "rejected"
        change = Change(step.account_id, REJECTED if rejected else FAILED, outcome.record_id, outcome.message)
        changes.append(change)
        progress.changes.append(change)
        if rejected or store_unknown:
            known = _known(destination, day, step, REJECTED if rejected else SENDING, outcome)
            # Once the settings are right, the next run sends the same values again.
            records.append(replace(known, content_hash="") if progress.stopped else known)
    ledger.store(records, run_id, changes)


def _settings_problem(outcomes: Sequence[Outcome]) -> str:
    """Why the next batches would be rejected like this one; empty if they may not."""
    messages = {one.message for one in outcomes}
    if len(outcomes) < SAME_REJECTIONS or len(messages) > 1 or any(one.state != "rejected" for one in outcomes):
        return ""
    said = outcomes[0].message
    return f"all {counted(len(outcomes), 'record')} of a batch were rejected with the same message: {said}"


def _outage(outcomes: Sequence[Outcome], progress: _Progress) -> str:
    """Why the vendor seems to be down; empty if it does not."""
    reachable = not outcomes or any(one.state != "unknown" for one in outcomes)
    progress.unreachable = 0 if reachable else progress.unreachable + 1
    if progress.unreachable < MAX_UNREACHABLE:
        return ""
    return f"{counted(MAX_UNREACHABLE, 'batch', 'batches')} in succession had no result: {outcomes[0].message}"
