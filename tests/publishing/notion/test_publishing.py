"""Planning and applying over real HTTP against the sandbox: once, again, after changes, faults and kills."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest

from csm_core.config import Config
from csm_core.errors import NotionError
from csm_core.notion_adapter import NotionCSMAdapter
from csm_core.notion_sandbox.faults import Fault
from csm_core.notion_sandbox.server import SandboxServer
from csm_core.publishing.notion.database_reader import page_facts
from csm_core.publishing.notion.databases import ACCOUNTS, CSM_HEALTH_SCORE, EXPANSIONS, HEALTH_RECORDS, QBRS
from csm_core.publishing.notion.publish import plan_day, publish_day, sandbox_file
from csm_core.publishing.notion.rate_limiter import RateLimiter
from csm_core.publishing.notion.retry import Caller
from csm_core.publishing.notion.settings import NotionSettings
from csm_core.publishing.notion.setup import init_workspace
from csm_core.publishing.notion.target_pages import TargetPage, key_of
from csm_core.publishing.notion.workspace import new_client
from csm_core.rubric import SIGNAL_NAMES
from csm_core.warehouse.database import Warehouse
from tests.publishing.notion.publication import lose_ledger

DAY = date(2026, 6, 30)
SPECS = (ACCOUNTS, HEALTH_RECORDS, QBRS, EXPANSIONS)


def fill(connection: duckdb.DuckDBPyConnection, accounts: int, day: date = DAY, *, score: float = 80.0) -> None:
    """The tables that publishing reads, for so many accounts; those whose id is below A2 have an opportunity."""
    points = ", ".join(f"1.0 as {name}_points" for name in SIGNAL_NAMES)
    connection.execute(
        "create or replace table intermediate.int_account_days as select 'default' as tenant_id, "
        "'A' || i as account_id, cast(? as date) as as_of_date, 'Account ' || i as account_name from range(?) t(i)",
        [day, accounts],
    )
    connection.execute(
        "create or replace table marts.csm_health_scores as select tenant_id, account_id, as_of_date, "
        "cast($score as double) as score, cast($score as double) as raw_score, "
        "case when $score >= 70 then 'GREEN' else 'RED' end as rag, "
        "case when $score >= 70 then 'low' else 'critical' end as churn_risk_level, "
        f"cast(null as varchar) as churn_triggered_by, {points} from intermediate.int_account_days",
        {"score": score},
    )
    connection.execute(
        "create or replace table marts.csm_expansion_opportunities as select tenant_id, account_id, as_of_date, "
        "'seats' as opportunity_type, '' as subject, 'Evidence at ' || ? as evidence, 10.0 as estimated_arr_impact, "
        "'USD' as currency, 'high' as confidence, 'Talk.' as recommended_talk_track "
        "from intermediate.int_account_days where account_id < 'A2'",
        [str(score)],
    )


def pages(server: SandboxServer) -> dict[str, list[dict[str, object]]]:
    """Every page of the four databases as plain values with their blocks' texts, by database title."""

    async def read() -> dict[str, list[dict[str, object]]]:
        adapter, client = await _adapter(server)
        found: dict[str, list[dict[str, object]]] = {}
        for spec in SPECS:
            rows = [page_facts(spec, page) for page in await adapter.reader.query_all(spec)]
            for row in rows:
                texts = [
                    "".join(run["plain_text"] for run in block[block["type"]].get("rich_text", []))
                    for block in await adapter.blocks.children(row["id"])
                ]
                row["blocks"] = texts
                # The ids of related pages differ.
                row["Account"] = len(row.get("Account") or ())
                for volatile in ("id", "url", "last_edited_by", "last_edited_time", "CSM Last Scan"):
                    row.pop(volatile, None)
            found[spec.title] = sorted(rows, key=lambda row: json.dumps(row, sort_keys=True, default=str))
        await client.aclose()
        return found

    return asyncio.run(read())


async def _adapter(server: SandboxServer, **more):
    settings = NotionSettings.of({"NOTION_TOKEN": server.token, "NOTION_BASE_URL": server.url})
    client = new_client(settings)
    ids = await init_workspace(client, server.root_page_id)

    async def at_once(_seconds: float) -> None:
        return

    caller = Caller(RateLimiter(1_000_000), sleep=at_once)
    return NotionCSMAdapter(client, database_ids=ids, data_source_ids={}, caller=more.get("caller", caller)), client


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(warehouse=tmp_path / "w.duckdb")


@pytest.fixture
def warehouse(config):
    with Warehouse.from_config(config).connect() as connection:
        yield connection


def everything(config: Config) -> dict[str, list[dict[str, object]]]:
    with SandboxServer(sandbox_file(config)) as server:
        return pages(server)


def test_a_second_run_writes_nothing_and_reads_little(config, warehouse):
    fill(warehouse, 250)
    first = publish_day(warehouse, config, DAY, environment={})
    assert first.created == {
        "health": 250,
        "record": 250,
        "qbr": 0,
        "expansion": len(warehouse.execute("from marts.csm_expansion_opportunities").fetchall()),
    }
    assert not first.failures
    before = everything(config)
    second = publish_day(warehouse, config, DAY, environment={})
    assert sum(second.created.values()) + sum(second.updated.values()) == 0
    assert second.requests <= 3 + 4
    assert everything(config) == before
    runs = warehouse.execute(
        "select created, updated, skipped, failed from sync.notion_runs order by ended_at"
    ).fetchall()
    assert runs[1][:2] == (0, 0)


def test_changed_accounts_cost_one_request_each(config, warehouse):
    fill(warehouse, 250)
    publish_day(warehouse, config, DAY, environment={}, kinds=["health"])
    warehouse.execute("update marts.csm_health_scores set score = 81.5 where account_id in ('A7', 'A8', 'A9')")
    plan = plan_day(warehouse, config, DAY, environment={}, kinds=["health"])
    assert (plan.count("update"), plan.count("create"), plan.skipped["health"]) == (3, 0, 247)
    report = publish_day(warehouse, config, DAY, environment={}, kinds=["health"])
    assert (report.updated["health"], report.requests) == (3, 3 + 3)


def test_health_records_are_written_when_rag_or_risk_changed(config, warehouse):
    fill(warehouse, 3)
    publish_day(warehouse, config, DAY, environment={})
    fill(warehouse, 3, DAY + timedelta(days=1), score=82.0)
    calm = publish_day(warehouse, config, DAY + timedelta(days=1), environment={})
    fill(warehouse, 3, DAY + timedelta(days=2), score=20.0)
    fallen = publish_day(warehouse, config, DAY + timedelta(days=2), environment={})
    assert (calm.created["record"], calm.updated["health"], fallen.created["record"]) == (0, 3, 3)
    assert len(everything(config)[HEALTH_RECORDS.title]) == 6


def test_an_opportunity_is_updated_and_never_made_twice(config, warehouse):
    fill(warehouse, 2)
    publish_day(warehouse, config, DAY, environment={})
    fill(warehouse, 2, DAY + timedelta(days=1), score=81.0)
    publish_day(warehouse, config, DAY + timedelta(days=1), environment={})
    found = everything(config)[EXPANSIONS.title]
    assert len(found) == 2
    for page in found:
        assert page["blocks"].count("Evidence at 81.0") == 1
        assert "Evidence at 80.0" not in page["blocks"]


def test_what_people_wrote_stays_and_what_they_trashed_is_not_made_again(config, warehouse):
    fill(warehouse, 3)
    publish_day(warehouse, config, DAY, environment={})
    known = dict(
        warehouse.execute("select key, page_id from sync.notion_pages where kind in ('health', 'expansion')").fetchall()
    )
    opportunity = known['["A0", "seats", ""]']

    async def as_people() -> None:
        with SandboxServer(sandbox_file(config)) as server:
            _, client = await _adapter(server)
            note = {
                "object": "block",
                "type": "paragraph",
                "paragraph": {"rich_text": [{"text": {"content": "Called them."}}]},
            }
            await client.blocks.children.append(opportunity, children=[note])
            await client.pages.update(known['["A1"]'], in_trash=True)
            await client.aclose()

    asyncio.run(as_people())
    fill(warehouse, 3, DAY + timedelta(days=1), score=60.0)
    report = publish_day(warehouse, config, DAY + timedelta(days=1), environment={})
    found = everything(config)
    assert report.trashed == 1
    assert [page["account_id"] for page in found[ACCOUNTS.title]] == ["A0", "A2"]
    (mended,) = [page for page in found[EXPANSIONS.title] if page["account_id"] == "A0"]
    assert "Called them." in mended["blocks"]
    assert "Evidence at 60.0" in mended["blocks"]


def test_a_lost_ledger_makes_no_page_twice(config, warehouse):
    fill(warehouse, 30)
    publish_day(warehouse, config, DAY, environment={})
    before = everything(config)
    lose_ledger(warehouse)
    publish_day(warehouse, config, DAY, environment={})
    assert everything(config) == before


def test_two_pages_of_an_account_are_reported_and_the_others_written(config, warehouse):
    fill(warehouse, 2)
    publish_day(warehouse, config, DAY, environment={}, kinds=["health"])

    async def double() -> None:
        with SandboxServer(sandbox_file(config)) as server:
            adapter, client = await _adapter(server)
            source = await adapter.reader.source(ACCOUNTS)
            account_id = {"rich_text": [{"text": {"content": "A0"}}]}
            await client.pages.create(parent=source.parent, properties={"account_id": account_id})
            with pytest.raises(NotionError, match="2 pages"):
                await adapter.get_account("A0")
            await client.aclose()

    asyncio.run(double())
    fill(warehouse, 2, DAY + timedelta(days=1), score=75.0)
    report = publish_day(warehouse, config, DAY + timedelta(days=1), environment={}, kinds=["health"])
    assert [change.key for change in report.failures] == ['["A0"]']
    assert report.updated["health"] == 1


def test_the_token_is_in_no_message_and_no_representation(config, warehouse):
    fill(warehouse, 1)
    secret = "ntn_very_secret_value"
    with SandboxServer(sandbox_file(config)) as server:
        environment = {"NOTION_TOKEN": secret, "NOTION_BASE_URL": server.url, "NOTION_DATABASE_ID": "0" * 32}
        with pytest.raises(NotionError, match="unauthorized") as caught:
            publish_day(warehouse, config, DAY, environment=environment, kinds=["health"])
    assert secret not in str(caught.value)
    assert secret not in repr(NotionSettings.of({"NOTION_TOKEN": secret}))


# -- faults -----------------------------------------------------------------------------------------------------------

KINDS_OF_FAULT = (
    *("rate_limited", "overloaded", "conflict", "internal_error", "bad_gateway", "unavailable"),
    *("unavailable_written", "unavailable_committed", "gateway_timeout", "reset_before", "reset_after", "truncated"),
)


def long_review(blocks: int) -> list[dict[str, object]]:
    from csm_core.publishing.notion.rich_text import text_blocks

    return [block for number in range(blocks) for block in text_blocks("paragraph", f"Line {number}")]


async def write_each_kind(adapter: NotionCSMAdapter) -> None:
    page_id = await adapter.create_account("A1", "One", 50.0, "AMBER")
    await adapter.update_health_score(page_id, 83.3, "GREEN")
    properties = {
        "account_id": {"rich_text": [{"text": {"content": "A1"}}]},
        "period": {"rich_text": [{"text": {"content": "Q1 2026"}}]},
        "trigger": {"select": {"name": "quarterly"}},
    }
    content = {"title": "QBR: One — Q1 2026", "properties": properties, "blocks": long_review(230)}
    key = key_of("A1", "Q1 2026", "quarterly")
    await adapter.create(TargetPage("qbr", key, "A1", "One — Q1 2026", DAY, content))


@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS_OF_FAULT)
def test_every_fault_at_every_write_leaves_the_pages_of_an_undisturbed_run(tmp_path, kind, times):
    """Pages created, updated and appended to, each write hit by the fault, once and twice in a row."""
    for nth in range(1, 6):
        with SandboxServer(tmp_path / f"{nth}.sqlite") as server:

            async def run(server=server, nth=nth) -> None:
                adapter, client = await _adapter(server)
                await adapter.reader.source(ACCOUNTS)
                await adapter.reader.source(QBRS)
                server.faults.add(Fault(kind, path="^/v1/(pages|blocks)", nth=nth, times=times, retry_after=0))
                await write_each_kind(adapter)
                await client.aclose()

            asyncio.run(run())
            server.faults.clear()
            found = pages(server)
        assert [page[CSM_HEALTH_SCORE] for page in found[ACCOUNTS.title]] == [83.3], (kind, nth)
        assert [page["blocks"] for page in found[QBRS.title]] == [[f"Line {number}" for number in range(230)]], (
            kind,
            nth,
        )


# -- killed -----------------------------------------------------------------------------------------------------------

PUBLISH = """
import sys
from datetime import date
from pathlib import Path
from csm_core.config import Config
from csm_core.publishing.notion.publish import publish_day
from csm_core.warehouse.database import Warehouse
config = Config(warehouse=Path(sys.argv[1]))
with Warehouse.from_config(config).connect() as connection:
    print("started", flush=True)
    publish_day(connection, config, date(2026, 6, 30), environment={})
"""


@pytest.mark.parametrize(
    "moment", [0.3, 0.5, pytest.param(0.15, marks=pytest.mark.slow), pytest.param(0.7, marks=pytest.mark.slow)]
)
def test_killed_and_run_again_it_ends_with_the_undisturbed_pages(tmp_path, moment):
    undisturbed, killed = Config(warehouse=tmp_path / "a" / "w.duckdb"), Config(warehouse=tmp_path / "b" / "w.duckdb")
    for config in (undisturbed, killed):
        with Warehouse.from_config(config).connect() as connection:
            fill(connection, 60)
    process = subprocess.Popen(
        [sys.executable, "-c", PUBLISH, str(killed.warehouse)], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    for config in (undisturbed, killed):
        with Warehouse.from_config(config).connect() as connection:
            report = publish_day(connection, config, DAY, environment={})
            assert not report.failures
            assert connection.execute("select count(*) from sync.notion_journal where done_at is null").fetchone() == (
                0,
            )
    assert everything(killed) == everything(undisturbed)
