"""The details on account pages, and the relations to them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pydantic import SecretStr

from csm_core.config import Config
from csm_core.notion_adapter import NotionCSMAdapter
from csm_core.notion_sandbox.faults import Fault
from csm_core.notion_sandbox.server import SandboxServer
from csm_core.publishing.notion.databases import ACCOUNTS, EXPANSIONS, HEALTH_RECORDS, QBRS
from csm_core.publishing.notion.publish import publish_day, sandbox_file
from csm_core.publishing.notion.report_text import report_lines
from csm_core.publishing.notion.settings import NotionSettings
from csm_core.publishing.notion.setup import doctor, init_workspace
from csm_core.warehouse.database import Warehouse
from tests.publishing.notion.publication import DAY, adapter_of, fill, held, lose_ledger, publish

NEXT = DAY + timedelta(days=1)
NOON = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
Work = Callable[[NotionCSMAdapter], Awaitable[Any]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "notion.sqlite"


@pytest.fixture
def server(file: Path) -> Generator[SandboxServer]:
    with SandboxServer(file) as running:
        yield running


@pytest.fixture
def marts(tmp_path: Path) -> Generator[duckdb.DuckDBPyConnection]:
    with Warehouse.from_config(Config(warehouse=tmp_path / "w.duckdb")).connect() as connection:
        yield connection


def with_adapter(server: SandboxServer, work: Work, **more: Any) -> Any:
    async def run() -> Any:
        async with adapter_of(server, **more) as adapter:
            return await work(adapter)

    return asyncio.run(run())


def paths(server: SandboxServer, *, writes: bool = False) -> list[str]:
    return [f"{one.method} {one.path}" for one in server.requests if one.is_write or not writes]


async def remove_properties(adapter: NotionCSMAdapter, *names: str) -> None:
    """Remove properties of the accounts database, as in a database of an earlier version."""
    client: Any = adapter._client  # pyright: ignore[reportPrivateUsage]
    database = await client.databases.retrieve(adapter.reader.database_id(ACCOUNTS))
    await client.data_sources.update(database["data_sources"][0]["id"], properties=dict.fromkeys(names))


DETAILS = {
    "CSM Churn Risk": "low",
    "CSM Reason": "Login frequency: no login for 29 days (2 of 10 points). As of 2026-06-30.",
    "CSM Next Step": "Identify who should use the product every week and what prevents it.",
    "CSM Last Change": "AMBER to GREEN on 2026-06-12",
    "CSM Owner": ["Olga Owner"],
    "CSM Owner Name": "Owner@example.com",
    "CSM Segment": "smb",
    "CSM Plan": "growth",
    "CSM MRR": 250,
    "CSM Currency": "EUR",
    "CSM Renewal": "2026-12-31",
}


# -- details


def test_a_receipt_is_written_with_another_change_and_not_alone(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    def record_roots(leaf: str, root: str, number: int) -> None:
        marts.execute(
            "create table if not exists marts.csm_day_roots (root_id bigint, tenant_id varchar, "
            "as_of_date date, known_from timestamp, accounts bigint, root varchar, previous_root varchar)"
        )
        marts.execute(
            "insert into marts.csm_day_roots values (?, 'default', ?, now(), 2, ?, null)", [number, DAY, root]
        )
        marts.execute(
            "insert into run.receipt_leaves select tenant_id, account_id, as_of_date, ?, unhex(?), null, null, null, "
            "null from marts.csm_health_scores where as_of_date = ?",
            [number, leaf, DAY],
        )

    fill(marts, 2)
    record_roots("aa" * 32, "bb" * 32, 1)
    with_adapter(server, lambda adapter: publish(marts, adapter, kinds=["health"]))
    pages = held(file)[ACCOUNTS.title]
    assert {page["CSM Receipt"] for page in pages} == {f"{'aa' * 32} of {DAY}"}
    assert {page["CSM Root"] for page in pages} == {"bb" * 32}
    record_roots("cc" * 32, "dd" * 32, 2)
    server.requests.clear()
    with_adapter(server, lambda adapter: publish(marts, adapter, kinds=["health"]))
    assert not [path for path in paths(server, writes=True) if "pages" in path]
    marts.execute("update marts.csm_accounts_daily set mrr = 7 where account_id = 'A1'")
    with_adapter(server, lambda adapter: publish(marts, adapter, kinds=["health"]))
    roots = {page["account_id"]: page["CSM Root"] for page in held(file)[ACCOUNTS.title]}
    assert roots == {"A0": "bb" * 32, "A1": "dd" * 32}


def test_an_account_page_shows_the_details(server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection) -> None:
    server.user_actions.join("Olga Owner", "OWNER@example.com")
    fill(marts, 2)
    marts.execute("delete from marts.csm_rag_transitions where account_id = 'A1'")
    with_adapter(server, lambda adapter: publish(marts, adapter, kinds=["health"]))
    first, second = sorted(held(file)[ACCOUNTS.title], key=lambda page: page["account_id"])
    assert {name: first[name] for name in DETAILS} == DETAILS
    assert second["CSM Last Change"] == "GREEN since the first score on 2026-06-30"


def test_a_changed_detail_is_a_change_and_a_fact_of_the_reason_alone_is_not(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    async def work(adapter: NotionCSMAdapter) -> None:
        fill(marts, 3)
        await publish(marts, adapter, kinds=["health"])
        fill(marts, 3, day=NEXT)
        _, same = await publish(marts, adapter, day=NEXT, kinds=["health"])
        assert (same.updated["health"], same.skipped["health"]) == (0, 3)
        marts.execute("update marts.csm_accounts_daily set mrr = 300 where account_id = 'A1'")
        _, changed = await publish(marts, adapter, day=NEXT, kinds=["health"])
        assert (changed.updated["health"], changed.skipped["health"]) == (1, 2)

    with_adapter(server, work)
    pages = {page["account_id"]: page for page in held(file)[ACCOUNTS.title]}
    assert [pages[account]["CSM MRR"] for account in ("A0", "A1", "A2")] == [250, 300, 250]
    assert "no login for 30 days" in pages["A1"]["CSM Reason"]
    assert "no login for 29 days" in pages["A2"]["CSM Reason"]


@pytest.mark.parametrize(
    ("trigger", "points", "reason", "step"),
    [
        (None, 10.0, "All signals are at or near their maximum. As of 2026-06-30.", ""),
        (
            "both",
            2.0,
            "Contract renewal near and usage declining. Login frequency: no login for 29 days (2 of 10 points). As of "
            "2026-06-30.",
            "Start the renewal conversation and send the terms and dates in writing. Identify who should use the "
            "product every week and what prevents it.",
        ),
        (
            "behavioral",
            9.5,
            "Usage declining. All signals are at or near their maximum. As of 2026-06-30.",
            "",
        ),
    ],
)
def test_the_reason_and_the_next_step_follow_from_the_trigger_and_the_losses(
    server: SandboxServer,
    file: Path,
    marts: duckdb.DuckDBPyConnection,
    trigger: str | None,
    points: float,
    reason: str,
    step: str,
) -> None:
    fill(marts, 1)
    marts.execute("update marts.csm_health_scores set churn_triggered_by = ?", [trigger])
    marts.execute("update marts.csm_signal_points set points = ? where signal = 'login_frequency_days'", [points])
    with_adapter(server, lambda adapter: publish(marts, adapter, kinds=["health"]))
    (page,) = held(file)[ACCOUNTS.title]
    assert (page["CSM Reason"], page["CSM Next Step"] or "") == (reason, step)


def test_a_score_that_is_capped_says_so_and_two_losses_are_named(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 1)
    marts.execute("update marts.csm_health_scores set raw_score = 90")
    marts.execute(
        "insert into marts.csm_signal_points select * replace ('usage_trend' as signal, 7.04 as points, null as fact) "
        "from marts.csm_signal_points where signal = 'nps_score'"
    )
    marts.execute("update marts.csm_signal_points set points = 8 where signal = 'nps_score'")
    with_adapter(server, lambda adapter: publish(marts, adapter, kinds=["health"]))
    (page,) = held(file)[ACCOUNTS.title]
    assert page["CSM Reason"] == (
        "The technical account manager's assessment caps the score. Login frequency: no login for 29 days (2 of 10 "
        "points). Usage trend (7 of 10 points). As of 2026-06-30."
    )


def test_texts_of_a_source_are_shown_as_they_are_and_options_are_valid(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 120)
    marts.execute("update marts.csm_accounts_daily set segment = 'a, b\x07', plan = 'plan ' || account_id")
    marts.execute("update marts.csm_accounts_daily set csm_owner = '<b>=1+1</b> ' || repeat('x', 5000)")
    _, report = with_adapter(server, lambda adapter: publish(marts, adapter, kinds=["health"]))
    assert report.failures == ()
    pages = held(file)[ACCOUNTS.title]
    assert {page["CSM Segment"] for page in pages} == {"a  b"}
    assert {page["CSM Owner Name"] for page in pages} == {f"<b>=1+1</b> {'x' * 5000}"}
    assert sum(page["CSM Plan"] is not None for page in pages) == 80


def test_a_page_that_a_lost_ledger_forgot_is_compared_with_its_details(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 3)

    async def work(adapter: NotionCSMAdapter) -> None:
        await publish(marts, adapter, kinds=["health"])
        lose_ledger(marts)
        marts.execute("update marts.csm_accounts_daily set plan = 'scale' where account_id = 'A2'")
        server.requests.clear()
        _, report = await publish(marts, adapter, kinds=["health"])
        assert (report.updated["health"], report.skipped["health"]) == (1, 2)
        assert len(paths(server, writes=True)) == 1

    with_adapter(server, work)
    assert sorted(page["CSM Plan"] for page in held(file)[ACCOUNTS.title]) == ["growth", "growth", "scale"]


# -- a database of an earlier version, and properties that are switched off


def test_a_database_without_the_details_goes_on_and_gets_them_after_init(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 3)

    async def work(adapter: NotionCSMAdapter) -> None:
        await remove_properties(adapter, *DETAILS, "CSM Receipt", "CSM Root")
        await publish(marts, adapter, kinds=["health"])
        assert all(not name.startswith("CSM Re") for name in held(file)[ACCOUNTS.title][0])
        marts.execute("update marts.csm_accounts_daily set mrr = 300")
        server.requests.clear()
        _, report = await publish(marts, adapter, kinds=["health"])
        assert (report.skipped["health"], paths(server, writes=True)) == (3, [])
        client: Any = adapter._client  # pyright: ignore[reportPrivateUsage]
        await init_workspace(client, server.root_page_id)
        server.requests.clear()
        _, report = await publish(marts, adapter, kinds=["health"])
        assert (report.updated["health"], len(server.requests)) == (3, 1 + 1 + 3)
        server.requests.clear()
        await publish(marts, adapter, kinds=["health"])
        assert len(server.requests) == 1

    with_adapter(server, work)
    assert [page["CSM MRR"] for page in held(file)[ACCOUNTS.title]] == [300, 300, 300]


def test_a_property_that_a_user_removes_is_left_out(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 2)

    async def work(adapter: NotionCSMAdapter) -> None:
        await publish(marts, adapter, kinds=["health"])
        await remove_properties(adapter, "CSM Plan")
        fill(marts, 2, day=NEXT, score=71.0)
        _, report = await publish(marts, adapter, day=NEXT, kinds=["health"])
        assert (report.updated["health"], report.failures) == (2, ())

    with_adapter(server, work)
    assert [page["CSM Health Score"] for page in held(file)[ACCOUNTS.title]] == [71, 71]


def test_what_is_switched_off_is_neither_created_nor_written_nor_missed(
    tmp_path: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    off = {"owner": False, "mrr": False, "relations": False}
    config = Config.model_validate({"warehouse": tmp_path / "w.duckdb", "notion": {"account_properties": off}})
    fill(marts, 1, opportunities=1)
    report = publish_day(marts, config, DAY, environment={})
    assert report.failures == ()
    pages = held(sandbox_file(config))
    (page,) = pages[ACCOUNTS.title]
    gone = {"CSM Owner", "CSM Owner Name", "CSM MRR", "CSM Currency", "CSM Opportunities", "CSM Health Records"}
    assert gone & page.keys() == set()
    assert (page["CSM Plan"], page["CSM Renewal"]) == ("growth", "2026-12-31")
    assert "Account" not in pages[HEALTH_RECORDS.title][0]

    async def examine() -> tuple[list[str], list[Any]]:
        async with adapter_of_file(config) as (client, settings):
            found = await doctor(client, settings)
            return [str(one.property) for one in found], await doctor(client, settings, switched_off=list(off))

    missed, none = asyncio.run(examine())
    assert set(missed) == {"CSM Owner", "CSM Owner Name", "CSM MRR", "CSM Currency", "Account"}
    assert none == []


def adapter_of_file(config: Config) -> Any:
    from csm_core.publishing.notion.workspace import open_workspace

    return open_workspace({}, sandbox_file(config), prepare=False)


def test_doctor_names_missing_details_and_they_block_nothing(server: SandboxServer) -> None:
    async def work(adapter: NotionCSMAdapter) -> list[Any]:
        await remove_properties(adapter, "CSM Plan", "CSM Health Records")
        client: Any = adapter._client  # pyright: ignore[reportPrivateUsage]
        ids = {spec.setting: adapter.reader.database_id(spec) for spec in (ACCOUNTS, HEALTH_RECORDS, QBRS, EXPANSIONS)}
        return await doctor(client, NotionSettings(SecretStr("x"), database_ids=ids))

    found = with_adapter(server, work)
    assert [(one.property, one.problem, one.blocking) for one in found] == [
        ("CSM Plan", "missing_property", False),
        ("Account", "missing_property", False),
    ]
    assert "Run csm notion init" in found[0].message
    assert "notion.account_properties.plan" in found[0].message


# -- relations


def test_records_reviews_and_opportunities_are_related_to_the_page_of_their_account(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 2, opportunities=1, reviews=1)

    async def work(adapter: NotionCSMAdapter) -> None:
        server.requests.clear()
        await publish(marts, adapter)
        assert paths(server, writes=True).count("POST /v1/pages") == 2 + 2 + 1 + 1
        assert not [one for one in paths(server) if one.startswith("PATCH /v1/pages")]

    with_adapter(server, work)
    pages = held(file)
    first, second = sorted(pages[ACCOUNTS.title], key=lambda page: page["account_id"])
    assert first["CSM Health Records"] == ["Account 0 — 2026-06-30"]
    assert first["CSM Business Reviews"] == ["QBR: Account 0 — Q2 2026"]
    assert first["CSM Opportunities"] == ["Account 0: module reports"]
    assert (second["CSM Health Records"], second["CSM Opportunities"]) == (["Account 1 — 2026-06-30"], None)
    assert pages[EXPANSIONS.title][0]["Account"] == ["Account 0"]


def test_without_a_page_of_the_account_the_relation_stays_empty(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 3, opportunities=3)

    async def work(adapter: NotionCSMAdapter) -> None:
        await publish(marts, adapter, kinds=["health"])
        pages = dict(marts.execute("select key, page_id from sync.notion_pages").fetchall())
        server.user_actions.trash(pages['["A0"]'])
        marts.execute("delete from marts.csm_health_scores where account_id = 'A1'")
        _, report = await publish(marts, adapter, kinds=["health", "expansion"])
        assert (report.created["expansion"], report.failures) == (3, ())

    with_adapter(server, work)
    related = {page["account_id"]: page["Account"] for page in held(file)[EXPANSIONS.title]}
    assert related == {"A0": None, "A1": ["Account 1"], "A2": ["Account 2"]}


def test_a_page_that_was_written_before_its_account_is_related_later(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 2, opportunities=2)

    async def work(adapter: NotionCSMAdapter) -> None:
        await publish(marts, adapter, kinds=["expansion"])
        server.requests.clear()
        await publish(marts, adapter, kinds=["expansion"])
        assert paths(server, writes=True) == []
        _, report = await publish(marts, adapter, kinds=["health", "expansion"])
        assert (report.created["health"], report.updated["expansion"]) == (2, 2)
        server.requests.clear()
        await publish(marts, adapter, kinds=["health", "expansion"])
        assert paths(server, writes=True) == []

    with_adapter(server, work)
    assert [page["Account"] for page in held(file)[EXPANSIONS.title]] == [["Account 0"], ["Account 1"]]


def test_an_account_page_that_notion_rejects_costs_the_relation_and_not_the_page(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 1, opportunities=1)
    missing = "00000000-0000-4000-8000-000000000000"

    async def work(adapter: NotionCSMAdapter) -> None:
        await publish(marts, adapter, kinds=["health"])
        marts.execute("update sync.notion_pages set page_id = ?", [missing])
        _, report = await publish(marts, adapter, kinds=["expansion"])
        assert (report.created["expansion"], report.failures) == (1, ())

    with_adapter(server, work)
    (page,) = held(file)[EXPANSIONS.title]
    assert (page["Account"], page["subject"]) == (None, "reports")


def test_a_database_without_the_relation_goes_on(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 1, opportunities=1)

    async def work(adapter: NotionCSMAdapter) -> None:
        await remove_properties(adapter, "CSM Opportunities")
        await publish(marts, adapter)
        client: Any = adapter._client  # pyright: ignore[reportPrivateUsage]
        await init_workspace(client, server.root_page_id)
        fill(marts, 1, day=NEXT, score=71.0, opportunities=1)
        await publish(marts, adapter, day=NEXT)

    with_adapter(server, work)
    assert held(file)[EXPANSIONS.title][0]["Account"] == ["Account 0"]


# -- owners


def test_users_are_read_once_a_day_and_only_for_pages_with_an_owner(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 8)

    async def work(adapter: NotionCSMAdapter) -> None:
        server.requests.clear()
        await publish(marts, adapter, kinds=["health"])
        assert paths(server).count("GET /v1/users") == 1
        for score in (80.0, 75.0):
            server.requests.clear()
            fill(marts, 8, score=score)
            await publish(marts, adapter, kinds=["health"])
            assert paths(server).count("GET /v1/users") == 0
        server.user_actions.join("Olga Owner", "owner@example.com")
        marts.execute("update sync.notion_users set read_at = read_at - interval 25 hours")
        fill(marts, 8, score=74.0)
        server.requests.clear()
        await publish(marts, adapter, kinds=["health"])
        assert paths(server).count("GET /v1/users") == 1

    with_adapter(server, work)
    assert {page["CSM Owner"][0] for page in held(file)[ACCOUNTS.title]} == {"Olga Owner"}


def test_an_owner_without_an_email_address_is_a_text_and_the_person_belongs_to_users(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    person = server.user_actions.join("Olga Owner", "owner@example.com")["id"]
    fill(marts, 1)
    marts.execute("update marts.csm_accounts_daily set csm_owner = 'Olga'")

    async def work(adapter: NotionCSMAdapter) -> None:
        await publish(marts, adapter, kinds=["health"])
        (page,) = [one["id"] for one in await adapter.query_all_accounts()]
        server.user_actions.edit(page, {"CSM Owner": {"people": [{"id": person}]}})
        marts.execute("update marts.csm_health_scores set score = 71")
        server.requests.clear()
        await publish(marts, adapter, kinds=["health"])
        assert "GET /v1/users" not in paths(server)

    with_adapter(server, work)
    (page,) = held(file)[ACCOUNTS.title]
    assert (page["CSM Owner"], page["CSM Owner Name"]) == (["Olga Owner"], "Olga")


@pytest.mark.parametrize("status", [403, 404])
def test_an_integration_that_cannot_read_users_leaves_the_person_empty_and_says_so(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection, status: int
) -> None:
    fill(marts, 3)
    server.faults.add(
        Fault("status", path="^/v1/users$", status=status, code="restricted_resource", message="No.", times=None)
    )
    _, report = with_adapter(server, lambda adapter: publish(marts, adapter, kinds=["health"]))
    assert (report.created["health"], report.failures) == (3, ())
    assert sum("owners are not shown as persons" in line for line in report_lines(report)) == 1
    assert {page["CSM Owner Name"] for page in held(file)[ACCOUNTS.title]} == {"Owner@example.com"}
    assert {page["CSM Owner"] for page in held(file)[ACCOUNTS.title]} == {None}
