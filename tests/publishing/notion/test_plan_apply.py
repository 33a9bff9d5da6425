"""Plans and what comes of them over several days: people's edits, the trash, refusals, cancellation, lost knowledge."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from csm_core.config import Config
from csm_core.notion_adapter import NotionCSMAdapter
from csm_core.notion_sandbox.faults import Fault
from csm_core.notion_sandbox.server import SandboxServer
from csm_core.publishing.notion.apply import apply_plan
from csm_core.publishing.notion.databases import ACCOUNTS, EXPANSIONS, HEALTH_RECORDS, QBRS, RAG
from csm_core.publishing.notion.ledger import Ledger
from csm_core.publishing.notion.plan import make_plan
from csm_core.publishing.notion.publish import new_adapter, plan_day
from csm_core.publishing.notion.rate_limiter import RateLimiter
from csm_core.publishing.notion.report_text import plan_lines, report_lines
from csm_core.publishing.notion.retry import Caller
from csm_core.publishing.notion.settings import NotionSettings
from csm_core.publishing.notion.workspace import new_client
from csm_core.warehouse.database import Warehouse
from tests.publishing.notion.publication import DAY, adapter_of, at_once, fill, held, lose_ledger, publish

NEXT = DAY + timedelta(days=1)
LATER = DAY + timedelta(days=2)
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


def page_ids(marts: duckdb.DuckDBPyConnection, kind: str) -> dict[str, str]:
    return dict(marts.execute("select key, page_id from sync.notion_pages where kind = ?", [kind]).fetchall())


def writes(server: SandboxServer) -> list[str]:
    return [f"{one.method} {one.path}" for one in server.requests if one.is_write]


# -- again and again


def test_the_second_run_writes_nothing_and_the_plan_says_so(
    server: SandboxServer, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 130, reviews=2, opportunities=3, features=120)

    async def work(adapter: NotionCSMAdapter) -> None:
        first, done = await publish(marts, adapter)
        assert {kind: first.count("create", kind) for kind in first.kinds} == {
            "health": 130,
            "record": 130,
            "qbr": 2,
            "expansion": 3,
        }
        assert done.created == {"health": 130, "record": 130, "qbr": 2, "expansion": 3}
        assert not done.failures
        server.requests.clear()
        second, again = await publish(marts, adapter)
        assert (list(second.steps), again.skipped) == ([], {"health": 130, "record": 130, "qbr": 2, "expansion": 3})
        assert writes(server) == []
        assert len(server.requests) <= 2 + 4

    with_adapter(server, work)


@pytest.mark.parametrize("changed", [0, 1, 7, 130])
def test_changed_accounts_cost_a_request_each_and_the_read(
    server: SandboxServer, marts: duckdb.DuckDBPyConnection, changed: int
) -> None:
    fill(marts, 130)

    async def work(adapter: NotionCSMAdapter) -> None:
        await publish(marts, adapter, kinds=["health"])
        marts.execute(
            "update marts.csm_health_scores set score = 81 where cast(account_id[2:] as integer) < ?", [changed]
        )
        server.requests.clear()
        await publish(marts, adapter, kinds=["health"])
        assert len(writes(server)) == changed
        assert len(server.requests) <= 2 + changed

    with_adapter(server, work)


def test_a_plan_writes_nothing_to_notion_and_names_what_it_would(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 3, opportunities=1)

    async def work(adapter: NotionCSMAdapter) -> None:
        server.requests.clear()
        plan = await make_plan(marts, adapter, Ledger(marts), DAY)
        assert writes(server) == []
        assert "create      3" in plan_lines(plan)[1]
        steps = plan.as_dict()["steps"]
        assert {"action": "create", "kind": "expansion", "key": '["A0", "module", "reports"]'}.items() <= steps[
            -1
        ].items()

    with_adapter(server, work)
    assert all(pages == [] for pages in held(file).values())


def test_accounts_without_a_page_are_made_only_if_that_is_wanted(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 2)

    async def work(adapter: NotionCSMAdapter) -> None:
        await adapter.create_account("A0", "Zero", 1.0, "RED")
        _, report = await publish(marts, adapter, kinds=["health"], create_missing_accounts=False)
        assert (report.created["health"], report.updated["health"]) == (0, 1)
        assert [(one.key, one.error) for one in report.failures] == [('["A1"]', "the account has no page in Notion")]

    with_adapter(server, work)
    assert len(held(file)[ACCOUNTS.title]) == 1


def test_health_records_follow_the_last_one(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    async def work(adapter: NotionCSMAdapter) -> None:
        for day, score in ((DAY, 80.0), (NEXT, 75.0), (LATER, 30.0), (LATER + timedelta(days=1), 29.0)):
            fill(marts, 1, day=day, score=score)
            await publish(marts, adapter, day=day)

    with_adapter(server, work)
    records = held(file)[HEALTH_RECORDS.title]
    assert sorted((one["as_of_date"], one[RAG]) for one in records) == [("2026-06-30", "GREEN"), ("2026-07-02", "RED")]


def test_what_is_gone_from_the_marts_is_reported_and_left(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 3, opportunities=2)

    async def work(adapter: NotionCSMAdapter) -> None:
        await publish(marts, adapter)
        fill(marts, 2, day=NEXT, opportunities=1)
        plan, report = await publish(marts, adapter, day=NEXT)
        assert list(plan.orphans) == ["account A2", "opportunity A1 module reports"]
        assert report.orphans == 2

    with_adapter(server, work)
    assert len(held(file)[ACCOUNTS.title]) == 3
    assert len(held(file)[EXPANSIONS.title]) == 2


def test_reviews_are_those_of_all_days_of_the_run_and_of_one_page_the_latest(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 3, day=LATER, reviews=2)
    for day, account in ((DAY, "A0"), (NEXT, "A2")):
        marts.execute(
            "insert into marts.csm_qbr select * replace (cast(? as date) as as_of_date, ? as account_id, "
            "41.0 as lowest_score) from marts.csm_qbr where account_id = 'A1'",
            [day, account],
        )

    async def work(adapter: NotionCSMAdapter) -> None:
        _, alone = await publish(marts, adapter, day=NEXT, kinds=["qbr"])
        assert (alone.created["qbr"], alone.failures) == (1, ())
        _, range_of_days = await publish(marts, adapter, day=LATER, kinds=["qbr"], reviews_since=DAY)
        assert (range_of_days.created["qbr"], range_of_days.skipped["qbr"], range_of_days.failures) == (2, 1, ())

    with_adapter(server, work)
    reviews = held(file)[QBRS.title]
    assert sorted((one["account_id"], one["generated_at"][:10]) for one in reviews) == [
        ("A0", "2026-07-02"),
        ("A1", "2026-07-02"),
        ("A2", "2026-07-01"),
    ]


def test_the_internal_notes_of_a_review_leave_its_page_when_they_are_not_wanted(
    server: SandboxServer, marts: duckdb.DuckDBPyConnection, file: Path
) -> None:
    fill(marts, 1, reviews=1)
    toggle = ("toggle", "Internal notes: remove before sharing")

    async def work(adapter: NotionCSMAdapter) -> None:
        await publish(marts, adapter)
        (review,) = held(file)[QBRS.title]
        assert review["blocks"][-1] == toggle
        assert not [text for _, text in review["blocks"] if "GREEN" in text or "score" in text]
        await publish(marts, adapter, qbr_internal="none")
        (without,) = held(file)[QBRS.title]
        assert without["blocks"] == review["blocks"][:-1]
        server.requests.clear()
        await publish(marts, adapter, qbr_internal="none")
        assert writes(server) == []

    with_adapter(server, work)


def test_an_opportunity_that_comes_back_is_the_same_page(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    async def work(adapter: NotionCSMAdapter) -> None:
        for day, score, opportunities in ((DAY, 80.0, 1), (NEXT, 80.0, 0), (LATER, 82.0, 1)):
            fill(marts, 1, day=day, score=score, opportunities=opportunities)
            await publish(marts, adapter, day=day, kinds=["expansion"])

    with_adapter(server, work)
    (page,) = held(file)[EXPANSIONS.title]
    assert ("paragraph", "Evidence at 82.0") in page["blocks"]


# -- people


def test_what_people_wrote_in_our_pages_stays(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 1, opportunities=1, reviews=1)

    async def work(adapter: NotionCSMAdapter) -> None:
        await publish(marts, adapter)
        (opportunity,) = page_ids(marts, "expansion").values()
        server.user_actions.write(opportunity, "Called them: they want it in autumn.")
        blocks = await adapter.blocks.children(opportunity)
        talk = next(one for one in blocks if "Talk of it." in str(one))
        server.user_actions.rewrite(talk["id"], "Do not talk of it before autumn.")
        (account,) = page_ids(marts, "health").values()
        server.user_actions.edit(account, {"Health Status": {"select": {"name": "RED"}}})
        server.user_actions.write(account, "Our most loyal customer.")
        fill(marts, 1, day=NEXT, score=71.0, opportunities=1, reviews=1)
        await publish(marts, adapter, day=NEXT)

    with_adapter(server, work)
    (page,) = held(file)[EXPANSIONS.title]
    texts = [text for _, text in page["blocks"]]
    assert texts.count("Evidence at 71.0") == 1
    assert "Evidence at 80.0" not in texts
    assert texts[-1] == "Called them: they want it in autumn."
    assert "Do not talk of it before autumn." in texts
    assert "Talk of it." not in texts
    (account,) = held(file)[ACCOUNTS.title]
    assert (account["Health Status"], account["CSM Health Score"]) == ("RED", 71.0)
    assert account["blocks"] == [("paragraph", "Our most loyal customer.")]


def test_a_property_that_a_person_changed_is_put_right_at_the_next_change(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 1)

    async def work(adapter: NotionCSMAdapter) -> None:
        await publish(marts, adapter, kinds=["health"])
        (account,) = page_ids(marts, "health").values()
        server.user_actions.edit(account, {"CSM Health Score": {"number": 1}})
        _, same = await publish(marts, adapter, kinds=["health"])
        assert same.skipped["health"] == 1
        fill(marts, 1, day=NEXT, score=79.0)
        await publish(marts, adapter, day=NEXT, kinds=["health"])

    with_adapter(server, work)
    assert held(file)[ACCOUNTS.title][0]["CSM Health Score"] == 79.0


def test_trashed_pages_are_reported_not_made_again_and_go_on_when_they_are_back(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 2, opportunities=2)

    async def work(adapter: NotionCSMAdapter) -> None:
        await publish(marts, adapter)
        account, opportunity = page_ids(marts, "health")['["A0"]'], next(iter(page_ids(marts, "expansion").values()))
        for page in (account, opportunity):
            server.user_actions.trash(page)
        for day, score in ((NEXT, 78.0), (LATER, 77.0)):
            fill(marts, 2, day=day, score=score, opportunities=2)
            _, report = await publish(marts, adapter, day=day, kinds=["health", "expansion"])
            assert (report.trashed, report.failures) == (2, ())
            assert (report.updated, sum(report.created.values())) == ({"health": 1, "expansion": 1}, 0)
        for page in (account, opportunity):
            server.user_actions.restore(page)
        # Times of pages have minutes only, so a page that came back within one may be seen only at a later reading.
        marts.execute("update sync.notion_sources set read_until = read_until - interval 2 minutes")
        fill(marts, 2, day=LATER, score=76.0, opportunities=2)
        _, report = await publish(marts, adapter, day=LATER, kinds=["health", "expansion"])
        assert (report.trashed, report.updated) == (0, {"health": 2, "expansion": 2})

    with_adapter(server, work)
    assert [page["CSM Health Score"] for page in held(file)[ACCOUNTS.title]] == [76.0, 76.0]
    assert all(("paragraph", "Evidence at 76.0") in page["blocks"] for page in held(file)[EXPANSIONS.title])
    assert all(len(page["blocks"]) == 7 for page in held(file)[EXPANSIONS.title])


def test_a_page_that_is_refused_and_not_in_the_trash_is_a_failure(
    server: SandboxServer, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 3)

    async def work(adapter: NotionCSMAdapter) -> None:
        await publish(marts, adapter, kinds=["health"])
        page = page_ids(marts, "health")['["A1"]']
        fill(marts, 3, score=79.0)
        server.faults.add(
            Fault("status", method="PATCH", path=page, status=404, code="object_not_found", message="Not yours.")
        )
        _, report = await publish(marts, adapter, kinds=["health"])
        assert report.updated["health"] == 2
        assert [(one.key, one.page_id) for one in report.failures] == [('["A1"]', page)]
        assert "Not yours." in str(report.failures[0].error)
        server.faults.clear()
        _, after = await publish(marts, adapter, kinds=["health"])
        assert (after.updated["health"], after.skipped["health"]) == (1, 2)

    with_adapter(server, work)


def test_a_lost_ledger_makes_no_page_twice_and_puts_old_pages_right(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 5, opportunities=3, reviews=2, features=150)

    async def work(adapter: NotionCSMAdapter) -> None:
        await publish(marts, adapter)
        opportunity = page_ids(marts, "expansion")['["A0", "module", "reports"]']
        server.user_actions.write(opportunity, "A note.")
        before = held(file)
        lose_ledger(marts)
        await publish(marts, adapter)
        assert held(file) == before
        lose_ledger(marts)
        fill(marts, 5, score=71.5, opportunities=3, reviews=2, features=150)
        await publish(marts, adapter)

    with_adapter(server, work)
    pages = held(file)
    assert [len(pages[spec.title]) for spec in (ACCOUNTS, HEALTH_RECORDS, QBRS, EXPANSIONS)] == [5, 5, 2, 3]
    noted = next(page for page in pages[EXPANSIONS.title] if page["account_id"] == "A0")
    assert [text for kind, text in noted["blocks"] if kind == "paragraph"] == [
        *("Evidence at 71.5", "10 EUR per year", "Talk of it.", "A note."),
    ]


# -- cut short


def blocks_of_a_whole_review(marts: duckdb.DuckDBPyConnection, tmp_path: Path, **more: Any) -> list[Any]:
    """The blocks of the review of an undisturbed run."""
    with SandboxServer(tmp_path / "other.sqlite") as other, duckdb.connect() as fresh:
        fill(fresh, 1, reviews=1, **more)
        with_adapter(other, lambda adapter: publish(fresh, adapter, kinds=["qbr"]))
    return held(tmp_path / "other.sqlite")[QBRS.title][0]["blocks"]


@pytest.mark.parametrize("fault", ["internal_error", "status"])
@pytest.mark.parametrize("next_day", [DAY, NEXT])
def test_a_half_written_review_is_completed_by_the_next_run_be_it_of_another_day(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection, tmp_path: Path, fault: str, next_day: Any
) -> None:
    fill(marts, 1, reviews=1, features=250)

    async def work(adapter: NotionCSMAdapter) -> None:
        server.faults.add(Fault(fault, method="PATCH", path="/children$", nth=2, times=None))
        _, report = await publish(marts, adapter, kinds=["qbr"])
        assert len(report.failures) == 1
        assert len(held(file)[QBRS.title][0]["blocks"]) == 200
        server.faults.clear()
        _, report = await publish(marts, adapter, day=next_day, kinds=["qbr"])
        assert (report.updated["qbr"], report.failures) == (1, ())
        server.requests.clear()
        await publish(marts, adapter, day=next_day, kinds=["qbr"])
        assert writes(server) == []

    with_adapter(server, work)
    (page,) = held(file)[QBRS.title]
    assert page["blocks"] == blocks_of_a_whole_review(marts, tmp_path, features=250)


def test_a_review_that_was_refused_is_tried_again_the_next_day(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 1, reviews=1)

    async def work(adapter: NotionCSMAdapter) -> None:
        server.faults.add(Fault("status", method="POST", path="^/v1/pages$"))
        _, report = await publish(marts, adapter, kinds=["qbr"])
        assert (len(report.failures), held(file)[QBRS.title]) == (1, [])
        _, report = await publish(marts, adapter, day=NEXT, kinds=["qbr"])
        assert report.created["qbr"] == 1
        _, report = await publish(marts, adapter, day=LATER, kinds=["qbr"])
        assert (report.created["qbr"], report.skipped["qbr"]) == (0, 0)

    with_adapter(server, work)


@pytest.mark.parametrize("back", [True, False])
def test_an_update_whose_outcome_is_not_known_is_not_taken_for_the_old_page(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection, back: bool
) -> None:
    """Written, but the answer lost for good; then the marts say what they said before, or something else."""
    fill(marts, 1, opportunities=1)

    async def work(adapter: NotionCSMAdapter) -> None:
        await publish(marts, adapter, kinds=["health", "expansion"])
        fill(marts, 1, score=75.0, opportunities=1)
        server.faults.add(Fault("reset_after", method="PATCH", times=None))
        _, report = await publish(marts, adapter, kinds=["health", "expansion"])
        assert len(report.failures) == 2
        server.faults.clear()
        fill(marts, 1, score=80.0 if back else 72.0, opportunities=1)
        await publish(marts, adapter, kinds=["health", "expansion"])

    with_adapter(server, work)
    said = 80.0 if back else 72.0
    assert held(file)[ACCOUNTS.title][0]["CSM Health Score"] == said
    (page,) = held(file)[EXPANSIONS.title]
    assert [text for kind, text in page["blocks"] if text.startswith("Evidence at")] == [f"Evidence at {said}"]
    assert len(page["blocks"]) == 7


@pytest.mark.parametrize("after", [1, 40, 70])
def test_ctrl_c_stops_cleanly_and_the_next_run_goes_on(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection, after: int
) -> None:
    fill(marts, 60, opportunities=20)

    async def cancelled(adapter: NotionCSMAdapter) -> None:
        ledger = Ledger(marts)
        plan = await make_plan(marts, adapter, ledger, DAY)

        def stop(done: int, _steps: int, _left: float) -> None:
            if done == after:
                running.cancel()

        running = asyncio.create_task(apply_plan(plan, adapter, ledger, run_id="cut", on_progress=stop))
        with pytest.raises(asyncio.CancelledError):
            await running

    with_adapter(server, cancelled)
    written = sum(len(pages) for pages in held(file).values())
    assert after <= written < 140
    run = marts.execute("select status, created from sync.notion_runs where run_id = 'cut'").fetchone()
    assert run == ("interrupted", written)
    assert marts.execute("select count(*) from sync.notion_changes where run_id = 'cut'").fetchone() == (written,)

    server.requests.clear()
    _, report = with_adapter(server, lambda adapter: publish(marts, adapter))
    assert (sum(report.created.values()), report.failures) == (140 - written, ())
    assert [len(pages) for pages in held(file).values()] == [60, 60, 0, 20]
    assert marts.execute("select count(*) from sync.notion_journal where done_at is null").fetchone() == (0,)


# -- audit and budget


def test_runs_and_changes_can_be_asked_in_sql(server: SandboxServer, marts: duckdb.DuckDBPyConnection) -> None:
    fill(marts, 2, opportunities=1)

    async def work(adapter: NotionCSMAdapter) -> None:
        server.faults.add(Fault("status", method="POST", path="^/v1/pages$", nth=3, message="No room."))
        await publish(marts, adapter, run_id="one", kinds=["health", "expansion"])
        await publish(marts, adapter, run_id="two", kinds=["health", "expansion"])

    with_adapter(server, work)
    runs = marts.execute(
        "select run_id, as_of_date, status, created, updated, skipped, failed, requests > 0 from sync.notion_runs "
        "order by run_id"
    ).fetchall()
    assert runs == [("one", DAY, "done", 2, 0, 0, 1, True), ("two", DAY, "done", 1, 0, 2, 0, True)]
    changes = marts.execute(
        "select run_id, kind, action, page_id is not null, error from sync.notion_changes order by run_id, kind, action"
    ).fetchall()
    failed = [change for change in changes if change[2] == "failed"]
    assert len(changes) == 4
    assert len(failed) == 1
    assert "No room." in failed[0][4]
    pages = marts.execute("select count(*), count(distinct page_id), bool_and(url <> '') from sync.notion_pages")
    assert pages.fetchone() == (3, 3, True)


def test_the_report_links_to_the_pages(server: SandboxServer, marts: duckdb.DuckDBPyConnection) -> None:
    fill(marts, 1, opportunities=1)
    _, report = with_adapter(server, lambda adapter: publish(marts, adapter))
    assert [(one.kind, one.action, one.label) for one in report.links] == [
        ("health", "created", "Account 0"),
        ("record", "created", f"Account 0 — {DAY}"),
        ("expansion", "created", "Account 0: module reports"),
    ]
    assert all(one.url.startswith("http") for one in report.links)


def test_left_out_control_characters_are_counted(server: SandboxServer, marts: duckdb.DuckDBPyConnection) -> None:
    fill(marts, 1, opportunities=1)
    marts.execute("update marts.csm_expansion_opportunities set evidence = 'a' || chr(1) || 'b' || chr(7)")
    plan, report = with_adapter(server, lambda adapter: publish(marts, adapter, kinds=["expansion"]))
    assert (plan.removed_characters, report.removed_characters) == (2, 2)
    assert any("2 control characters" in line for line in report_lines(report))


def test_progress_counts_up_to_all_and_tells_the_time_left(
    server: SandboxServer, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 10)
    told: list[tuple[int, int, float]] = []

    async def work(adapter: NotionCSMAdapter) -> None:
        ledger = Ledger(marts)
        plan = await make_plan(marts, adapter, ledger, DAY, kinds=["health"])
        await apply_plan(plan, adapter, ledger, run_id="r", on_progress=lambda *told_now: told.append(told_now))

    with_adapter(server, work)
    assert [(done, steps) for done, steps, _ in told] == [(number, 10) for number in range(1, 11)]
    assert told[-1][2] == 0


def test_a_tight_budget_of_the_service_only_takes_longer(file: Path, marts: duckdb.DuckDBPyConnection) -> None:
    fill(marts, 30, opportunities=10)
    with SandboxServer(file, requests_per_window=25, window_seconds=1.0) as server:

        async def patient(seconds: float) -> None:
            await asyncio.sleep(min(seconds, 1.0))

        async def work(adapter: NotionCSMAdapter) -> None:
            _, report = await publish(marts, adapter)
            assert not report.failures

        with_adapter(server, work, caller=Caller(RateLimiter(1_000_000), sleep=patient))
        assert any(one.status == 429 for one in server.requests)
    assert [len(pages) for pages in held(file).values()] == [30, 30, 0, 10]


def test_our_budget_is_kept_as_the_service_sees_it(
    server: SandboxServer, marts: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A budget of 20 in a window that is shortened to a second, by the times of the service's own log."""
    monkeypatch.setattr("csm_core.publishing.notion.rate_limiter.WINDOW_SECONDS", 1.0)
    fill(marts, 50)

    async def work(adapter: NotionCSMAdapter) -> None:
        server.requests.clear()
        await publish(marts, adapter, kinds=["health"])

    with_adapter(server, work, caller=Caller(RateLimiter(20), sleep=at_once))
    times = [one.at for one in server.requests]
    creates = [one.at for one in server.requests if one.path == "/v1/pages"]
    assert len(creates) == 50
    assert all(later - first >= 1.0 for first, later in zip(times, times[20:], strict=False))
    # 53 requests at 20 a window need two windows and a bit, and not three.
    assert creates[-1] - creates[0] < 3.0


def test_publishing_twice_in_a_process_spends_from_one_budget(
    server: SandboxServer, marts: duckdb.DuckDBPyConnection
) -> None:
    settings = NotionSettings.of({"NOTION_TOKEN": server.token, "NOTION_BASE_URL": server.url})
    ledger = Ledger(marts)
    ledger.begin_run("other process", DAY, datetime.now(UTC))
    counts = dict.fromkeys(("created", "updated", "skipped", "orphans", "trashed", "failed"), 0)
    ledger.end_run("other process", {**counts, "requests": 7}, "done")

    async def run() -> None:
        client = new_client(settings)
        first, second = (new_adapter(client, settings, ledger).caller.limiter for _ in range(2))
        assert first is second
        assert first.seconds_for(173) == 0
        assert first.seconds_for(174) > 0
        other = new_adapter(client, replace(settings, requests_per_minute=60), ledger).caller.limiter
        assert other is not first
        await client.aclose()

    asyncio.run(run())


def test_the_plan_of_the_command_tells_schema_drift(tmp_path: Path) -> None:
    config = Config(warehouse=tmp_path / "w.duckdb")
    with SandboxServer(tmp_path / "notion.sqlite") as server, Warehouse.from_config(config).connect() as connection:
        fill(connection, 1)

        async def drift(adapter: NotionCSMAdapter) -> dict[str, str]:
            client: Any = adapter._client  # pyright: ignore[reportPrivateUsage]
            source = await adapter.reader.source(HEALTH_RECORDS)
            await client.data_sources.update(source.data_source_id, properties={RAG: None})
            return {
                spec.setting: adapter.reader.database_id(spec) for spec in (ACCOUNTS, HEALTH_RECORDS, QBRS, EXPANSIONS)
            }

        environment = {
            "NOTION_TOKEN": server.token,
            "NOTION_BASE_URL": server.url,
            **with_adapter(server, drift),
        }
        plan = plan_day(connection, config, DAY, environment=environment)
    assert len(plan.drift) == 1
    assert "has no property rag" in plan.drift[0]
    assert plan.as_dict()["drift"] == list(plan.drift)
    assert any("has no property rag" in line for line in plan_lines(plan))


def set_account_id(server: SandboxServer, page_id: str, value: str) -> None:
    text = [{"text": {"content": value}}] if value else []
    server.user_actions.edit(page_id, {"account_id": {"rich_text": text}})


def test_an_account_id_that_a_person_emptied_or_changed_is_reported_and_the_page_is_updated(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 4)

    async def work(adapter: NotionCSMAdapter) -> None:
        await publish(marts, adapter, kinds=["health"])
        pages = page_ids(marts, "health")
        set_account_id(server, pages['["A0"]'], "")
        set_account_id(server, pages['["A1"]'], "gone")
        set_account_id(server, pages['["A2"]'], "A3")
        for day, score in ((NEXT, 30.0), (LATER, 20.0)):
            fill(marts, 4, day=day, score=score)
            plan, report = await publish(marts, adapter, day=day, kinds=["health"])
            assert (report.updated["health"], report.trashed, report.orphans, report.failures) == (4, 0, 0, ())
            assert report.created["health"] == 0
            for lines in ("\n".join(plan_lines(plan)), "\n".join(report_lines(report))):
                assert "account_id was emptied or changed in Notion" in lines
                assert "account_id is empty, expected 'A0'" in lines
                assert "account_id is 'gone', expected 'A1'" in lines
                assert "account_id is 'A3', expected 'A2'" in lines
            assert [line.rpartition(" ")[2] for line in report.as_dict()["changed_account_ids"]] == [
                "'A0'",
                "'A1'",
                "'A2'",
            ]
        for key, page in pages.items():
            set_account_id(server, page, key[2:4])
        plan, report = await publish(marts, adapter, day=LATER, kinds=["health"])
        assert (report.skipped["health"], list(plan.changed_ids)) == (4, [])

    with_adapter(server, work)
    assert [page["CSM Health Score"] for page in held(file)[ACCOUNTS.title]] == [20.0] * 4


def test_account_ids_that_a_person_exchanged_count_as_notion_says(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 2)

    async def work(adapter: NotionCSMAdapter) -> None:
        await publish(marts, adapter, kinds=["health"])
        pages = page_ids(marts, "health")
        set_account_id(server, pages['["A0"]'], "A1")
        set_account_id(server, pages['["A1"]'], "A0")
        fill(marts, 2, day=NEXT, score=30.0)
        plan, report = await publish(marts, adapter, day=NEXT, kinds=["health"])
        assert (report.updated["health"], list(plan.changed_ids)) == (2, [])
        assert page_ids(marts, "health") == {'["A0"]': pages['["A1"]'], '["A1"]': pages['["A0"]']}

    with_adapter(server, work)


def test_a_record_whose_account_id_a_person_emptied_stays_the_accounts(
    server: SandboxServer, file: Path, marts: duckdb.DuckDBPyConnection
) -> None:
    fill(marts, 2, opportunities=2)

    async def work(adapter: NotionCSMAdapter) -> None:
        await publish(marts, adapter)
        pages = page_ids(marts, "expansion")
        first, second = sorted(pages)
        set_account_id(server, pages[first], "A1")
        marts.execute("update sync.notion_sources set read_until = read_until - interval 2 minutes")
        fill(marts, 2, day=NEXT, score=30.0, opportunities=2)
        plan, report = await publish(marts, adapter, day=NEXT, kinds=["expansion"])
        assert (report.updated, report.created, report.failures) == ({"expansion": 2}, {"expansion": 0}, ())
        assert "account_id is 'A1', expected 'A0'" in "\n".join(plan.changed_ids)
        assert page_ids(marts, "expansion") == pages
        assert second in pages

    with_adapter(server, work)
