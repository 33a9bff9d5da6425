"""The ledger's own rules, without a Notion: what it forgets, and what it keeps."""

from datetime import UTC, date, datetime, timedelta

import pytest

from csm_core.publishing.notion.database_reader import DataSource
from csm_core.publishing.notion.databases import ACCOUNTS, EXPANSION, HEALTH, RECORD
from csm_core.publishing.notion.ledger import DONE, PARTIAL, Intent, Ledger, Page
from csm_core.warehouse.database import Warehouse

DAY = date(2026, 6, 30)
KEY, OTHER = '["A"]', '["B"]'


@pytest.fixture
def ledger(tmp_path):
    with Warehouse(tmp_path / "w.duckdb").connect() as connection:
        yield Ledger(connection)


def remember(ledger: Ledger, data_source: str) -> None:
    ledger.sources.remember_source(ACCOUNTS, DataSource("database", data_source, "Health", True))


@pytest.mark.parametrize(("later", "kept"), [("m", True), ("a", False), ("z", False)])
def test_pages_of_another_data_source_are_forgotten(ledger, later, kept):
    remember(ledger, "m")
    ledger.store(ACCOUNTS, [Page(HEALTH, KEY, "page", "hash")])
    remember(ledger, later)
    assert bool(ledger.pages(HEALTH)) is kept
    assert ledger.sources.source(ACCOUNTS, "database") == DataSource("database", later, "Health", True)


def test_windows_and_the_time_of_the_last_read_are_none_at_first(ledger):
    remember(ledger, "m")
    assert ledger.sources.windows(ACCOUNTS) == ()
    assert ledger.sources.read_until(ACCOUNTS) is None
    ledger.sources.remember_windows(ACCOUNTS, ["2026-01-01", "2026-02-01"])
    assert ledger.sources.windows(ACCOUNTS) == ("2026-01-01", "2026-02-01")


def test_nothing_is_known_of_a_database_that_was_never_resolved(ledger):
    assert ledger.sources.source(ACCOUNTS, "database") is None
    assert ledger.sources.windows(ACCOUNTS) == ()
    assert ledger.sources.read_until(ACCOUNTS) is None
    assert ledger.recent_requests(60) == 0


def send(ledger: Ledger, run: str, *intents: Intent) -> None:
    ledger.intend(run, intents)
    ledger.sending(run, intents)


def test_a_create_that_was_sent_and_not_stored_is_unresolved_until_its_page_is_whole(ledger):
    send(ledger, "r1", Intent(HEALTH, KEY, "create", DAY), Intent(HEALTH, OTHER, "update", DAY))
    assert ledger.unresolved(HEALTH) == {KEY}
    assert ledger.interrupted(HEALTH) == {KEY, OTHER}
    ledger.store(ACCOUNTS, [Page(HEALTH, KEY, "page", "hash", PARTIAL)])
    assert ledger.unresolved(HEALTH) == {KEY}
    ledger.store(ACCOUNTS, [Page(HEALTH, KEY, "page", "hash")])
    assert ledger.unresolved(HEALTH) == set()
    assert ledger.interrupted(HEALTH) == {OTHER}


def test_what_was_never_sent_is_neither_unresolved_nor_interrupted(ledger):
    ledger.intend("r1", [Intent(HEALTH, KEY, "create", DAY)])
    assert ledger.unresolved(HEALTH) == ledger.interrupted(HEALTH) == set()
    assert ledger.left_over(HEALTH, DAY + timedelta(days=1), 1) == {DAY: {KEY}}


def test_a_page_of_the_same_key_and_another_kind_is_not_marked_as_sent(ledger):
    waiting = Intent(HEALTH, KEY, "create", DAY)
    sent = [
        Intent(EXPANSION, KEY, "create", DAY),
        Intent(HEALTH, OTHER, "create", DAY),
        Intent(RECORD, KEY, "create", DAY),
    ]
    ledger.intend("r1", [waiting, *sent])
    ledger.sending("r1", sent)
    assert ledger.unresolved(HEALTH) == {OTHER}


@pytest.mark.parametrize(("later", "days", "found"), [(0, 5, False), (1, 1, True), (5, 5, True), (6, 5, False)])
def test_only_the_days_before_a_day_are_left_over(ledger, later, days, found):
    send(ledger, "r1", Intent(HEALTH, KEY, "update", DAY))
    assert ledger.left_over(HEALTH, DAY + timedelta(days=later), days) == ({DAY: {KEY}} if found else {})


def test_a_rejected_create_is_left_over_and_not_looked_for(ledger):
    send(ledger, "r1", Intent(HEALTH, KEY, "create", DAY))
    ledger.close_rejected(HEALTH, [KEY])
    assert ledger.unresolved(HEALTH) == set()
    assert ledger.left_over(HEALTH, DAY + timedelta(days=1), 1) == {DAY: {KEY}}


def test_a_run_that_settles_keeps_interrupted_updates(ledger):
    send(ledger, "r1", Intent(HEALTH, KEY, "create", DAY), Intent(HEALTH, OTHER, "update", DAY))
    ledger.settle([HEALTH])
    assert ledger.unresolved(HEALTH) == set()
    assert ledger.interrupted(HEALTH) == {OTHER}


def test_the_requests_of_runs_that_ended_in_the_last_seconds_are_added(ledger):
    counts = dict.fromkeys(("created", "updated", "skipped", "orphans", "trashed", "failed"), 0)
    for run, requests in (("r1", 3), ("r2", 4)):
        ledger.begin_run(run, DAY, datetime.now(UTC))
        ledger.end_run(run, {**counts, "requests": requests}, DONE)
    assert ledger.recent_requests(60) == 7
    assert ledger.recent_requests(-60) == 0


def test_the_last_page_of_a_key_counts(ledger):
    ledger.store(ACCOUNTS, [Page(HEALTH, KEY, "first", "1"), Page(HEALTH, KEY, "second", "2", marks=("m",))])
    assert ledger.pages(HEALTH) == {KEY: Page(HEALTH, KEY, "second", "2", marks=("m",))}
    ledger.store(ACCOUNTS, [])
    assert set(ledger.pages(HEALTH)) == {KEY}


@pytest.mark.parametrize("marks", [None, (), ("heading", "end")])
def test_a_page_is_read_as_it_was_stored(ledger, marks):
    page = Page(HEALTH, KEY, "page", "hash", PARTIAL, marks, {"score": 71.5, "rag": "GREEN"}, "https://notion.so/page")
    ledger.store(ACCOUNTS, [page])
    assert ledger.pages(HEALTH) == {KEY: page}


def test_tables_for_analysts_have_the_account_of_the_key(tmp_path):
    with Warehouse(tmp_path / "w.duckdb").connect() as connection:
        ledger = Ledger(connection)
        ledger.store(ACCOUNTS, [Page(HEALTH, key, key, "hash") for key in (KEY, '[""]')])
        ledger.intend("r1", [Intent(HEALTH, KEY, "create", DAY)])
        for table, accounts in (("notion_pages", [(None,), ("A",)]), ("notion_journal", [("A",)])):
            found = connection.execute(f"select account_id from sync.{table} order by account_id nulls first")
            assert found.fetchall() == accounts
