"""The entry point of publishing for assets and the command line: opens the workspace, plans, applies and reports."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
from notion_client import AsyncClient

from csm_core.config import Config
from csm_core.errors import NotionError
from csm_core.publishing import opportunity_status
from csm_core.publishing.notion import assessments, day_pages, score_charts
from csm_core.publishing.notion.adapter import NotionCSMAdapter
from csm_core.publishing.notion.apply import OnProgress, Report, apply_plan
from csm_core.publishing.notion.databases import CHART, DATABASES, HEALTH, KINDS, NOTES, PORTFOLIO, QBR, SPECS
from csm_core.publishing.notion.findings import Finding, new_finding
from csm_core.publishing.notion.ledger import Ledger
from csm_core.publishing.notion.local_notion import SANDBOX_FILE
from csm_core.publishing.notion.notes_pages import NotesPublication, planned_actions
from csm_core.publishing.notion.page_templates import PageTemplate
from csm_core.publishing.notion.plan import CREATE, Plan, make_plan
from csm_core.publishing.notion.portfolio_page import planned_action, publish_portfolio
from csm_core.publishing.notion.pulse_pages import read_pulses
from csm_core.publishing.notion.rate_limiter import WINDOW_SECONDS, RateLimiter, shared_limiter
from csm_core.publishing.notion.retry import Caller
from csm_core.publishing.notion.score_charts import ChartPublication, load_charts
from csm_core.publishing.notion.settings import NotionSettings
from csm_core.publishing.notion.setup import doctor
from csm_core.publishing.notion.target_pages import account_of
from csm_core.publishing.notion.titled_page_writer import combined
from csm_core.publishing.notion.workspace import open_workspace
from csm_core.warehouse.day_status import require_newest

Clock = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


def sandbox_file(config: Config) -> Path:
    """The file with the sandbox pages of a configuration, in the folder of the warehouse."""
    return config.warehouse.parent / SANDBOX_FILE


def plan_day(
    connection: duckdb.DuckDBPyConnection,
    config: Config,
    day: date | None = None,
    *,
    kinds: Sequence[str] = KINDS,
    environment: Mapping[str, str] | None = None,
) -> Plan:
    """The plan for publishing a day (default: the newest complete day). Writes no page."""
    return asyncio.run(_plan(connection, config, day, kinds, environment))


def publish_day(
    connection: duckdb.DuckDBPyConnection,
    config: Config,
    day: date | None = None,
    *,
    kinds: Sequence[str] = KINDS,
    environment: Mapping[str, str] | None = None,
    run_id: str | None = None,
    on_progress: OnProgress | None = None,
    reviews_since: date | None = None,
    reviews_until: date | None = None,
    clock: Clock = _now,
) -> Report:
    """Plan and apply a day. The report lists failed pages; only an error that affects all pages raises an exception.

    ``kinds`` may include the portfolio page, which is written last. If ``reviews_since`` and ``reviews_until`` are set,
    the business reviews of all days between them are published. The statuses that technical account managers selected
    on account pages are recorded as assessments, with the time of ``clock``. The pulses on account pages, and the
    statuses that users selected on opportunities, are recorded. Raises InputError for a held or unfinished day.
    """
    reviews = (reviews_since, reviews_until)
    return asyncio.run(_publish(connection, config, day, kinds, environment, run_id, on_progress, reviews, clock))


async def _plan(
    connection: duckdb.DuckDBPyConnection,
    config: Config,
    day: date | None,
    kinds: Sequence[str],
    environment: Mapping[str, str] | None,
) -> Plan:
    async with _open(config, environment) as (client, settings):
        ledger = Ledger(connection)
        adapter = new_adapter(client, settings, ledger, config.notion.account_properties.switched_off)
        findings = await examine(client, settings, adapter, config)
        plan = await _make(connection, config, adapter, ledger, day, [kind for kind in kinds if kind != PORTFOLIO])
        action = ""
        if PORTFOLIO in kinds and config.notion.portfolio_page:
            action = planned_action(connection, ledger, plan.day, _database_links(settings))
        return replace(
            plan,
            drift=tuple(finding.message for finding in findings),
            portfolio_page=action,
            notes_actions=planned_actions(ledger, plan.noted_reviews) if _has_notes_pages(config, kinds) else None,
            chart_actions=_planned_charts(connection, ledger, plan)
            if config.notion.score_chart and HEALTH in kinds
            else None,
        )


def _planned_charts(connection: duckdb.DuckDBPyConnection, ledger: Ledger, plan: Plan) -> dict[str, int]:
    created = {
        account_of(step.target.key) for step in plan.steps if (step.action, step.target.kind) == (CREATE, HEALTH)
    }
    return score_charts.planned_actions(ledger, load_charts(connection, plan.day), created)


async def _publish(
    connection: duckdb.DuckDBPyConnection,
    config: Config,
    day: date | None,
    kinds: Sequence[str],
    environment: Mapping[str, str] | None,
    run_id: str | None,
    on_progress: OnProgress | None,
    reviews: tuple[date | None, date | None],
    clock: Clock,
) -> Report:
    async with _open(config, environment) as (client, settings):
        ledger = Ledger(connection)
        adapter = new_adapter(client, settings, ledger, config.notion.account_properties.switched_off)
        if config.notion.qbr_template:
            adapter.templates[QBR] = PageTemplate(client, adapter.caller, adapter.blocks, config.notion.qbr_template)
        run_id = run_id or uuid.uuid4().hex
        pages = [kind for kind in kinds if kind != PORTFOLIO]

        async def portfolio(run_id: str) -> Report:
            return await publish_portfolio(
                connection,
                client,
                adapter,
                ledger,
                day or require_newest(connection),
                run_id=run_id,
                scanned_at=clock(),
                databases=_database_links(settings),
            )

        if not pages:
            return replace(await portfolio(run_id), address=_service(settings))
        plan = await _make(connection, config, adapter, ledger, day, pages, *reviews)
        # Recorded before any page is written, so that an interruption does not lose the statuses.
        window = config.signals.tam_window_days
        read_back = (
            assessments.record(connection, plan.statuses, clock(), window_days=window) if HEALTH in pages else None
        )
        pulses = await read_pulses(connection, adapter, plan.pulses, clock()) if HEALTH in pages else None
        opportunity_status.record(connection, plan.opportunity_statuses)
        notes = NotesPublication(client, adapter, ledger, plan.noted_reviews, plan.day, f"{run_id}/{NOTES}")
        notes.intend()
        report = await apply_plan(
            plan,
            adapter,
            ledger,
            run_id=run_id,
            address=_service(settings),
            databases={
                kind: url
                for kind in pages
                if (url := settings.address_of(settings.database_ids.get(SPECS[kind].setting)))
            },
            on_progress=on_progress,
            read_back=read_back,
        )
        report = replace(report, pulses=pulses)
        opportunity_status.record(connection, report.reopened)
        if config.notion.score_chart and HEALTH in pages:
            charts = ChartPublication(client, adapter, ledger, plan.day, f"{run_id}/{CHART}")
            report = combined(report, await charts.publish(load_charts(connection, plan.day)))
        if _has_notes_pages(config, pages):
            report = combined(report, await notes.publish())
        if PORTFOLIO in kinds and config.notion.portfolio_page:
            report = combined(report, await portfolio(f"{run_id}/{PORTFOLIO}"))
        return report


async def _make(
    connection: duckdb.DuckDBPyConnection,
    config: Config,
    adapter: NotionCSMAdapter,
    ledger: Ledger,
    day: date | None,
    kinds: Sequence[str],
    reviews_since: date | None = None,
    reviews_until: date | None = None,
) -> Plan:
    return await make_plan(
        connection,
        adapter,
        ledger,
        day or require_newest(connection),
        kinds=kinds,
        create_missing_accounts=config.notion.create_missing_accounts,
        reviews_since=reviews_since,
        reviews_until=reviews_until,
        reopen_days=config.expansion.reopen_days,
        qbr_internal=config.notion.qbr_internal,
        roi=config.roi,
    )


async def examine(
    client: AsyncClient, settings: NotionSettings, adapter: NotionCSMAdapter, config: Config
) -> list[Finding]:
    """The problems of the databases, and of the template of reviews. Raises NotionError if Notion cannot be reached."""
    switched_off = config.notion.account_properties.switched_off
    findings = await doctor(client, settings, caller=adapter.caller, switched_off=switched_off)
    reviews = SPECS[QBR]
    if config.notion.qbr_template and not any(one.setting == reviews.setting for one in findings):
        template = PageTemplate(client, adapter.caller, adapter.blocks, config.notion.qbr_template)
        source = await adapter.reader.source(reviews)
        try:
            await template.beginning(source.data_source_id)
        except NotionError as error:
            findings.append(new_finding(reviews, "template", str(error)))
    return findings


def new_adapter(
    client: AsyncClient,
    settings: NotionSettings,
    ledger: Ledger | None = None,
    switched_off: Collection[str] = (),
) -> NotionCSMAdapter:
    """An adapter with the ids of the settings and the rate limiter that this process shares.

    The ledger supplies the number of requests that other processes sent in the last minute.
    """
    return NotionCSMAdapter(
        client,
        database_ids=settings.database_ids,
        data_source_ids=settings.data_source_ids,
        caller=new_caller(settings, ledger),
        switched_off=switched_off,
    )


def new_caller(settings: NotionSettings, ledger: Ledger | None = None) -> Caller:
    """The retry policy with the rate limiter that this process shares."""
    if settings.is_sandbox:
        return Caller(RateLimiter(settings.requests_per_minute))
    owner = hash(settings.token.get_secret_value())
    limiter, is_new = shared_limiter(settings.base_url, owner, settings.requests_per_minute)
    if is_new and ledger is not None:
        limiter.count_earlier(ledger.recent_requests(WINDOW_SECONDS))
    return Caller(limiter)


def _has_notes_pages(config: Config, kinds: Sequence[str]) -> bool:
    return QBR in kinds and config.notion.qbr_internal == day_pages.NOTES_PAGE


def _service(settings: NotionSettings) -> str:
    return "" if settings.is_sandbox else settings.base_url


def _database_links(settings: NotionSettings) -> list[tuple[str, str]]:
    """The title and the address of each database that users can open in a browser."""
    addresses = ((spec.title, settings.address_of(settings.database_ids.get(spec.setting))) for spec in DATABASES)
    return [(title, address) for title, address in addresses if address]


def open_existing(config: Config) -> AbstractAsyncContextManager[tuple[AsyncClient, NotionSettings]]:
    """The workspace of the environment, or the sandbox as it is: no database is created."""
    return open_workspace(os.environ, sandbox_file(config), prepare=False, api_version=config.notion.api_version)


def _open(
    config: Config, environment: Mapping[str, str] | None
) -> AbstractAsyncContextManager[tuple[AsyncClient, NotionSettings]]:
    return open_workspace(
        _environment(environment),
        sandbox_file(config),
        switched_off=config.notion.account_properties.switched_off,
        api_version=config.notion.api_version,
    )


def _environment(environment: Mapping[str, str] | None) -> Mapping[str, str]:
    return os.environ if environment is None else environment
