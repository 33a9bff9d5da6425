"""The outcome of a run as data: the runner returns it, and the run report shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from csm_core.ingest.found_files import UnreadFile
from csm_core.staging.record_counts import RecordCounts
from csm_core.warehouse.late_changes import LateRecords


@dataclass(frozen=True)
class StepFailure:
    """A failed asset: its name, the error message, and the exit status of the error."""

    asset: str
    message: str
    exit_status: int


@dataclass(frozen=True)
class RunOutcome:
    """The outcome of a run: Dagster's run id, failures, failed checks, and the published day or the reasons for none.

    ``late`` are the first and the last earlier day that the run materialised again, ``late_records`` the late records
    of these days, ``unread`` the files of the sources that were not read, ``records`` the counts of vendor records by
    raw table, ``alerts`` the reports of alerts, ``crm`` the reports of publishing to HubSpot and Salesforce.
    """

    run_id: str
    succeeded: bool
    failures: Sequence[StepFailure] = ()
    held: Sequence[str] = ()
    staged: Sequence[Any] = ()
    published: Sequence[Any] = ()
    not_published: Sequence[str] = ()
    notes: Sequence[str] = ()
    late: tuple[date, date] | None = None
    late_records: Sequence[LateRecords] = ()
    unread: Sequence[UnreadFile] = ()
    records: Sequence[RecordCounts] = ()
    alerts: Sequence[Any] = ()
    crm: Sequence[Any] = ()

    @property
    def exit_status(self) -> int:
        """0 if the run succeeded, 2 if all failures are input errors, 1 otherwise."""
        if self.succeeded:
            return 0
        statuses = {failure.exit_status for failure in self.failures}
        return 2 if statuses == {2} else 1
