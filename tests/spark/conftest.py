"""The sessions of Spark for the tests of this folder, so that Java starts twice in all: here and in a server."""

from __future__ import annotations

import os
from collections.abc import Generator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from csm_core.warehouse.remote_session import RemoteSession
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
def beside() -> Generator[Executor]:
    """A process for the runs with DuckDB: they use the core that Spark leaves free."""
    # Not a fork: the connections to Spark have threads.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool
