"""`Health Status` of account pages comes back as assessments: what counts, how it is dated, and the whole way."""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from assets.publish import HEALTH_UPDATES
from csm_core.config import PROJECT_ROOT, Config
from csm_core.notion_sandbox.server import SandboxServer
from csm_core.operations.run_outcome import RunOutcome
from csm_core.publishing.notion.assessments import ReadBack, Status, level_of, record
from csm_core.publishing.notion.publish import sandbox_file
from csm_core.publishing.notion.report_text import report_lines
from csm_core.publishing.notion.target_pages import account_of
from csm_core.warehouse.database import Warehouse
from pipelines.run import run_days
from tests.conftest import Company

MORNING = datetime(2026, 7, 1, 6, 0, tzinfo=UTC)


@pytest.fixture
def connection(tmp_path: Path) -> Generator[duckdb.DuckDBPyConnection]:
    with Warehouse.from_config(Config(warehouse=tmp_path / "w.duckdb")).connect() as opened:
        opened.execute(
            "create table staging.stg_accounts as select unnest(['A1', 'A2', 'A' || chr(1) || '3']) account_id"
        )
        yield opened


def kept(connection: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "select account_id, rag, assessed_at, assessment_id from raw.notion__tam_assessments order by all"
    ).fetchall()


@pytest.mark.parametrize(
    ("said", "level"),
    [
        ("Green", "GREEN"),
        ("GREEN", "GREEN"),
        ("🟢 On track", "GREEN"),
        ("🟢", "GREEN"),
        ("Yellow", "AMBER"),
        ("at-risk", "AMBER"),
        ("🟠", "AMBER"),
        (" red ", "RED"),
        ("🔴 Critical!", "RED"),
        ("Reddish", None),
        ("🔴 On holiday", None),
        ("", None),
        ("?", None),
    ],
)
def test_options_that_mean_a_level(said: str, level: str | None) -> None:
    assert level_of(said) == level


def test_only_what_changed_is_a_new_assessment(connection: duckdb.DuckDBPyConnection) -> None:
    day = timedelta(days=1)
    readings = ["RED", "Red", "Amber", "On holiday", "amber", "red"]
    found = [record(connection, [Status("p1", "A1", said)], MORNING + n * day) for n, said in enumerate(readings)]
    assert [(one.new, one.unchanged, dict(one.unknown)) for one in found] == [
        (1, 0, {}),
        (0, 1, {}),
        (1, 0, {}),
        (0, 0, {"On holiday": 1}),
        (0, 1, {}),
        (1, 0, {}),
    ]
    assert [(rag, at, key) for _, rag, at, key in sorted(kept(connection), key=lambda row: row[2])] == [
        ("RED", datetime.fromisoformat("2026-07-01T06:00"), "notion:p1:2026-07-01:RED"),
        ("AMBER", datetime.fromisoformat("2026-07-03T06:00"), "notion:p1:2026-07-03:AMBER"),
        ("RED", datetime.fromisoformat("2026-07-06T06:00"), "notion:p1:2026-07-06:RED"),
    ]


@pytest.mark.parametrize("window", [90, 30, 2, 1])
def test_a_choice_counts_as_long_as_it_stands_and_lapses_when_it_is_not_read_any_more(
    connection: duckdb.DuckDBPyConnection, window: int
) -> None:
    """Read every morning for 200 days, at varying hours, then never again; by the model that the signal comes from."""
    last_reading = 200
    for number in range(last_reading + 1):
        at = MORNING + timedelta(days=number, hours=number * 7 % 12)
        found = record(connection, [Status("p1", "A1", "Red")], at, window_days=window)
        assert (found.new, found.unchanged) == ((1, 0) if number == 0 else (0, 1))
    records = kept(connection)
    assert len({key for *_, key in records}) == len(records) == 1 + last_reading // max(1, window // 3)

    first, end = MORNING.date(), MORNING.date() + timedelta(days=last_reading + window + 5)
    connection.execute(
        "create table intermediate.int_account_days as select 'default' as tenant_id, 'A1' as account_id, "
        "unnest(generate_series(?::date, ?::date, interval 1 day))::date as as_of_date",
        [first - timedelta(days=3), end],
    )
    connection.execute("create table staging.stg_tam_assessments as from raw.notion__tam_assessments")
    model = (PROJECT_ROOT / "sql" / "intermediate" / "int_account_tam.sql").read_text(encoding="utf-8")
    levels = connection.execute(
        f"select as_of_date, tam_health_rag from ({model}) order by as_of_date",
        {"first_date": first - timedelta(days=3), "last_date": end, "tam_window_days": window},
    ).fetchall()
    counted = {day for day, level in levels if level == "RED"}
    assert {first + timedelta(days=number) for number in range(last_reading + 1)} <= counted
    last_record = max(at for _, _, at, _ in records).date()
    assert (min(counted), max(counted)) == (first, last_record + timedelta(days=window - 1))


def test_a_choice_that_was_not_read_for_long_is_confirmed_at_once(connection: duckdb.DuckDBPyConnection) -> None:
    record(connection, [Status("p1", "A1", "Amber")], MORNING)
    found = record(connection, [Status("p1", "A1", "Amber")], MORNING + timedelta(days=29))
    assert (found.unchanged, found.confirmed) == (1, 0)
    # Cleared: nothing is said any more, and nothing is confirmed.
    assert record(connection, [], MORNING + timedelta(days=60)) == ReadBack()
    found = record(connection, [Status("p1", "A1", "Amber")], MORNING + timedelta(days=400))
    assert (found.new, found.unchanged, found.confirmed) == (0, 1, 1)
    assert found.as_dict() == {"new": 0, "unchanged": 1, "confirmed": 1, "unknown": {}, "unplaced": 0}
    assert [at.date() for _, _, at, _ in kept(connection)] == [MORNING.date(), (MORNING + timedelta(days=400)).date()]


def test_what_cannot_be_placed_is_counted_and_ignored(connection: duckdb.DuckDBPyConnection) -> None:
    statuses = [
        Status("p0", "unheard of", "Red"),
        Status("p1", "A1", "Red"),
        Status("p2", "A1", "Green"),
        Status("p3", "A3", "Green"),
    ]
    assert record(connection, statuses, MORNING) == ReadBack(new=1, unplaced=3)
    # Notion keeps no control characters, and the record is of the account as the warehouse knows it.
    assert [(account, rag) for account, rag, *_ in kept(connection)] == [("A\x013", "GREEN")]


def test_before_anything_is_staged_nothing_is_kept(tmp_path: Path) -> None:
    with Warehouse.from_config(Config(warehouse=tmp_path / "w.duckdb")).connect() as connection:
        assert record(connection, [Status("p1", "A1", "Red")], MORNING) == ReadBack(unplaced=1)


@pytest.mark.slow
def test_a_choice_in_notion_is_a_signal_of_the_next_day_and_of_no_day_before(
    company: Callable[..., Company], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = company("acme")
    monkeypatch.setenv("DAGSTER_HOME", str(one.folder / "dagster_home"))
    for name in ("NOTION_TOKEN", "NOTION_DATABASE_ID"):
        monkeypatch.delenv(name, raising=False)
    first, second, third = (date(2026, 9, 29), date(2026, 9, 30), date(2026, 10, 1))

    def run(day: date, last: date | None = None, **more: Any) -> RunOutcome:
        """Run days in the morning after the last of them."""
        morning = datetime.combine((last or day) + timedelta(days=1), datetime.min.time(), UTC) + timedelta(hours=7)
        outcome = run_days(one.config, (day, last or day), clock=lambda: morning, **more)
        assert outcome.succeeded, outcome.failures
        return outcome

    def levels(day: date) -> dict[str, str | None]:
        return dict(
            one.query(f"select account_id, tam_health_rag from intermediate.int_account_tam where as_of_date = '{day}'")
        )

    run(first)
    before = levels(first)
    red, amber, other = sorted(account for account, level in before.items() if level in (None, "GREEN"))[:3]
    pages = one.query("select key, page_id from sync.notion_pages where kind = 'health'")
    page_of = {account_of(key): page_id for key, page_id in pages}
    with SandboxServer(sandbox_file(one.config)) as server:
        for account, said in ((red, "RED"), (amber, "Yellow"), (other, "On holiday")):
            server.user_actions.edit(page_of[account], {"Health Status": {"select": {"name": said}}})

    published = run(second).published
    (read,) = [report.read_back for report in published if report.read_back]
    assert (read.new, read.unknown) == (2, {"On holiday": 1})
    assert any("'On holiday' on 1 page is not GREEN" in line for report in published for line in report_lines(report))
    seen = levels(second)

    # The day before comes out as it did, though its run now finds the assessments.
    run(second, third, publish=False)
    assert levels(second) == seen
    after = levels(third)
    assert (after[red], after[amber], after[other]) == ("RED", "AMBER", seen[other])
    staged = one.query(
        "select assessment_id, account_id, rag, assessed_at from staging.stg_tam_assessments "
        "where assessment_id like 'notion:%' order by account_id"
    )
    read_at = datetime.fromisoformat("2026-10-01T07:00")
    assert staged == sorted(
        [
            (f"notion:{page_of[red]}:2026-10-01:RED", red, "RED", read_at),
            (f"notion:{page_of[amber]}:2026-10-01:AMBER", amber, "AMBER", read_at),
        ],
        key=lambda row: row[1],
    )
    published = run(third, select=[HEALTH_UPDATES]).published
    again = [report.read_back for report in published if report.read_back]
    assert [(one.new, one.unchanged) for one in again] == [(0, 2)]
