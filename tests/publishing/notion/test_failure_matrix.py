"""Every fault × every kind of write, and a kill at every request: the pages of an undisturbed run, or it says why not.

Shown as a table at the end of the test run.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from csm_core.errors import NotionError
from csm_core.notion_adapter import NotionCSMAdapter
from csm_core.notion_sandbox.faults import KINDS, Fault
from csm_core.notion_sandbox.server import SandboxServer
from csm_core.publishing.notion.databases import ACCOUNTS, EXPANSIONS, HEALTH_RECORDS, QBRS
from csm_core.system.notion_section import DEFAULT_API_VERSION
from csm_core.warehouse.database import Warehouse
from tests.publishing.notion.publication import DAY, adapter_of, fill, held, publish

NEXT = DAY + timedelta(days=1)
Pages = dict[str, list[dict[str, Any]]]
OLDER = "2025-09-03"

# How long the faults last: once, twice in a row (the third attempt does it), at every fourth request from the first on.
HOW_OFTEN: dict[str, list[dict[str, Any]]] = {
    "once": [{"times": 1}],
    "twice": [{"times": 2}],
    "often": [{"times": 1, "nth": nth} for nth in range(1, 400, 4)],
}
# The kinds of write: what is published, and which requests are struck.
WRITES: dict[str, tuple[str, str, str]] = {
    "account page": ("health", "POST", "^/v1/pages$"),
    "health update": ("health", "PATCH", "^/v1/pages/"),
    "health record": ("record", "POST", "^/v1/pages$"),
    "review, 260 blocks": ("qbr", "POST", "^/v1/pages$"),
    "review's appends": ("qbr", "PATCH", "/children$"),
    "opportunity": ("expansion", "POST", "^/v1/pages$"),
    "opportunity's update": ("expansion", "PATCH", "^/v1/(pages|blocks)/"),
}
FINAL = ("blocked", "status")


def second_day(
    before: Path, folder: Path, write: str | None, faults: Sequence[Fault], version: str = DEFAULT_API_VERSION
) -> tuple[Pages, list[str], int]:
    """Publish the second day in a copy of ``before``; the pages, the failures' messages, and how often a fault struck.

    The kind of ``write`` is published first and alone, under the faults; then everything without them, and once more,
    which must write nothing.
    """
    shutil.copytree(before, folder)
    failures: list[str] = []
    struck = 0
    with SandboxServer(folder / "notion.sqlite") as server, Warehouse(folder / "w.duckdb").connect() as marts:

        async def run() -> None:
            nonlocal struck
            async with adapter_of(server, version=version) as adapter:
                if write:
                    server.faults.add(*faults)
                    _, report = await publish(marts, adapter, day=NEXT, kinds=[WRITES[write][0]])
                    failures.extend(str(one.error) for one in report.failures)
                    struck = sum(armed["struck"] for armed in server.faults.armed())
                    server.faults.clear()
                await publish(marts, adapter, day=NEXT)
                server.requests.clear()
                await publish(marts, adapter, day=NEXT)
                assert [one.path for one in server.requests if one.is_write] == []
                assert open_entries(marts) == 0

        asyncio.run(run())
    pages = held(folder / "notion.sqlite")
    shutil.rmtree(folder)
    return pages, failures, struck


def open_entries(marts: duckdb.DuckDBPyConnection) -> int:
    row = marts.execute("select count(*) from sync.notion_journal where done_at is null").fetchone()
    return row[0] if row else -1


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the first day published, and the marts of the second."""
    folder = tmp_path_factory.mktemp("matrix") / "before"
    folder.mkdir()
    with SandboxServer(folder / "notion.sqlite") as server, Warehouse(folder / "w.duckdb").connect() as marts:

        async def run() -> None:
            async with adapter_of(server) as adapter:
                fill(marts, 2, opportunities=1)
                await publish(marts, adapter)

        asyncio.run(run())
        fill(marts, 3, day=NEXT, score=60.0, opportunities=2, reviews=1, features=250)
    return folder


@pytest.fixture(scope="module")
def undisturbed(before: Path, tmp_path_factory: pytest.TempPathFactory) -> Pages:
    pages, _, _ = second_day(before, tmp_path_factory.mktemp("matrix") / "undisturbed", None, [])
    assert [len(pages[spec.title]) for spec in (ACCOUNTS, HEALTH_RECORDS, QBRS, EXPANSIONS)] == [3, 5, 1, 2]
    assert len(pages[QBRS.title][0]["blocks"]) > 250
    return pages


@pytest.fixture(scope="module")
def table(shown_at_the_end: list[str]) -> Generator[dict[tuple[str, str, str], str]]:
    """Cells of the matrix by fault, how often, and kind of write; printed at the end."""
    cells: dict[tuple[str, str, str], str] = {}
    yield cells
    width = max(len(write) for write in WRITES) + 2
    lines = [f"\n{'fault':<24}{'':<8}" + "".join(f"{write:<{width}}" for write in WRITES)]
    for kind, often in dict.fromkeys((kind, often) for kind, often, _ in cells):
        row = "".join(f"{cells.get((kind, often, write), ''):<{width}}" for write in WRITES)
        lines.append(f"{kind:<24}{often:<8}{row}")
    shown_at_the_end.append("\n".join(lines))


class Matrix:
    """Strikes a kind of write with a fault and notes what came of it."""

    def __init__(self, before: Path, undisturbed: Pages, folder: Path, table: dict[tuple[str, str, str], str]) -> None:
        self._before = before
        self._undisturbed = undisturbed
        self._folder = folder
        self._table = table

    def strike(self, kind: str, write: str, often: str, version: str = DEFAULT_API_VERSION) -> str:
        """Check a cell of the table; returns its text."""
        _, method, path = WRITES[write]
        faults = [
            Fault(kind, method=method, path=path, retry_after=0, seconds=0.05, **when) for when in HOW_OFTEN[often]
        ]
        pages, failures, struck = second_day(self._before, self._folder / "cell", write, faults, version)
        self._table[kind, often, write] = "WRONG"
        assert struck, "the fault met no request"
        assert pages == self._undisturbed
        # What passes within three attempts fails nothing; what is final fails its record, with Notion's own words.
        assert bool(failures) == (kind in FINAL), failures
        assert all("This connection is blocked." in said or "An injected fault." in said for said in failures)
        self._table[kind, often, write] = f"refused {len(failures)}" if failures else "ok"
        return self._table[kind, often, write]


@pytest.fixture
def matrix(before: Path, undisturbed: Pages, tmp_path: Path, table: dict[tuple[str, str, str], str]) -> Matrix:
    return Matrix(before, undisturbed, tmp_path, table)


@pytest.mark.parametrize("kind", KINDS)
def test_every_fault_once_at_some_kind_of_write(matrix: Matrix, kind: str) -> None:
    place = list(KINDS).index(kind)
    assert matrix.strike(kind, list(WRITES)[place % len(WRITES)], "once") != "WRONG"


# What differs between the versions is where blocks are put, which an update of blocks does.
@pytest.mark.parametrize("kind", ["unavailable_written", "reset_after"])
def test_a_fault_under_the_older_version(matrix: Matrix, kind: str) -> None:
    assert matrix.strike(kind, "opportunity's update", "often", OLDER) == "ok"


@pytest.mark.slow
@pytest.mark.parametrize("version", [DEFAULT_API_VERSION, OLDER])
@pytest.mark.parametrize("often", HOW_OFTEN)
@pytest.mark.parametrize("kind", KINDS)
def test_every_fault_at_every_kind_of_write(matrix: Matrix, kind: str, often: str, version: str) -> None:
    assert "WRONG" not in [matrix.strike(kind, write, often, version) for write in WRITES]


@pytest.mark.slow
def test_all_faults_together_for_a_long_while(tmp_path: Path) -> None:
    """Any request may meet any fault; runs follow until one has nothing left to do: the undisturbed pages."""
    folder = tmp_path / "storm"
    folder.mkdir()
    wanted: Pages = {}
    for name, faults in (("calm", False), ("storm", True)):
        file = folder / f"{name}.sqlite"
        with (
            SandboxServer(file) as server,
            Warehouse(folder / f"{name}.duckdb").connect() as marts,
        ):

            async def run(server: SandboxServer, marts: duckdb.DuckDBPyConnection, faults: bool) -> None:
                async with adapter_of(server) as adapter:
                    fill(marts, 60, opportunities=30, reviews=5, features=220)
                    await until_done(marts, adapter, server, faults)
                    fill(marts, 70, day=NEXT, score=50.0, opportunities=40, reviews=5, features=220)
                    await until_done(marts, adapter, server, faults, day=NEXT)

            asyncio.run(run(server, marts, faults))
        if faults:
            assert held(file) == wanted
        else:
            wanted = held(file)


async def until_done(
    marts: duckdb.DuckDBPyConnection, adapter: NotionCSMAdapter, server: SandboxServer, faults: bool, **more: Any
) -> None:
    if faults:
        server.faults.add(*(Fault(kind, times=None, rate=0.03, retry_after=0) for kind in KINDS if kind not in FINAL))
    for _ in range(20):
        try:
            _, report = await publish(marts, adapter, **more)
        except NotionError:
            # A read that failed three times ends the run; the next one goes on.
            continue
        if not report.failures:
            break
    else:
        pytest.fail("twenty runs were not enough")
    server.faults.clear()


# -- killed at every request

# Forks a process per kill, so that each starts at once: the publishing modules are loaded, no thread is running.
FORKER = """
import json, os, sys, asyncio
from datetime import date
from pathlib import Path
from csm_core.config import Config
from csm_core.publishing.notion.publish import publish_day
from csm_core.notion_sandbox.server import SandboxServer
from csm_core.publishing.notion.setup import init_workspace
from csm_core.publishing.notion.settings import NotionSettings
from csm_core.publishing.notion.workspace import new_client
from csm_core.warehouse.database import Warehouse

def run(folder, when, nth, notion):
    seen = 0
    def reached(moment):
        nonlocal seen
        if moment == when:
            seen += 1
            if seen == nth:
                os.kill(os.getpid(), 9)
    with SandboxServer(folder / "notion.sqlite") as server:
        base = {"NOTION_TOKEN": server.token, "NOTION_BASE_URL": server.url, "NOTION_REQUESTS_PER_MINUTE": "1000000"}
        async def ids():
            client = new_client(NotionSettings.of(base))
            try:
                return await init_workspace(client, server.root_page_id)
            finally:
                await client.aclose()
        environment = {**base, **asyncio.run(ids())}
        server.requests.clear()
        server.service.before_request = lambda method, path: reached("before")
        server.service.after_request = lambda request: reached("after")
        config = Config(warehouse=folder / "w.duckdb", notion=notion)
        with Warehouse.from_config(config).connect() as connection:
            report = publish_day(connection, config, date(2026, 7, 1), environment=environment)
        (folder / "requests").write_text(str(len(server.requests)))
        (folder / "failures").write_text(json.dumps([one.error for one in report.failures]))

for line in sys.stdin:
    folder, when, nth, notion = json.loads(line)
    child = os.fork()
    if not child:
        try:
            run(Path(folder), when, nth, notion)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])), flush=True)
"""


class Forker:
    """A process that publishes the second day in a folder when told to, and is killed at a request or not."""

    def __init__(self, notion: dict[str, Any] | None = None) -> None:
        self._notion = notion or {}
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, folder: Path, when: str = "never", nth: int = 0) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(folder), when, nth, self._notion]) + "\n")
        self._process.stdin.flush()
        return int(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the first day published and edited by people, and the marts of the second.

    The second day's run creates 27 pages and updates 34: accounts, records, opportunities, reviews of 250 blocks.
    """
    folder = tmp_path_factory.mktemp("killed") / "started"
    folder.mkdir()
    with SandboxServer(folder / "notion.sqlite") as server, Warehouse(folder / "w.duckdb").connect() as marts:

        async def run() -> None:
            async with adapter_of(server) as adapter:
                fill(marts, 25, opportunities=10)
                await publish(marts, adapter)

        asyncio.run(run())
        pages = dict(marts.execute("select key, page_id from sync.notion_pages").fetchall())
        server.user_actions.write(pages['["A0", "module", "reports"]'], "Called them.")
        server.user_actions.edit(pages['["A1"]'], {"Health Status": {"select": {"name": "RED"}}})
        server.user_actions.trash(pages['["A2"]'])
        # The colour stays, so that only new accounts get a record.
        fill(marts, 33, day=NEXT, score=85.0, opportunities=19, reviews=2, features=240)
    return folder


def copied(started: Path, folder: Path) -> Path:
    shutil.copytree(started, folder)
    return folder


def killed_and_run_again(forker: Forker, started: Path, folder: Path, when: str, nth: int) -> Pages:
    copied(started, folder)
    assert forker.run(folder, when, nth) == -9
    assert forker.run(folder) == 0
    assert json.loads((folder / "failures").read_text()) == []
    with duckdb.connect(str(folder / "w.duckdb"), read_only=True) as connection:
        assert open_entries(connection) == 0
    pages = held(folder / "notion.sqlite")
    shutil.rmtree(folder)
    return pages


def kill_everywhere(
    started: Path, tmp_path: Path, every: int, shown: list[str], version: str = DEFAULT_API_VERSION
) -> list[tuple[str, int]]:
    """Kill runs, run again, and return the moments after which the pages were wrong."""
    forker = Forker({"api_version": version})
    whole = copied(started, tmp_path / "whole")
    assert forker.run(whole) == 0
    wanted, requests = held(whole / "notion.sqlite"), int((whole / "requests").read_text())
    with duckdb.connect(str(whole / "w.duckdb"), read_only=True) as connection:
        created, updated = connection.execute(
            "select created, updated from sync.notion_runs order by started_at desc limit 1"
        ).fetchone() or (0, 0)
    # Eight accounts with a record each, nine opportunities, two reviews; 24 accounts (one is in the trash) and ten
    # opportunities changed.
    assert (created, updated) == (8 + 8 + 9 + 2, 24 + 10)
    moments = [(when, nth) for nth in range(1, requests + 1, every) for when in ("before", "after")]
    forkers = [forker, Forker({"api_version": version})] if len(moments) > 10 else [forker]
    wrong: list[tuple[str, int]] = []

    def work(share: int) -> None:
        for when, nth in moments[share :: len(forkers)]:
            if killed_and_run_again(forkers[share], started, tmp_path / f"{when}-{nth}", when, nth) != wanted:
                wrong.append((when, nth))

    with ThreadPoolExecutor(len(forkers)) as pool:
        for done in [pool.submit(work, share) for share in range(len(forkers))]:
            done.result()
    for one in forkers:
        one.close()
    shown.append(
        f"\nkilled at {len(moments)} moments of a run of {requests} requests that created {created} pages and updated "
        f"{updated}: run again, {len(moments) - len(wrong)} ended with the pages of the undisturbed run"
    )
    opportunity = next(page for page in wanted[EXPANSIONS.title] if page["account_id"] == "A0")
    assert ("paragraph", "Called them.") in opportunity["blocks"]
    assert next(page for page in wanted[ACCOUNTS.title] if page["account_id"] == "A1")["Health Status"] == "RED"
    assert next(page for page in wanted[ACCOUNTS.title] if page["account_id"] == "A2")["in_trash"]
    return wrong


def test_killed_at_some_requests_and_run_again(started: Path, tmp_path: Path, shown_at_the_end: list[str]) -> None:
    assert kill_everywhere(started, tmp_path, every=50, shown=shown_at_the_end) == []


@pytest.mark.slow
@pytest.mark.parametrize("version", [DEFAULT_API_VERSION, OLDER])
def test_killed_at_every_request_and_run_again(
    started: Path, tmp_path: Path, shown_at_the_end: list[str], version: str
) -> None:
    assert kill_everywhere(started, tmp_path, every=1, shown=shown_at_the_end, version=version) == []
