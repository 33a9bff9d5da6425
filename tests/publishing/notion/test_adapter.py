"""The adapter over real HTTP: what its methods read and write, how it finds databases, and what it tries again."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Generator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from notion_client import AsyncClient

from csm_core.errors import ConfigError, NotionError
from csm_core.notion_adapter import NotionCSMAdapter, render_qbr_blocks
from csm_core.notion_sandbox.faults import Fault
from csm_core.notion_sandbox.server import SandboxServer
from csm_core.publishing.notion.database_reader import page_facts, windows_of
from csm_core.publishing.notion.databases import ACCOUNTS, EXPANSIONS, HEALTH_RECORDS, QBRS
from csm_core.publishing.notion.page_blocks import mark
from csm_core.publishing.notion.rate_limiter import RateLimiter
from csm_core.publishing.notion.retry import Caller, RequestRejected
from csm_core.publishing.notion.settings import NotionSettings
from csm_core.publishing.notion.setup import init_workspace
from csm_core.publishing.notion.workspace import new_client
from csm_core.rubric import RUBRIC
from csm_core.schemas import CSMHealthScore, ExpansionOpportunity, QBRContent
from tests.publishing.notion.publication import adapter_of, held

NOW = datetime(2026, 7, 1, 6, 30, tzinfo=UTC)
Work = Callable[[NotionCSMAdapter], Awaitable[Any]]


@pytest.fixture
def server(tmp_path: Path) -> Generator[SandboxServer]:
    with SandboxServer(tmp_path / "notion.sqlite") as running:
        yield running


def with_adapter(server: SandboxServer, work: Work, **more: Any) -> Any:
    async def run() -> Any:
        async with adapter_of(server, **more) as adapter:
            return await work(adapter)

    return asyncio.run(run())


def health(account_id: str = "A1", **changes: Any) -> CSMHealthScore:
    given: dict[str, Any] = {
        "account_id": account_id,
        "score": 54.4,
        "raw_score": 64.0,
        "rag": "AMBER",
        "churn_risk_level": "medium",
        "signal_breakdown": {signal.name: 1.0 for signal in RUBRIC},
    }
    return CSMHealthScore(**{**given, **changes})


# -- accounts


def test_get_account(server: SandboxServer) -> None:
    async def work(adapter: NotionCSMAdapter) -> None:
        assert await adapter.get_account("A1") == {}
        page_id = await adapter.create_account("A1", "Ada's Account", 83.3, "GREEN")
        await adapter.create_account("A10", "Another", 10.0, "RED")
        server.user_actions.edit(page_id, {"Health Status": {"select": {"name": "AMBER"}}})
        found = await adapter.get_account("A1")
        assert (found["id"], found["account_id"]) == (page_id, "A1")
        assert found["name"] == "Ada's Account"
        assert (found["csm_health_score"], found["csm_health_rag"], found["health_status"]) == (83.3, "GREEN", "AMBER")

    with_adapter(server, work)


def test_two_pages_of_an_account_are_an_error_that_names_both(server: SandboxServer) -> None:
    async def work(adapter: NotionCSMAdapter) -> None:
        ids = [await adapter.create_account("A1", name, 1.0, "RED") for name in ("one", "two")]
        with pytest.raises(NotionError, match="A1 has 2 pages") as caught:
            await adapter.get_account("A1")
        assert all(page_id in str(caught.value) for page_id in ids)

    with_adapter(server, work)


def test_query_all_accounts_goes_through_every_page_of_results(server: SandboxServer) -> None:
    async def work(adapter: NotionCSMAdapter) -> None:
        for number in range(205):
            await adapter.create_account(f"A{number}", f"Account {number}", 50.0, "AMBER")
        server.requests.clear()
        found = await adapter.query_all_accounts()
        assert sorted(account["account_id"] for account in found) == sorted(f"A{number}" for number in range(205))
        assert len(server.requests) == 3

    with_adapter(server, work)


def test_update_health_score_writes_three_properties_and_nothing_else(server: SandboxServer) -> None:
    async def work(adapter: NotionCSMAdapter) -> None:
        page_id = await adapter.create_account("A1", "One", 10.0, "RED")
        server.user_actions.edit(page_id, {"Health Status": {"select": {"name": "RED"}}})
        await adapter.update_health_score(page_id, 83.3, "GREEN")
        (page,) = await adapter.reader.query_all(ACCOUNTS)
        facts = page_facts(ACCOUNTS, page)
        assert (facts["CSM Health Score"], facts["CSM Health RAG"], facts["Health Status"]) == (83.3, "GREEN", "RED")
        assert facts["CSM Last Scan"].startswith("2026-07-01T06:30")
        assert facts["name"] == "One"

    with_adapter(server, work, clock=lambda: NOW)


# -- records, reviews, opportunities


def test_get_health_record_is_the_latest(server: SandboxServer) -> None:
    async def work(adapter: NotionCSMAdapter) -> None:
        assert await adapter.get_health_record("A1") == {}
        for day, rag in ((date(2026, 6, 1), "RED"), (date(2026, 6, 30), "AMBER"), (date(2026, 6, 15), "GREEN")):
            await adapter.create_health_record(health(rag=rag), day, "One")
        await adapter.create_health_record(health("A2"), date(2026, 7, 1), "Two")
        found = await adapter.get_health_record("A1")
        assert (found["as_of_date"], found["rag"], found["name"]) == ("2026-06-30", "AMBER", "One — 2026-06-30")
        assert (found["score"], found["churn_risk_level"], found["churn_triggered_by"]) == (54.4, "medium", None)
        assert found["should_alert"] is False

    with_adapter(server, work)


def test_create_qbr_page(server: SandboxServer) -> None:
    qbr = QBRContent(
        account_id="A1",
        period="Q2 2026",
        health_summary="😀" * 1500,
        feature_adoption_scorecard={f"feature {number}": 0.5 for number in range(230)},
        trigger="quarterly",
        generated_at=NOW,
        health_rag="GREEN",
    )

    async def work(adapter: NotionCSMAdapter) -> None:
        await adapter.reader.source(QBRS)
        server.requests.clear()
        page_id = await adapter.create_qbr_page(qbr, "Ada's Account")
        assert [(one.method, one.path.rsplit("/", 1)[-1]) for one in server.requests] == [
            ("POST", "pages"),
            ("PATCH", "children"),
            ("PATCH", "children"),
        ]
        (page,) = await adapter.reader.query_all(QBRS)
        facts = page_facts(QBRS, page)
        assert (facts["id"], facts["name"]) == (page_id, "QBR: Ada's Account — Q2 2026")
        assert (facts["account_id"], facts["period"]) == ("A1", "Q2 2026")
        assert (facts["health_rag"], facts["trigger"]) == ("GREEN", "quarterly")
        assert facts["generated_at"].startswith("2026-07-01T06:30")
        blocks = await adapter.blocks.children(page_id)
        assert [mark(one) for one in blocks] == [mark(one) for one in render_qbr_blocks(qbr)]

    with_adapter(server, work)


def test_create_expansion_record(server: SandboxServer) -> None:
    opportunity = ExpansionOpportunity(
        account_id="A1",
        opportunity_type="module",
        subject="reports",
        evidence="Used by peers.",
        estimated_arr_impact=1234.567,
        recommended_talk_track="Show it.",
        confidence="high",
    )

    async def work(adapter: NotionCSMAdapter) -> None:
        page_id = await adapter.create_expansion_record(opportunity)
        (page,) = await adapter.reader.query_all(EXPANSIONS)
        facts = page_facts(EXPANSIONS, page)
        assert facts["id"] == page_id
        assert (facts["account_id"], facts["opportunity_type"], facts["subject"]) == ("A1", "module", "reports")
        assert (facts["confidence"], facts["estimated_arr_impact"]) == ("high", 1234.57)

    with_adapter(server, work)


def test_control_characters_and_long_names_are_taken(server: SandboxServer) -> None:
    name = "Nul\x00 and bell\x07 " + "😀" * 2500

    async def work(adapter: NotionCSMAdapter) -> None:
        await adapter.create_account("A\x011", name, 1.0, "RED")
        found = await adapter.get_account("A\x011")
        assert (found["account_id"], found["name"]) == ("A1", "Nul and bell " + "😀" * 2500)

    with_adapter(server, work)


# -- databases


def test_only_a_client_is_needed_and_ids_come_from_the_environment(
    server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        client = AsyncClient(auth=server.token, base_url=server.url, retry=False)
        for name, found in (await init_workspace(client, server.root_page_id)).items():
            monkeypatch.setenv(name, found)
        adapter = NotionCSMAdapter(client)
        assert await adapter.query_all_accounts() == []
        assert await adapter.create_account("A1", "One", 1.0, "RED")
        monkeypatch.delenv(QBRS.setting)
        with pytest.raises(ConfigError, match="NOTION_CSM_QBR_DATABASE_ID is not set"):
            await NotionCSMAdapter(client).reader.source(QBRS)
        await client.aclose()

    asyncio.run(run())


def test_the_title_property_is_found_by_its_type(server: SandboxServer) -> None:
    async def work(adapter: NotionCSMAdapter) -> None:
        client = adapter._client  # pyright: ignore[reportPrivateUsage]
        source = await adapter.reader.source(ACCOUNTS)
        await client.data_sources.update(source.data_source_id, properties={source.title: {"name": "Kunde"}})
        fresh = NotionCSMAdapter(
            client, database_ids={ACCOUNTS.setting: source.database_id}, data_source_ids={}, caller=adapter.caller
        )
        await fresh.create_account("A1", "Eins", 1.0, "RED")
        assert (await fresh.get_account("A1"))["name"] == "Eins"

    with_adapter(server, work)


def test_of_several_data_sources_a_setting_chooses(server: SandboxServer) -> None:
    async def work(adapter: NotionCSMAdapter) -> None:
        client: Any = adapter._client  # pyright: ignore[reportPrivateUsage]
        first = await adapter.reader.source(ACCOUNTS)
        second = await client.data_sources.create(
            parent={"type": "database_id", "database_id": first.database_id},
            title=[{"text": {"content": "Archive"}}],
            properties=ACCOUNTS.schema(),
        )
        ids = {ACCOUNTS.setting: first.database_id}
        undecided = NotionCSMAdapter(client, database_ids=ids, data_source_ids={}, caller=adapter.caller)
        with pytest.raises(ConfigError, match="NOTION_DATA_SOURCE_ID") as caught:
            await undecided.query_all_accounts()
        assert all(one in str(caught.value) for one in (first.data_source_id, second["id"], "Archive"))
        chosen = {ACCOUNTS.data_source_setting: second["id"].replace("-", "")}
        decided = NotionCSMAdapter(client, database_ids=ids, data_source_ids=chosen, caller=adapter.caller)
        await decided.create_account("A1", "One", 1.0, "RED")
        assert len(await decided.query_all_accounts()) == 1
        assert await adapter.query_all_accounts() == []

    with_adapter(server, work)


class MinuteClock:
    """A clock that goes on by a minute at every so many looks."""

    def __init__(self, looks: int) -> None:
        self._looks = looks
        self._seen = 0

    def __call__(self) -> datetime:
        self._seen += 1
        return NOW + timedelta(minutes=self._seen // self._looks)


@pytest.mark.parametrize("pages", [99, 120, 121, 250])
def test_a_query_that_reports_itself_incomplete_is_continued(tmp_path: Path, pages: int) -> None:
    file = tmp_path / "notion.sqlite"
    with SandboxServer(file, query_result_limit=120, clock=MinuteClock(7)) as server:

        async def work(adapter: NotionCSMAdapter) -> None:
            for number in range(pages):
                await adapter.create_account(f"A{number}", "x", 1.0, "RED")
            found = await adapter.query_all_accounts()
            assert sorted(one["account_id"] for one in found) == sorted(f"A{number}" for number in range(pages))

        with_adapter(server, work)


@pytest.mark.parametrize("pages", [250, 600])
def test_a_capped_database_is_read_again_without_reading_any_page_twice(tmp_path: Path, pages: int) -> None:
    with SandboxServer(tmp_path / "n.sqlite", query_result_limit=200, clock=MinuteClock(7)) as server:

        async def work(adapter: NotionCSMAdapter) -> None:
            for number in range(pages):
                await adapter.create_account(f"A{number}", "x", 1.0, "RED")
            first = await adapter.query_all_accounts()
            windows = adapter.reader.windows(ACCOUNTS)
            assert len(windows) == math.ceil(pages / 180) - 1
            server.requests.clear()
            assert sorted(one["id"] for one in await adapter.query_all_accounts()) == sorted(one["id"] for one in first)
            assert len(server.requests) <= math.ceil(pages / 100) + len(windows)

            # Whatever the windows are (pages came, pages went), they are all of time.
            source = await adapter.reader.source(ACCOUNTS)
            for stale in (("1999-01-01T00:00:00.000Z",), windows[:1], (*windows, "2999-01-01T00:00:00.000Z")):
                adapter.reader.remember(ACCOUNTS, source, stale)
                again = await adapter.query_all_accounts()
                assert sorted(one["id"] for one in again) == sorted(one["id"] for one in first)

        with_adapter(server, work)


@given(st.lists(st.integers(0, 12)), st.integers(1, 10))
def test_windows_part_all_pages_and_no_minute(minutes: list[int], most: int) -> None:
    times = [f"2026-07-01T06:{minute:02}:00.000Z" for minute in minutes]
    windows = windows_of(times, most)
    parts = [
        [time for time in times if (start is None or time >= start) and (end is None or time < end)]
        for start, end in pairwise((None, *windows, None))
    ]
    assert sorted(time for part in parts for time in part) == sorted(times)
    assert all(len(part) <= most or len(set(part)) == 1 for part in parts)
    assert all(part for part in parts) or not times
    # No two neighbours would fit into one, but for what stands behind a minute that is too large by itself.
    assert all(len(a) + len(set(b) and [x for x in b if x == min(b)]) > most for a, b in pairwise(parts))


def test_more_pages_in_a_minute_than_a_query_lists_are_an_error_and_never_overlooked(tmp_path: Path) -> None:
    with SandboxServer(tmp_path / "notion.sqlite", query_result_limit=120, clock=lambda: NOW) as server:

        async def work(adapter: NotionCSMAdapter) -> None:
            for number in range(121):
                await adapter.create_account(f"A{number}", "x", 1.0, "RED")
            with pytest.raises(NotionError, match="more pages were created in one minute"):
                await adapter.query_all_accounts()

        with_adapter(server, work)


# -- what is tried again


class Sleeps:
    """Takes the waits down instead of waiting."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)
        await asyncio.sleep(0)


def attempts(server: SandboxServer, *faults: Fault) -> tuple[Any, int, list[float]]:
    """One read under faults: what came of it, the requests that it took, and the waits between attempts."""
    sleeps = Sleeps()

    async def work(adapter: NotionCSMAdapter) -> Any:
        await adapter.reader.source(ACCOUNTS)
        server.requests.clear()
        server.faults.add(*faults)
        try:
            return await adapter.get_account("A1")
        except NotionError as error:
            return error

    came = with_adapter(server, work, caller=Caller(RateLimiter(1_000_000), sleep=sleeps))
    return came, len(server.requests), sleeps.taken


PASSING = ("conflict", "internal_error", "bad_gateway", "unavailable", "gateway_timeout", "reset_before", "truncated")


@pytest.mark.parametrize("kind", PASSING)
def test_passing_faults_are_tried_three_times_with_growing_waits(server: SandboxServer, kind: str) -> None:
    assert attempts(server, Fault(kind, times=2)) == ({}, 3, [1.0, 2.0])


@pytest.mark.parametrize("kind", PASSING)
def test_three_in_a_row_are_an_error(server: SandboxServer, kind: str) -> None:
    came, requests, waits = attempts(server, Fault(kind, times=3))
    assert isinstance(came, NotionError)
    assert "3 attempts" in str(came)
    assert (requests, waits) == (3, [1.0, 2.0])


@pytest.mark.parametrize("kind", ["rate_limited", "overloaded"])
@pytest.mark.parametrize("told_in", ["header", "body", "both"])
def test_being_told_to_wait_uses_up_no_attempt(server: SandboxServer, kind: str, told_in: str) -> None:
    fault = Fault(kind, times=5, retry_after=0, retry_after_in=told_in)
    assert attempts(server, fault, Fault("internal_error", times=2)) == ({}, 8, [1.0, 2.0])


@pytest.mark.parametrize("told_in", ["header", "body"])
def test_the_wait_is_as_long_as_told_for_everybody(server: SandboxServer, told_in: str) -> None:
    sleeps = Sleeps()
    now = [100.0]

    async def sleep(seconds: float) -> None:
        now[0] += seconds
        await sleeps(seconds)

    async def work(adapter: NotionCSMAdapter) -> None:
        await adapter.reader.source(ACCOUNTS)
        server.faults.add(Fault("rate_limited", retry_after=95, retry_after_in=told_in))
        assert await adapter.get_account("A1") == {}

    caller = Caller(RateLimiter(1_000_000, clock=lambda: now[0], sleep=sleep), sleep=sleep)
    with_adapter(server, work, caller=caller)
    assert sleeps.taken == [95.0]


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_refusals_are_final_and_carry_notions_message(server: SandboxServer, status: int) -> None:
    fault = Fault("status", status=status, code="restricted_resource", message="Not you.", times=None)
    came, requests, waits = attempts(server, fault)
    assert isinstance(came, RequestRejected)
    assert (came.status, requests, waits) == (status, 1, [])
    assert "Not you." in str(came)


def test_a_blocked_connection_is_final(server: SandboxServer) -> None:
    came, requests, waits = attempts(server, Fault("blocked", times=None))
    assert isinstance(came, RequestRejected)
    assert (came.code, requests, waits) == ("public_api_request_blocked", 1, [])


def test_nobody_answers(tmp_path: Path) -> None:
    settings = NotionSettings.of({"NOTION_TOKEN": "ntn_secret", "NOTION_BASE_URL": "http://127.0.0.1:9"})
    sleeps = Sleeps()

    async def run() -> None:
        client = new_client(settings)
        ids = {ACCOUNTS.setting: "0" * 32}
        caller = Caller(RateLimiter(100), sleep=sleeps)
        adapter = NotionCSMAdapter(client, database_ids=ids, data_source_ids={}, caller=caller)
        with pytest.raises(NotionError, match="3 attempts") as caught:
            await adapter.get_account("A1")
        assert "ntn_secret" not in str(caught.value)
        await client.aclose()

    asyncio.run(run())
    assert sleeps.taken == [1.0, 2.0]


# -- creates that may have happened

LOST = ("unavailable_written", "unavailable_committed", "gateway_timeout", "reset_after", "truncated")


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("kind", LOST)
def test_a_create_whose_answer_was_lost_is_looked_for_and_not_repeated(
    server: SandboxServer, tmp_path: Path, kind: str, times: int
) -> None:
    async def work(adapter: NotionCSMAdapter) -> None:
        await adapter.reader.source(HEALTH_RECORDS)
        server.faults.add(Fault(kind, method="POST", path="^/v1/pages$", times=times))
        server.requests.clear()
        page_id = await adapter.create_health_record(health(), date(2026, 6, 30), "One")
        assert page_id == (await adapter.get_health_record("A1"))["id"]
        creates = [one for one in server.requests if one.path == "/v1/pages"]
        assert len(creates) == 1

    with_adapter(server, work)
    assert len(held(tmp_path / "notion.sqlite")[HEALTH_RECORDS.title]) == 1


def test_of_a_create_that_did_not_happen_nothing_is_left(server: SandboxServer, tmp_path: Path) -> None:
    async def work(adapter: NotionCSMAdapter) -> None:
        await adapter.reader.source(HEALTH_RECORDS)
        server.faults.add(Fault("internal_error", method="POST", path="^/v1/pages$", times=None))
        with pytest.raises(NotionError, match="3 attempts"):
            await adapter.create_health_record(health(), date(2026, 6, 30), "One")

    with_adapter(server, work)
    assert held(tmp_path / "notion.sqlite")[HEALTH_RECORDS.title] == []


@pytest.mark.slow
def test_twelve_thousand_account_pages_are_all_read_and_each_once(tmp_path: Path) -> None:
    with SandboxServer(tmp_path / "notion.sqlite", clock=MinuteClock(1500)) as server:

        async def work(adapter: NotionCSMAdapter) -> None:
            # Six at a time, as publishing does.
            numbers = iter(range(12_000))

            async def some() -> None:
                for number in numbers:
                    await adapter.create_account(f"A{number}", "x", 1.0, "RED")

            await asyncio.gather(*(some() for _ in range(6)))
            server.requests.clear()
            found = await adapter.query_all_accounts()
            assert sorted(one["account_id"] for one in found) == sorted(f"A{number}" for number in range(12_000))
            assert len({one["id"] for one in found}) == 12_000
            assert len(server.requests) <= 12_000 / 100 + 20

        with_adapter(server, work)
