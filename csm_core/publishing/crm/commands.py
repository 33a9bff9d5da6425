"""The implementation of the `csm crm` commands and of their part of `csm doctor`, without the command line."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

from csm_core.analysts.published_copy import publish_copy
from csm_core.config import Config
from csm_core.days.finished_days import model_parameters
from csm_core.errors import CSMError, InputError
from csm_core.publishing.crm.apply import CrmReport
from csm_core.publishing.crm.ledger import WRITTEN, CrmLedger, run_summaries
from csm_core.publishing.crm.plan import CrmPlan
from csm_core.publishing.crm.publish import destinations_of, open_vendor, plan_destination, publish_destination
from csm_core.publishing.crm.targets import Configured
from csm_core.scoring.macros import create_macros
from csm_core.system.crm_section import destination_name
from csm_core.system.terminal import write_rewritten_line
from csm_core.warehouse.database import Warehouse


def plan(config: Config, name: str | None = None, *, retry_rejected: bool = False) -> list[CrmPlan]:
    """The plans of all destinations, or of the one with a name."""
    destinations = destinations_of(config, name)
    with _existing(config).connect() as connection:
        return [plan_destination(connection, one, retry_rejected=retry_rejected) for one in destinations]


def apply(
    config: Config, name: str | None = None, *, retry_rejected: bool = False
) -> tuple[list[CrmReport], list[CSMError]]:
    """Publish the newest complete day to all destinations, or to the one with a name; update the published copy.

    Returns the reports, and the errors of destinations that could not be published.
    """
    destinations = destinations_of(config, name)
    warehouse = _existing(config)
    reports: list[CrmReport] = []
    errors: list[CSMError] = []
    with warehouse.run_lock():
        with warehouse.connect() as connection:
            for one in destinations:
                try:
                    reports.append(
                        publish_destination(
                            connection, one, retry_rejected=retry_rejected, on_progress=_progress(destination_name(one))
                        )
                    )
                except CSMError as error:
                    errors.append(error)
        if reports:
            publish_copy(warehouse, create_macros, model_parameters(config))
    return reports, errors


def status(config: Config, name: str | None = None) -> list[dict[str, Any]]:
    """What the ledger has of each destination: records by state, those that are not written, and the last run."""
    destinations = destinations_of(config, name)
    states: list[dict[str, Any]] = []
    with _existing(config).connect() as connection:
        for one in map(destination_name, destinations):
            records = CrmLedger(connection, one).records()
            last = run_summaries(connection, one)
            states.append(
                {
                    "destination": one,
                    "records": dict(sorted(Counter(record.state for record in records.values()).items())),
                    "problems": [
                        {"account_id": record.account_id, "state": record.state, "message": record.message}
                        for record in records.values()
                        if record.state != WRITTEN
                    ],
                    "last_run": last[0] if last else None,
                }
            )
    return states


def examine(destination: Configured, environment: Mapping[str, str] | None = None) -> tuple[int, str, list[str]]:
    """Check the variables of a destination, and compare its fields with those of the vendor.

    Returns an exit status (0 no problems, 2 something must be fixed, 1 not reachable now), a message, and problems.
    """
    try:
        vendor = open_vendor(destination, environment)
        with vendor.api:
            problems = list(vendor.examine().problems)
    except CSMError as error:
        return error.exit_status, str(error), []
    return 2 if problems else 0, f"{vendor.api.base_url} is reachable", problems


def _existing(config: Config) -> Warehouse:
    warehouse = Warehouse.from_config(config)
    if not warehouse.path.is_file():
        message = f"there is no warehouse at {warehouse.path}: `csm run` creates it"
        raise InputError(message)
    return warehouse


def _progress(name: str) -> Any:
    def show(done: int, steps: int) -> None:
        if sys.stderr.isatty():
            write_rewritten_line(f"  {name}: {done:,} of {steps:,} records", end="\n" if done == steps else "")

    return show
