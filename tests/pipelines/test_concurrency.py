"""One run at a time, the others wait; readers of the published copy are never refused and never see half a day."""

import json
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pytest

from csm_core.sample_company.generator import generate
from tests import in_process
from tests.conftest import Company, make_company, tables
from tests.scored import scored_assets

DAYS = ("2026-09-27", "2026-09-28", "2026-09-29", "2026-09-30")
READERS = 4
# Rows that are in one mart and not in the other that belongs to it, days, and the newest of them.
QUESTION = """
with scored as (
    select as_of_date, tenant_id, count(*) as accounts from marts.csm_health_scores group by all
),

counted as (
    select as_of_date, tenant_id, sum(accounts) as accounts from marts.csm_portfolio_daily group by all
),

newest as (
    select max(as_of_date) as as_of_date from marts.csm_health_scores
)

select
    (
        select count(*) from marts.csm_health_signals as signals full join marts.csm_health_scores as scores
            using (tenant_id, account_id, as_of_date)
        where signals.account_id is null or scores.account_id is null
    ) as unpaired,
    (
        select count(*) from scored full join counted using (as_of_date, tenant_id)
        where scored.accounts is distinct from counted.accounts
    ) as miscounted,
    (
        select count(*) from marts.csm_health_current as held full join (
            select * from marts.csm_health_scores where as_of_date = (select as_of_date from newest)
        ) as scores using (tenant_id, account_id, as_of_date)
        where held.score is distinct from scores.score or held.rag is distinct from scores.rag
    ) as outdated,
    (select count(distinct as_of_date) from marts.csm_health_scores) as days,
    (select min(accounts) from scored) as accounts
"""


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("records")
    generate(folder, accounts=12, days=60, format="mixed")
    return folder


def read(path: str, queries: int, hold: bool, finished: Any, answers: Any) -> None:
    """Ask until the runs have ended, and at least so often; every answer, or the error, once it is another."""
    said: list[Any] = []
    asked = 0
    while asked < queries or not finished.is_set():
        try:
            with duckdb.connect(path, read_only=True) as connection:
                for _ in range(25 if hold else 1):
                    answer: Any = connection.execute(QUESTION).fetchone()
                    asked += 1
                    if said[-1:] != [answer]:
                        said.append(answer)
                    # Readers that never rest would only take the processors away from the run.
                    finished.wait(0.02 if asked < queries else 0.2)
        except duckdb.Error as error:
            said.append(str(error))
            break
    answers.put((asked, said))


def ask_csm(company: Company, finished: Any) -> list[Any]:
    """The same by ``csm sql``, as often as it goes."""
    said: list[Any] = []
    while not finished.is_set() or not said:
        asked = company.csm("sql", QUESTION, "--format", "json")
        said.append(tuple(json.loads(asked.stdout)[0].values()) if asked.returncode == 0 else asked.stderr)
        finished.wait(1)
    return said


def read_while_days_are_run(company: Company, days: tuple[str, ...], queries: int, select: Sequence[str] = ()) -> str:
    run = ["run", "--no-publish", *(["--select", ",".join(select)] if select else [])]
    first = in_process.csm(*run, "--as-of", days[0], folder=company.folder, environment=company.environment)
    assert first.returncode == 0, first.stdout + first.stderr
    context = multiprocessing.get_context("spawn")
    finished, answers = context.Event(), context.Queue()
    copy = str(company.config.warehouse.parent / "published" / "csm_analytics.duckdb")
    readers = [
        context.Process(target=read, args=(copy, queries // READERS, number % 2 == 1, finished, answers))
        for number in range(READERS)
    ]
    for reader in readers:
        reader.start()
    with ThreadPoolExecutor(1) as pool:
        by_csm = pool.submit(ask_csm, company, finished)
        try:
            for day in days[1:]:
                # Of so few accounts a tenth is one, and a swing no news.
                done = company.csm(*run, "--as-of", day, "--accept", "portfolio_swing")
                assert done.returncode == 0, done.stdout + done.stderr
        finally:
            finished.set()
    found = [answers.get(timeout=300) for _ in readers]
    for reader in readers:
        reader.join(60)
    everything = [*found, (len(by_csm.result()), by_csm.result())]
    wrong = [answer for _, said in everything for answer in said if not whole(answer)]
    assert wrong == []
    seen = [[answer[3] for answer in said] for _, said in everything]
    assert all(numbers == sorted(numbers) for numbers in seen), "a later query saw fewer days"
    # Else nothing was replaced under the readers, and the test shows nothing.
    assert {number for numbers in seen for number in numbers} >= {1, len(days)}
    total = sum(asked for asked, _ in everything)
    assert total >= queries
    return (
        f"{total:,} queries of {READERS + 1} processes on the published copy while {len(days) - 1} days were run "
        f"({everything[-1][0]} by csm sql): {len(wrong)} errors or torn results"
    )


def whole(answer: Any) -> bool:
    return isinstance(answer, tuple) and answer[:3] == (0, 0, 0) and answer[4] > 0


@pytest.mark.slow
def test_readers_are_never_refused_and_see_whole_days(records, tmp_path, shown_at_the_end):
    company = make_company(tmp_path, records)
    # What the readers ask for, and the copy.
    select = scored_assets(company, "csm_portfolio_daily", "csm_days", "csm_analytics", of="csm_health_current")
    said = read_while_days_are_run(company, DAYS[:2], 200, select)
    shown_at_the_end.append(said)
    assert said.endswith("0 errors or torn results")


@pytest.mark.slow
def test_a_thousand_queries_while_days_are_run(records, tmp_path, shown_at_the_end):
    said = read_while_days_are_run(make_company(tmp_path, records), DAYS, 1000)
    shown_at_the_end.append(said)
    assert said.endswith("0 errors or torn results")


@pytest.mark.slow
def test_runs_at_once_wait_for_each_other_and_end_as_one_after_the_other(records, tmp_path):
    one, other = make_company(tmp_path, records), make_company(tmp_path, records)
    first = one.start("run", "--as-of", DAYS[-2], "--no-publish")
    history = one.folder / "dagster_home" / "history" / "runs"
    # The day before has to be first, for both orders give other transitions.
    while first.poll() is None and not (one.folder / "data" / "csm.duckdb").exists():
        time.sleep(0.05)
    others = [one.start("run", "--as-of", DAYS[-1], "--no-publish"), one.start("run", "--as-of", DAYS[-1], "--dry-run")]
    outputs = [process.communicate(timeout=600)[0] for process in (first, *others)]
    assert [process.returncode for process in (first, *others)] == [0, 0, 0], outputs
    assert all("another run is in progress" in said for said in outputs[1:])
    assert "another run is in progress" not in outputs[0]
    for day in DAYS[-2:]:
        assert other.csm("run", "--as-of", day, "--no-publish").returncode == 0
    assert tables(one.config.warehouse) == tables(other.config.warehouse)
    assert len(list(history.glob("*-*.db"))) == 3
