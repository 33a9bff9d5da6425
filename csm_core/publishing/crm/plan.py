"""Plans publishing to a destination: compares the target values of all accounts with the ledger. Read-only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from csm_core.publishing.crm.ledger import REJECTED, SENDING, WRITTEN, KnownRecord
from csm_core.publishing.crm.targets import Configured, Target, Targets, Value, content_hash
from csm_core.system.crm_section import destination_name

CREATE, UPDATE = "create", "update"
# Why an account needs no request.
UNCHANGED, CHURNED, EMPTY, REJECTED_BEFORE = "unchanged", "churned", "empty", "rejected before"


@dataclass(frozen=True)
class Step:
    """One record to write.

    ``values`` are sent, null empties a field. ``known_values`` are all values that the record is known to have
    afterwards. Without ``may_create``, an account without a record is left out. ``record_id`` is the id of the record
    at the vendor, if it is known.
    """

    account_id: str
    action: str
    values: Mapping[str, Value]
    known_values: Mapping[str, Value]
    may_create: bool
    record_id: str | None = None


@dataclass(frozen=True)
class CrmPlan:
    """The requests that publishing ``day`` would make; ``skipped`` counts accounts that need none, by reason."""

    destination: str
    day: date
    steps: Sequence[Step]
    skipped: Mapping[str, int]

    def count(self, action: str) -> int:
        """The number of steps with an action."""
        return sum(1 for step in self.steps if step.action == action)

    def as_dict(self) -> dict[str, Any]:
        """The plan for ``--json``."""
        return {
            "destination": self.destination,
            "day": self.day.isoformat(),
            "steps": [
                {"action": step.action, "account_id": step.account_id, "values": dict(step.values)}
                for step in self.steps
            ],
            "skipped": dict(self.skipped),
        }


def make_plan(
    destination: Configured, targets: Targets, known: Mapping[str, KnownRecord], *, retry_rejected: bool = False
) -> CrmPlan:
    """Compare the targets with the records of the ledger.

    With ``retry_rejected``, records that the vendor rejected are sent again with the same values.
    """
    steps: list[Step] = []
    skipped: Counter[str] = Counter()
    for target in targets.accounts:
        planned = _planned(destination, target, known.get(target.account_id), retry_rejected)
        if isinstance(planned, Step):
            steps.append(planned)
        else:
            skipped[planned] += 1
    return CrmPlan(destination_name(destination), targets.day, tuple(steps), dict(sorted(skipped.items())))


def _planned(destination: Configured, target: Target, known: KnownRecord | None, retry: bool) -> Step | str:
    """Return the step of an account, or why it needs none."""
    if target.churned and destination.churned == "keep":
        return CHURNED
    if target.churned and destination.churned == "clear":
        if known is None:
            # Nothing of ours is in the record.
            return CHURNED
        values: dict[str, Value] = dict.fromkeys(destination.fields)
    else:
        values = {
            field: value
            for field, value in target.values.items()
            if value is not None or (destination.nulls == "clear")
        }
    if not values:
        return EMPTY
    # A field of a null that is kept has the value that was last written to it.
    confirmed = known is not None and known.state == WRITTEN and _is_current(destination, known)
    after = {**(known.values if known and confirmed else {}), **values}
    after = {field: value for field, value in after.items() if field in destination.fields}
    digest = content_hash(destination, after)
    if known is not None and known.content_hash == digest:
        if known.state == WRITTEN:
            return UNCHANGED
        if known.state == REJECTED and not retry:
            return REJECTED_BEFORE
    may_create = destination.missing == "create" and not target.churned
    exists = known is not None and known.state in (WRITTEN, SENDING) and _is_current(destination, known)
    action = UPDATE if exists or not may_create else CREATE
    return Step(target.account_id, action, values, after, may_create, known.record_id if known and exists else None)


def _is_current(destination: Configured, known: KnownRecord) -> bool:
    """Whether the values of the ledger were sent to the records of this destination, as it is configured now."""
    return known.content_hash == content_hash(destination, known.values)
