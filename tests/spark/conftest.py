"""The sessions of Spark for the tests of this folder, so that Java starts twice in all: here and in a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from csm_core.warehouse.remote_session import RemoteSession
from tests.spark.servers import connect_server, require_spark


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
