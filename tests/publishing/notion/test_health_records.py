"""When a health record is written, and what it states: settled changes and large moves, each once."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from csm_core.config import Config
from csm_core.days.finished_days import model_parameters
from csm_core.notion_sandbox.server import SandboxServer
from csm_core.publishing.notion.databases import HEALTH_RECORDS
from csm_core.rubric import RUBRIC, SIGNAL_NAMES
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.materialize import build_model
from csm_core.warehouse.migrations import upgrade
from csm_core.warehouse.models import load_models
from tests.publishing.notion.publication import adapter_of, held, lose_ledger, publish

FIRST = date(2026, 6, 1)
FULL = {signal.name: float(signal.weight) for signal in RUBRIC}
# Score, RAG and churn risk of consecutive days.
Day = tuple[float, str, str]
GREEN, AMBER, RED = (80.0, "GREEN", "low"), (65.0, "AMBER", "low"), (20.0, "RED", "high")


@pytest.fixture
def server(tmp_path: Path) -> Generator[SandboxServer]:
    with SandboxServer(tmp_path / "notion.sqlite") as running:
        yield running


@pytest.fixture
def marts(tmp_path: Path) -> Generator[duckdb.DuckDBPyConnection]:
    with Warehouse.from_config(Config(warehouse=tmp_path / "w.duckdb")).connect() as connection:
        upgrade(connection)
        yield connection


def score(
    marts: duckdb.DuckDBPyConnection, days: Sequence[Day], points: dict[int, dict[str, float]] | None = None
) -> list[date]:
    """The marts of one account from ``FIRST`` on; ``points`` are those of the signals on some days, by place."""
    dates = [FIRST + timedelta(days=number) for number in range(len(days))]
    columns = ", ".join(f"{name}_points double" for name in SIGNAL_NAMES)
    marts.execute(
        "create or replace table marts.csm_health_scores (tenant_id varchar, account_id varchar, as_of_date date, "
        "score double, raw_score double, rag varchar, churn_risk_level varchar, churn_triggered_by varchar, "
        f"{columns})"
    )
    marts.execute(
        "create or replace table intermediate.int_account_days "
        "(tenant_id varchar, account_id varchar, as_of_date date, account_name varchar)"
    )
    marts.execute(
        "create or replace table marts.csm_signal_points (tenant_id varchar, account_id varchar, as_of_date date, "
        "signal varchar, points double, fact varchar)"
    )
    for number, (day, (value, rag, risk)) in enumerate(zip(dates, days, strict=True)):
        given = FULL | (points or {}).get(number, {})
        row = ["t", "A", day, value, value, rag, risk, None, *given.values()]
        marts.execute(f"insert into marts.csm_health_scores values ({', '.join('?' * len(row))})", row)
        marts.execute("insert into intermediate.int_account_days values ('t', 'A', ?, 'Account')", [day])
        facts = [["t", "A", day, name, value, f"fact {number} of {name}"] for name, value in given.items()]
        marts.executemany("insert into marts.csm_signal_points values (?, ?, ?, ?, ?, ?)", facts)
    marts.execute("drop table if exists marts.csm_settled_bands")
    model = load_models("marts")["csm_settled_bands"]
    build_model(marts, model, model_parameters(Config()), (dates[0], dates[-1]))
    return dates


def publish_each(server: SandboxServer, marts: duckdb.DuckDBPyConnection, days: Iterable[date]) -> list[int]:
    """Publish the records of each day; returns the number that each wrote."""

    async def run() -> list[int]:
        async with adapter_of(server) as adapter:
            reports = [(await publish(marts, adapter, day=day, kinds=["record"]))[1] for day in days]
        return [report.created["record"] + report.updated["record"] for report in reports]

    return asyncio.run(run())


def records(tmp_path: Path) -> dict[str, list[str]]:
    """The texts of each record by its day."""
    pages = held(tmp_path / "notion.sqlite")[HEALTH_RECORDS.title]
    return {page["as_of_date"]: [text for _, text in page["blocks"]] for page in pages}


def reason(texts: Sequence[str]) -> str:
    (found,) = [text for text in texts if text.startswith("Why this record:")]
    return found.removeprefix("Why this record: ")


def test_a_record_is_written_when_a_change_has_settled(server, marts, tmp_path):
    dates = score(marts, [GREEN, AMBER, AMBER, GREEN, AMBER, AMBER, AMBER, AMBER])
    assert publish_each(server, marts, dates) == [1, 0, 0, 0, 0, 0, 1, 0]
    found = records(tmp_path)
    assert reason(found["2026-06-01"]) == "This is the account's first health record."
    assert reason(found["2026-06-07"]) == ("The band changed from GREEN to AMBER on 2026-06-05 and has lasted 3 days.")
    assert publish_each(server, marts, dates[-2:]) == [0, 0]


def test_a_change_that_skips_a_band_is_recorded_at_once(server, marts, tmp_path):
    dates = score(marts, [GREEN, RED, (20.0, "RED", "critical")])
    assert publish_each(server, marts, dates) == [1, 1, 1]
    found = records(tmp_path)
    assert reason(found["2026-06-02"]) == (
        "The band changed from GREEN to RED on 2026-06-02 and skipped a band. "
        "The churn risk changed from low to high on 2026-06-02 and skipped a level."
    )
    assert reason(found["2026-06-03"]) == "The churn risk became critical on 2026-06-03."


def test_a_move_of_ten_points_in_the_same_band_is_recorded_once(server, marts, tmp_path):
    scores = [95.0, 95.0, 90.0, 85.0, 84.0, 83.0, 83.0, 83.0, 94.0, 94.0]
    dates = score(marts, [(one, "GREEN", "low") for one in scores])
    assert publish_each(server, marts, dates) == [1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert reason(records(tmp_path)["2026-06-04"]) == "The score fell by 10.0 points since 2026-06-02."


def test_a_slow_move_and_a_move_to_another_band_are_no_large_moves(server, marts, tmp_path):
    slow = [95.0 - number for number in range(12)]
    dates = score(marts, [*((one, "GREEN", "low") for one in slow), (69.0, "AMBER", "low"), GREEN])
    assert publish_each(server, marts, dates) == [1, *[0] * 13]
    assert list(records(tmp_path)) == ["2026-06-01"]


def test_a_record_states_what_changed_with_points_and_facts_and_what_to_do(server, marts, tmp_path):
    lost = {"invoice_payment_status": 0.0, "usage_trend": 8.0, "nps_score": 2.0}
    dates = score(marts, [GREEN, AMBER, AMBER, AMBER], {3: lost})
    publish_each(server, marts, dates)
    texts = records(tmp_path)["2026-06-04"]
    since = texts.index("Since the record of 2026-06-01")
    assert texts[since + 1 : since + 6] == [
        "Score: 80.0 → 65.0 (-15.0)",
        "Band: GREEN → AMBER",
        "Churn risk: low, unchanged",
        "Invoice payments: 10 → 0 of 10 points. Then: fact 0 of invoice_payment_status. "
        "Now: fact 3 of invoice_payment_status.",
        "Usage trend: 15 → 8 of 15 points. Then: fact 0 of usage_trend. Now: fact 3 of usage_trend.",
    ]
    assert "Invoice payments: 0 of 10. Fact 3 of invoice_payment_status." in texts
    steps = texts[texts.index("What to do") + 1 :]
    assert [step[:25] for step in steps] == [
        "Resolve the open invoices",
        "Ask the main users what c",
        "Call the respondents with",
    ]


def test_a_day_that_does_not_count_is_no_move(server, marts):
    dates = score(marts, [(80.0, "GREEN", "low"), (95.0, "GREEN", "low"), (80.0, "GREEN", "low")])
    marts.execute(
        "insert into run.days_status (as_of_date, status, failed_checks, message, run_id, checks_passed, changed_at) "
        "values (?, 'held', 'portfolio_swing', '', 'r', false, now()::timestamp)",
        [dates[1]],
    )
    assert publish_each(server, marts, [dates[0], dates[2]]) == [1, 0]


def test_without_the_ledger_the_properties_of_the_last_record_decide(server, marts, tmp_path):
    dates = score(marts, [GREEN, GREEN, AMBER, AMBER, AMBER])
    publish_each(server, marts, dates[:1])
    lose_ledger(marts)
    assert publish_each(server, marts, dates[1:4]) == [0, 0, 0]
    lose_ledger(marts)
    assert publish_each(server, marts, dates[4:]) == [1]
    assert list(records(tmp_path)) == ["2026-06-01", "2026-06-05"]
    assert "Score: 80.0 → 65.0 (-15.0)" in records(tmp_path)["2026-06-05"]


def test_a_warehouse_without_settled_bands_uses_the_bands_of_the_day(server, marts, tmp_path):
    dates = score(marts, [GREEN, AMBER])
    marts.execute("drop table marts.csm_settled_bands")
    marts.execute("alter table marts.csm_signal_points drop column fact")
    assert publish_each(server, marts, dates) == [1, 1]
    assert reason(records(tmp_path)["2026-06-02"]) == "The band changed from GREEN to AMBER."


def test_a_record_of_an_earlier_version_has_the_score_of_its_day(server, marts):
    dates = score(marts, [(80.0, "GREEN", "low"), (91.0, "GREEN", "low"), (91.0, "GREEN", "low")])
    publish_each(server, marts, dates[:2])
    marts.execute(
        """update sync.notion_pages set facts = '{"as_of_date": "2026-06-02", "rag": "GREEN", '
        || '"churn_risk_level": "low"}' where key like '%2026-06-02%'"""
    )
    found: list[Any] = marts.execute("select count(*) from sync.notion_pages").fetchall()
    assert found == [(2,)]
    assert publish_each(server, marts, dates[2:]) == [0]
