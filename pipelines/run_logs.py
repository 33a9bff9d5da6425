"""What a run logs carries its run and its days, as long as it goes on."""

from contextlib import AbstractContextManager, nullcontext

import dagster as dg

from csm_core.config import Config
from csm_core.logging import run_logging
from pipelines.catch_up import days_text

STARTED_BY = "csm/started_by"
CSM_RUN = "csm run"


def logged_run(run: dg.DagsterRun | None, config: Config) -> AbstractContextManager[None]:
    """State the run and its days with every line that is logged within; without a run, nothing."""
    if run is None:
        return nullcontext()
    # Dagster's console is for people, and `csm run` has it switched off.
    shown_elsewhere = config.log_format == "people" and run.tags.get(STARTED_BY) != CSM_RUN
    return run_logging(run.run_id, days_text(run.tags), shown_elsewhere=shown_elsewhere)
