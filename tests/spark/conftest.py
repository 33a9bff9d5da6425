"""One Spark Connect server for the tests of this folder, so that Java starts once."""

from __future__ import annotations

import pytest

from tests.spark.servers import connect_server, require_spark


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The address of a server in a process of its own."""
    require_spark()
    with connect_server(tmp_path_factory.mktemp("server")) as (address, _):
        yield address
