"""Adds the run id and the days of a run to its log lines."""

from contextlib import AbstractContextManager, nullcontext

import dagster as dg

from csm_core.config import Config
from csm_core.logging import run_logging
from pipelines.catch_up import days_text

STARTED_BY = "csm/started_by"
CSM_RUN = "csm run"


def logged_run(run: dg.DagsterRun | None, config: Config) -> AbstractContextManager[None]:
    """Add the run id and the days to all lines that are logged in the block; does nothing without a run."""
    if run is None:
        return nullcontext()
    # Dagster's console shows the lines already, except in `csm run`, which disables it.
    shown_elsewhere = config.log_format == "console" and run.tags.get(STARTED_BY) != CSM_RUN
    return run_logging(run.run_id, days_text(run.tags), shown_elsewhere=shown_elsewhere)
