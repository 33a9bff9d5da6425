"""Runs days through Dagster in this process, on the shared instance: what `csm run` does."""

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import dagster as dg

from assets.context import Pipeline
from assets.publish import PUBLISH_ASSETS
from csm_core.accounts import account_map
from csm_core.config import Config
from csm_core.contract import ACCOUNTS, ENTITIES
from csm_core.days import portfolio_checks
from csm_core.errors import InputError
from csm_core.ingest.found_files import UnreadFile
from csm_core.staging.vendor_records import RecordCounts
from csm_core.warehouse.database import Warehouse, table_exists
from csm_core.warehouse.late_changes import LateRecords
from pipelines.abandoned import close_abandoned_runs, process_tag
from pipelines.build import build_defs
from pipelines.catch_up import RANGE_END, RANGE_START
from pipelines.failures import StepFailure, is_failed_check, step_failure
from pipelines.instance import shared_instance
from pipelines.run_logs import CSM_RUN, STARTED_BY

_SWITCHED_OFF = "publishing is switched off for this run (--no-publish or --dry-run)"
# Failures are collected and told by the command itself; Dagster's console log would say everything twice.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


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


def run_days(
    config: Config,
    days: tuple[date, date],
    *,
    select: Sequence[str] = (),
    publish: bool = True,
    progress: Any = None,
    accepted: frozenset[str] = frozenset(),
    accepted_by: str = "",
    clock: Callable[[], datetime] | None = None,
) -> RunOutcome:
    """Materialise the days as one run. ``select`` names assets; nothing selected means all of them.

    Raises InputError for an asset or an accepted check that is not there. A failure of a step is no exception but part
    of the outcome.
    """
    portfolio_checks.require_known(accepted)
    given = {"progress": progress, "clock": clock}
    extra: Mapping[str, Any] = {name: value for name, value in given.items() if value is not None}
    pipeline = Pipeline(config, Warehouse.from_config(config), accepted=accepted, accepted_by=accepted_by, **extra)
    definitions = build_defs(config, pipeline)
    run_id = str(uuid.uuid4())
    with shared_instance(config) as instance:
        # Not before: Dagster asks the instance that was entered last in this process, which may be gone.
        keys = _selected(definitions, select, publish)
        job = definitions.resolve_implicit_global_asset_job_def()
        close_abandoned_runs(instance)
        result = job.execute_in_process(
            instance=instance,
            asset_selection=keys,
            raise_on_error=False,
            run_config=_QUIET,
            run_id=run_id,
            tags={
                RANGE_START: days[0].isoformat(),
                RANGE_END: days[1].isoformat(),
                STARTED_BY: CSM_RUN,
                **process_tag(run_id),
            },
        )
    if config.identity.account_domains is not None:
        pipeline.notes.extend(_unknown_accounts(pipeline.warehouse))
    failures = [
        step_failure(event)
        for event in result.all_events
        if event.is_step_failure and not (pipeline.held and is_failed_check(event))
    ]
    return RunOutcome(
        result.run_id,
        result.success,
        failures,
        tuple(pipeline.held),
        tuple(pipeline.staged),
        tuple(pipeline.published),
        tuple(dict.fromkeys(pipeline.not_published if publish else [_SWITCHED_OFF])),
        tuple(pipeline.notes),
        _span(pipeline.late.values()),
        tuple(sorted(pipeline.late_records)),
        tuple(sorted(set(pipeline.unread), key=str)),
        tuple(sorted(pipeline.records, key=lambda one: one.table)),
    )


def _unknown_accounts(warehouse: Warehouse) -> list[str]:
    """A note on the lines of the list of domains whose account the run has not staged."""
    with warehouse.connect() as connection:
        if not table_exists(connection, ENTITIES[ACCOUNTS].table):
            return []
        unknown = account_map.unknown_accounts(connection)
    return [account_map.unknown_accounts_text(unknown)] if unknown else []


def _selected(definitions: dg.Definitions, select: Sequence[str], publish: bool) -> list[dg.AssetKey]:
    keys = {key.to_user_string(): key for key in definitions.resolve_all_asset_keys()}
    unknown = sorted(set(select) - keys.keys())
    if unknown:
        message = f"no asset named {', '.join(unknown)}; there are: {', '.join(sorted(keys))}"
        raise InputError(message)
    chosen = list(select) or sorted(keys)
    wanted = [keys[name] for name in chosen if publish or name not in PUBLISH_ASSETS]
    # What one step makes together is selected together: the raw tables of a system.
    selection = dg.AssetSelection.assets(*wanted).required_multi_asset_neighbors()
    return sorted(selection.resolve(definitions.resolve_asset_graph()))


def _span(spans: Collection[tuple[date, date]]) -> tuple[date, date] | None:
    firsts, lasts = zip(*spans, strict=True) if spans else ((), ())
    return (min(firsts), max(lasts)) if firsts else None
