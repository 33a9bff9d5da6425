"""One Spark session in this process for all tests of this folder; they are skipped without PySpark or Java."""

import os
import shutil
from pathlib import Path

import pytest

from csm_core.warehouse.remote_session import RemoteSession


@pytest.fixture(scope="session")
def spark_location(tmp_path_factory) -> Path:
    """The folder of the tables that the session builds: a session has one."""
    return tmp_path_factory.mktemp("tables")


@pytest.fixture(scope="session")
def spark(spark_location: Path) -> RemoteSession:
    pytest.importorskip("pyspark.sql.connect", reason="PySpark is an extra of its own: `make setup-all` installs it")
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        pytest.skip("Spark needs Java 17 or later, and there is no java on the PATH nor a JAVA_HOME")
    from csm_core.warehouse.spark_session import spark_session

    return spark_session(None, "local[2]", str(spark_location))
