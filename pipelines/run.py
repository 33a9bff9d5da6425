"""Runs days with Dagster in this process, on the shared instance: the implementation of `csm run`."""

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import dagster as dg

from assets.alerts import NAME as ALERTS
from assets.backtest import NAME as BACKTEST
from assets.context import Pipeline
from assets.crm import crm_names
from assets.publish import PUBLISH_ASSETS
from csm_core.accounts import account_map
from csm_core.config import Config
from csm_core.contract import ACCOUNTS, ENTITIES
from csm_core.days import portfolio_checks
from csm_core.errors import InputError
from csm_core.operations.run_outcome import RunOutcome
from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.database import Warehouse
from pipelines.abandoned import close_abandoned_runs, process_tag
from pipelines.build import build_defs
from pipelines.catch_up import RANGE_END, RANGE_START
from pipelines.failures import is_failed_check, step_failure
from pipelines.instance import shared_instance
from pipelines.run_logs import CSM_RUN, STARTED_BY

_SWITCHED_OFF = "publishing is disabled for this run (--no-publish or --dry-run)"
# The command reports failures itself; Dagster's console log would repeat them.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


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
    """Materialise the days as one run. ``select`` lists assets; empty means all assets but the backtest.

    Raises InputError for an unknown asset or accepted check. A failed step does not raise an exception; it is part of
    the outcome.
    """
    portfolio_checks.require_known(accepted)
    optional = {"progress": progress, "clock": clock}
    extra: Mapping[str, Any] = {name: value for name, value in optional.items() if value is not None}
    pipeline = Pipeline(config, Warehouse.from_config(config), accepted=accepted, accepted_by=accepted_by, **extra)
    definitions = build_defs(config, pipeline)
    run_id = str(uuid.uuid4())
    with shared_instance(config) as instance:
        # Inside the block: Dagster uses the instance that was opened last in this process, which may be closed.
        keys = _selected(definitions, select, () if publish else (*PUBLISH_ASSETS, *crm_names(config), ALERTS))
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
        tuple(pipeline.alerts),
        tuple(pipeline.crm),
    )


def _unknown_accounts(warehouse: Warehouse) -> list[str]:
    """A note about entries of the list of domains with accounts that are not staged."""
    with warehouse.connect() as connection:
        if not table_exists(connection, ENTITIES[ACCOUNTS].table):
            return []
        unknown = account_map.unknown_accounts(connection)
    return [account_map.unknown_accounts_text(unknown)] if unknown else []


def _selected(definitions: dg.Definitions, select: Sequence[str], without: Collection[str]) -> list[dg.AssetKey]:
    # Source systems and views are not materialised.
    keys = {key.to_user_string(): key for key in definitions.resolve_asset_graph().materializable_asset_keys}
    unknown = sorted(set(select) - keys.keys())
    if unknown:
        message = f"no asset named {', '.join(unknown)}; the assets are: {', '.join(sorted(keys))}"
        raise InputError(message)
    chosen = list(select) or sorted(keys.keys() - {BACKTEST})
    wanted = [keys[name] for name in chosen if name not in without]
    if not wanted:
        # For Dagster, an empty selection is every asset.
        message = f"the selected assets only publish ({', '.join(chosen)}), and publishing is disabled for this run"
        raise InputError(message)
    # The assets of one step, such as the raw tables of a system, must be selected together.
    selection = dg.AssetSelection.assets(*wanted).required_multi_asset_neighbors()
    return sorted(selection.resolve(definitions.resolve_asset_graph()))


def _span(spans: Collection[tuple[date, date]]) -> tuple[date, date] | None:
    firsts, lasts = zip(*spans, strict=True) if spans else ((), ())
    return (min(firsts), max(lasts)) if firsts else None
