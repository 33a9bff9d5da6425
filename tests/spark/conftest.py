"""The sessions of Spark for the tests of this folder, so that Java starts twice in all: here and in a server."""

from __future__ import annotations

import os
from collections.abc import Generator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from csm_core.warehouse.remote_session import RemoteSession
from tests.spark.scenarios import SCENARIOS
from tests.spark.servers import connect_server, require_spark

# The tests run many small queries, so most of the work is compiling: quick code is better than fast code. The classes
# that Spark generates for a run are kept for the next; by default, there is room for fewer than a run needs.
os.environ.setdefault(
    "JDK_JAVA_OPTIONS",
    "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:MetaspaceSize=512m -Dspark.sql.codegen.cache.maxEntries=5000",
)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The address of a server in a process of its own."""
    require_spark()
    with connect_server(tmp_path_factory.mktemp("server")) as (address, _):
        yield address


@pytest.fixture(scope="session")
def spark_location(tmp_path_factory) -> Path:
    """The folder of the tables that the session builds: a session has one."""
    return tmp_path_factory.mktemp("tables")


@pytest.fixture(scope="session")
def spark(spark_location: Path) -> RemoteSession:
    """A session in this process."""
    require_spark()
    from csm_core.warehouse.spark_session import spark_session

    return spark_session(None, "local[2]", str(spark_location))


@pytest.fixture(scope="session")
def scenarios(server, tmp_path_factory) -> Generator[dict[str, Future[list[str]]]]:
    """What each scenario finds; they are run from the first test on that asks for them."""
    # Not a fork: the connections to Spark have threads.
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield {one.__name__: pool.submit(one, tmp_path_factory.mktemp(one.__name__), server) for one in SCENARIOS}
        pool.shutdown(wait=False, cancel_futures=True)


@pytest.fixture(scope="session", autouse=True)
def _started(request) -> None:
    """Start the scenarios before all other tests of this folder, if any of them is selected.

    A worker of pytest-xdist has the list of all tests, and starts them when it gets the first of theirs.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ and any(
        "scenarios" in getattr(item, "fixturenames", ()) for item in request.session.items
    ):
        request.getfixturevalue("scenarios")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the tests that wait for scenarios to the end of this folder's tests."""
    own = [number for number, item in enumerate(items) if Path(__file__).parent in item.path.parents]
    ordered = sorted(
        (items[number] for number in own), key=lambda item: "scenarios" in getattr(item, "fixturenames", ())
    )
    for number, item in zip(own, ordered, strict=True):
        items[number] = item


@pytest.fixture(scope="session")
def beside() -> Generator[Executor]:
    """A process for the runs with DuckDB: they use the core that Spark leaves free."""
    # Not a fork: the connections to Spark have threads.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool
