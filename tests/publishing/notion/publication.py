"""What the tests of publishing share: marts of made-up accounts, an adapter that never waits, and what Notion holds."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager, closing
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from csm_core.notion_adapter import NotionCSMAdapter
from csm_core.notion_sandbox import faults
from csm_core.notion_sandbox.server import SandboxServer
from csm_core.publishing import opportunity_status
from csm_core.publishing.notion.apply import Report, apply_plan
from csm_core.publishing.notion.databases import CSM_LAST_SCAN, CSM_RECEIPT, CSM_ROOT, DATABASES, KINDS
from csm_core.publishing.notion.ledger import Ledger
from csm_core.publishing.notion.plan import Plan, make_plan
from csm_core.publishing.notion.rate_limiter import RateLimiter
from csm_core.publishing.notion.retry import Caller
from csm_core.publishing.notion.settings import NotionSettings
from csm_core.publishing.notion.setup import init_workspace
from csm_core.publishing.notion.workspace import new_client
from csm_core.rubric import SIGNAL_NAMES
from csm_core.system.notion_section import DEFAULT_API_VERSION
from csm_core.warehouse.migrations import upgrade

DAY = date(2026, 6, 30)
TITLES = tuple(spec.title for spec in DATABASES)

# The receipt of a page states since when its score is known: it differs between runs that did the same.
RECEIPTS = (CSM_RECEIPT, CSM_ROOT)

# A fault before the request is carried out, one after it, and an answer that is not whole; the others are slow tests.
_ALWAYS = ("rate_limited", "reset_after", "unavailable_committed", "truncated")
FAULT_KINDS = [
    pytest.param(kind, marks=() if kind in _ALWAYS else pytest.mark.slow)
    for kind in sorted(set(faults.KINDS) - {"delay"})
]


def lose_ledger(connection: duckdb.DuckDBPyConnection) -> None:
    """Empty the ledger, as in a new warehouse."""
    for (table,) in connection.execute("select table_name from duckdb_tables() where schema_name = 'sync'").fetchall():
        connection.execute(f"delete from sync.{table}")


def fill(
    connection: duckdb.DuckDBPyConnection,
    accounts: int,
    *,
    day: date = DAY,
    score: float = 80.0,
    reviews: int = 0,
    opportunities: int = 0,
    features: int = 3,
    mrr: float = 250.0,
) -> None:
    """Marts of one day, replacing those of another: accounts A0, A1, …, the first of them with reviews, opportunities.

    A review of ``features`` features has about as many blocks. Every account has the owner owner@example.com and loses
    points by its logins; the days since the last one are those since 1 June.
    """
    upgrade(connection)
    points = ", ".join(f"1.0 as {name}_points" for name in SIGNAL_NAMES)
    given = {"day": day, "score": score, "accounts": accounts}
    connection.execute(
        "create or replace table intermediate.int_account_days as select 'default' as tenant_id, "
        "'A' || i as account_id, cast(? as date) as as_of_date, 'Account ' || i as account_name "
        "from range(?) as numbers(i)",
        [day, accounts],
    )
    connection.execute(
        "create or replace table marts.csm_health_scores as select 'default' as tenant_id, 'A' || i as account_id, "
        "cast($day as date) as as_of_date, cast($score as double) as score, cast($score as double) as raw_score, "
        "case when $score >= 70 then 'GREEN' else 'RED' end as rag, "
        "case when $score >= 70 then 'low' else 'critical' end as churn_risk_level, "
        f"cast(null as varchar) as churn_triggered_by, 70.0 as green_threshold, "
        f"40.0 as amber_threshold, {points} from range($accounts) as numbers(i)",
        given,
    )
    connection.execute(
        "create or replace table marts.csm_accounts_daily as select 'default' as tenant_id, 'A' || i as account_id, "
        "cast($day as date) as as_of_date, 'Account ' || i as account_name, 'smb' as segment, 'growth' as plan, "
        "'Owner@example.com' as csm_owner, 10 as seats, cast($mrr as decimal(18, 2)) as mrr, 'EUR' as currency, "
        "cast(null as decimal(38, 2)) as mrr_reporting, cast(null as varchar) as reporting_currency, "
        "cast('2026-12-31' as date) as renewal_date, true as is_customer from range($accounts) as numbers(i)",
        {"day": day, "mrr": mrr, "accounts": accounts},
    )
    connection.execute(
        "create or replace table marts.csm_health_signals as select account_id, as_of_date, '' as missing_signals, "
        "cast(0.75 as double) as signal_coverage from marts.csm_health_scores"
    )
    connection.execute(
        "create or replace table marts.csm_signal_points as select 'default' as tenant_id, 'A' || i as account_id, "
        "cast($day as date) as as_of_date, signal, '1' as value, points, cast(10 as bigint) as weight, "
        "'no login for ' || (cast($day as date) - cast('2026-06-01' as date)) || ' days' as fact "
        "from range($accounts) as numbers(i), (values ('login_frequency_days', 2.0), ('nps_score', 10.0)) "
        "as signals(signal, points)",
        {"day": day, "accounts": accounts},
    )
    connection.execute(
        "create or replace table marts.csm_rag_transitions as select 'default' as tenant_id, 'A' || i as account_id, "
        "cast('2026-06-14' as date) as as_of_date, cast('2026-06-12' as date) as changed_on, "
        "'AMBER' as from_rag, 'GREEN' as to_rag "
        "from range(?) as numbers(i)",
        [accounts],
    )
    connection.execute(
        "create or replace table marts.csm_expansion_opportunities as select 'default' as tenant_id, "
        "'A' || i as account_id, cast(? as date) as as_of_date, 'module' as opportunity_type, 'reports' as subject, "
        "'Evidence at ' || ? as evidence, cast(10 as double) as estimated_arr_impact, 'EUR' as currency, "
        "'high' as confidence, 'Talk of it.' as recommended_talk_track from range(?) as numbers(i)",
        [day, str(score), opportunities],
    )
    connection.execute(
        "create or replace table marts.csm_feature_adoption as select 'default' as tenant_id, 'A' || i as account_id, "
        "cast(? as date) as as_of_date, 'feature ' || lpad(cast(f as varchar), 4, '0') as feature, 'core' as module, "
        "cast(null as varchar) as display_name, "
        "true as in_plan, 28 as window_days, f as users_in_window, f * 2 as events_in_window, f > 0 as adopted, "
        "cast(0.5 as double) as portfolio_adoption_rate from range(?) as numbers(i), range(?) as more(f)",
        [day, reviews, features],
    )
    connection.execute(
        "create or replace table marts.csm_qbr as select 'default' as tenant_id, 'A' || i as account_id, "
        "'Q2 2026' as period, 'quarterly' as trigger, cast($day as date) as as_of_date, "
        "'Account ' || i as account_name, cast(null as varchar) as segment, cast(null as varchar) as plan, "
        "cast('2026-04-01' as date) as period_start, cast($day as date) as period_end, "
        "cast(null as date) as renewal_date, cast(null as integer) as days_to_renewal, 10 as seats, "
        "cast(100 as decimal(18, 2)) as mrr, 'EUR' as currency, cast('2026-04-01' as date) as health_start_date, "
        "cast($day as date) as health_end_date, cast(50 as double) as score_start, "
        "cast($score as double) as score_end, 'AMBER' as rag_start, "
        "case when $score >= 70 then 'GREEN' else 'RED' end as rag_end, "
        "'AMBER → GREEN' as rag_path, cast(45 as double) as lowest_score, "
        "cast(90 as double) as highest_score, 'usage_trend' as up_signal_1, "
        "cast(12 as double) as up_points_1, cast(null as varchar) as up_signal_2, cast(null as double) as up_points_2, "
        "cast(null as varchar) as down_signal_1, cast(null as double) as down_points_1, "
        "cast(null as varchar) as down_signal_2, cast(null as double) as down_points_2, "
        "'nps_score' as weak_signal_1, cast(null as varchar) as weak_signal_2, cast(null as varchar) as weak_signal_3, "
        "7 as active_users, 5 as active_users_previous, 700 as events, 500 as events_previous, 3 as adopted_features, "
        "2 as adopted_features_previous, 4 as tickets_solved, 0 as tickets_solved_previous, "
        "cast(5.5 as double) as median_hours_to_solve, cast(null as double) as median_hours_to_solve_previous, "
        "1 as open_tickets, 3 as oldest_open_days, 2 as unpaid_invoices, 12 as days_past_due "
        "from range($reviews) as numbers(i)",
        {"day": day, "score": score, "reviews": reviews},
    )


async def at_once(_seconds: float) -> None:
    """A wait that is over."""


@asynccontextmanager
async def adapter_of(
    server: SandboxServer, *, version: str = DEFAULT_API_VERSION, **more: Any
) -> AsyncGenerator[NotionCSMAdapter]:
    """An adapter on the four databases of a sandbox, made if they are not there; it never waits between attempts."""
    client = new_client(NotionSettings.of({"NOTION_TOKEN": server.token, "NOTION_BASE_URL": server.url}, version))
    ids = await init_workspace(client, server.root_page_id)
    more.setdefault("caller", Caller(RateLimiter(1_000_000), sleep=at_once))
    try:
        yield NotionCSMAdapter(client, database_ids=ids, data_source_ids={}, **more)
    finally:
        await client.aclose()


async def publish(
    connection: duckdb.DuckDBPyConnection,
    adapter: NotionCSMAdapter,
    *,
    day: date = DAY,
    kinds: Sequence[str] = KINDS,
    run_id: str = "run",
    **more: Any,
) -> tuple[Plan, Report]:
    """Plan and apply."""
    ledger = Ledger(connection)
    plan = await make_plan(connection, adapter, ledger, day, kinds=kinds, **more)
    opportunity_status.record(connection, plan.opportunity_statuses)
    report = await apply_plan(plan, adapter, ledger, run_id=run_id)
    opportunity_status.record(connection, report.reopened)
    return plan, report


def held(file: Path, without: Collection[str] = ()) -> dict[str, list[dict[str, Any]]]:
    """Every page of the four databases by their titles: properties by name and blocks, without ids and times.

    ``without`` are properties to leave out.
    """
    found: dict[str, list[dict[str, Any]]] = {title: [] for title in TITLES}
    with closing(sqlite3.connect(file)) as store:
        store.row_factory = sqlite3.Row
        sources = {row["seq"]: row for row in store.execute("select * from sources")}
        # Related pages by title, people by name.
        titles = {row["id"]: row["title"] for row in store.execute("select id, title from pages")}
        names = {row["id"]: row["name"] for row in store.execute("select id, name from people")}
        blocks: dict[str, list[tuple[str, str]]] = {}
        for row in store.execute("select * from blocks where in_trash = 0 order by parent, position"):
            content = json.loads(row["content"])
            text = "".join(run["plain_text"] for run in content.get("rich_text", []))
            blocks.setdefault(row["parent"], []).append((row["type"], text))
        for row in store.execute("select * from pages where source is not null order by title"):
            source = sources[row["source"]]
            values = json.loads(row["properties"])
            page: dict[str, Any] = {"in_trash": bool(row["in_trash"]), "blocks": blocks.get(row["id"], [])}
            for name, config in json.loads(source["properties"]).items():
                if name not in (CSM_LAST_SCAN, *without):
                    options = {one["id"]: one["name"] for one in config.get("select", {}).get("options", [])}
                    page[name] = _shown(values.get(config["id"]), {**titles, **names, **options})
            title = "".join(run["plain_text"] for run in json.loads(source["title"]))
            found[title].append(page)
    return {
        title: sorted(pages, key=lambda page: json.dumps(page, sort_keys=True, default=str))
        for title, pages in found.items()
    }


def _shown(value: Any, options: dict[str, str]) -> Any:
    if isinstance(value, list) and value and "id" in value[0]:
        return sorted(options.get(one["id"], one["id"]) for one in value)
    if isinstance(value, list):
        return "".join(run.get("plain_text", "") for run in value)
    if isinstance(value, dict):
        return value.get("start")
    return options.get(value, value) if isinstance(value, str) else value
