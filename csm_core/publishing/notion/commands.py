"""The implementation of the `csm notion` commands, without the command line."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any

from csm_core.analysts.published_copy import publish_copy
from csm_core.config import Config
from csm_core.days import portfolio_checks
from csm_core.days.finished_days import accept, model_parameters, newest_held_day
from csm_core.errors import CSMError, InputError
from csm_core.publishing.alerts.publish import AlertReport, alert_day
from csm_core.publishing.notion.apply import Report
from csm_core.publishing.notion.databases import KINDS, PORTFOLIO
from csm_core.publishing.notion.ledger import Ledger
from csm_core.publishing.notion.local_notion import DEFAULT_PORT, new_sandbox
from csm_core.publishing.notion.plan import Plan
from csm_core.publishing.notion.publish import (
    examine,
    new_adapter,
    new_caller,
    open_existing,
    plan_day,
    publish_day,
    sandbox_file,
)
from csm_core.publishing.notion.settings import NotionSettings, require_id
from csm_core.publishing.notion.setup import init_workspace
from csm_core.publishing.notion.views import create_views
from csm_core.scoring.macros import create_macros
from csm_core.system.terminal import write_rewritten_line
from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.day_status import require_newest, require_scored

ALL_KINDS = (*KINDS, PORTFOLIO)


@dataclass(frozen=True)
class Initialised:
    """The ids of the databases by setting, and a line for each view that Notion rejected."""

    database_ids: dict[str, str]
    notes: list[str]


def init(config: Config, parent: str | None) -> Initialised:
    """Create or complete the four databases, and create the views that were never created."""
    if parent is None and not NotionSettings.of(os.environ).is_sandbox:
        message = "--parent is required: the id of the page in your workspace that will contain the databases"
        raise InputError(message)

    if parent is not None:
        require_id("--parent", parent)

    async def run(ledger: Ledger) -> Initialised:
        async with open_existing(config) as (client, settings):
            caller = new_caller(settings)
            ids = await init_workspace(
                client,
                parent,
                settings.database_ids,
                caller=caller,
                switched_off=config.notion.account_properties.switched_off,
            )
            return Initialised(ids, await create_views(client, caller, ledger, ids))

    with Warehouse.from_config(config).connect() as connection:
        return asyncio.run(run(Ledger(connection)))


def doctor(config: Config) -> list[dict[str, Any]]:
    """The problems of the databases, and of the template of reviews."""

    async def run() -> list[dict[str, Any]]:
        async with open_existing(config) as (client, settings):
            findings = await examine(client, settings, new_adapter(client, settings), config)
            return [asdict(finding) for finding in findings]

    return asyncio.run(run())


def plan(config: Config, day: date | None = None) -> Plan:
    """The plan for publishing a day (default: the newest complete day)."""
    _require_scores(config)
    with Warehouse.from_config(config).connect() as connection:
        if day:
            require_scored(connection, day)
        return plan_day(connection, config, day, kinds=ALL_KINDS)


def apply(config: Config, day: date | None = None) -> Report:
    """Publish a day (default: the newest complete day), and update the published copy."""
    _require_scores(config)
    warehouse = Warehouse.from_config(config)
    with warehouse.connect() as connection:
        if day:
            require_scored(connection, day)
        report = publish_day(connection, config, day, kinds=ALL_KINDS, on_progress=_progress)
    publish_copy(warehouse, create_macros, model_parameters(config))
    return report


@dataclass(frozen=True)
class Acceptance:
    """An accepted day, the publication of the newest complete day, and its alerts."""

    day: date
    published: Report
    alerts: AlertReport


def accept_and_apply(config: Config, checks: Collection[str], accepted_by: str, day: date | None = None) -> Acceptance:
    """Accept the failed checks of a held day (default: the newest held day), then publish the newest complete day.

    Business reviews are published for the accepted day and all later days. The alerts of days that are not evaluated
    yet are sent, as in a run, also if publishing fails. Raises InputError if the day is not held, or if ``checks`` are
    not exactly the failed checks.
    """
    portfolio_checks.require_known(checks)
    _require_scores(config)
    warehouse = Warehouse.from_config(config)
    with warehouse.run_lock():
        with warehouse.connect() as connection:
            accepted = day or newest_held_day(connection)
            accept(warehouse.engine(connection), config, accepted, checks, accepted_by)
        try:
            try:
                with warehouse.connect() as connection:
                    report = publish_day(
                        connection, config, kinds=ALL_KINDS, reviews_since=accepted, on_progress=_progress
                    )
            except CSMError:
                _alert(warehouse, config, accepted)
                raise
            return Acceptance(accepted, report, _alert(warehouse, config, accepted))
        finally:
            publish_copy(warehouse, create_macros, model_parameters(config))


def _alert(warehouse: Warehouse, config: Config, accepted: date) -> AlertReport:
    """Evaluate the rules up to the newest complete day, and send its digests."""
    with warehouse.connect() as connection:
        newest = require_newest(connection)
        return alert_day(connection, config.alerts, accepted, newest, clock=lambda: datetime.now(UTC))


def serve_sandbox(config: Config, port: int | None) -> None:
    """Serve the sandbox of a configuration until Ctrl-C, and print its address."""
    server = new_sandbox(sandbox_file(config), DEFAULT_PORT if port is None else port)
    sys.stdout.write(f"Sandbox pages: {server.url} (API: {server.url}/v1). Press Ctrl-C to stop.\n")
    sys.stdout.flush()
    server.serve_forever()


def _require_scores(config: Config) -> None:
    with Warehouse.from_config(config).connect() as connection:
        if not table_exists(connection, "marts.csm_health_scores"):
            message = f"no day has been scored in {config.warehouse}; run `csm run` first"
            raise InputError(message)


def _progress(done: int, steps: int, seconds_left: float) -> None:
    if sys.stderr.isatty():
        end = "\n" if done == steps else ""
        write_rewritten_line(f"  {done:,} of {steps:,} pages, about {seconds_left:,.0f} s left", end=end)
