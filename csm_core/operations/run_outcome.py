"""How a run of the pipeline ended, as data: what the runner returns and the report of the run shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from csm_core.ingest.found_files import UnreadFile
from csm_core.staging.vendor_records import RecordCounts
from csm_core.warehouse.late_changes import LateRecords


@dataclass(frozen=True)
class StepFailure:
    """One asset that failed: its name, the message for a person, and the exit status that its error asks for."""

    asset: str
    message: str
    exit_status: int


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended: Dagster's run id, what failed, why publishing was held, what was published or why nothing was.

    ``late`` are the first and last of the days before its own that the run materialised again, ``late_records`` what
    had arrived for them, ``unread`` the files of the sources that are not read, ``records`` the counts of the vendors'
    records by raw table.
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

    @property
    def exit_status(self) -> int:
        """0 done, 2 if only bad input was in the way, 1 for any other failure."""
        if self.succeeded:
            return 0
        statuses = {failure.exit_status for failure in self.failures}
        return 2 if statuses == {2} else 1
