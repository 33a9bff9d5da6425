"""A Spark Connect server as a process of its own, with defaults that differ from the settings of our sessions."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path

import pytest

DEFAULTS = {
    "spark.sql.session.timeZone": "America/New_York",
    "spark.sql.ansi.enabled": "false",
    "spark.sql.timestampType": "TIMESTAMP_LTZ",
    "spark.sql.shuffle.partitions": "3",
}
_SECONDS = 120


def require_spark() -> None:
    """Skip a test without PySpark, Spark Connect or Java."""
    missing = [name for name in ("pyspark", "py4j", "grpc") if find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: `make setup-all` installs it")
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        pytest.skip("Spark needs Java 17 or later, and there is no java on the PATH nor a JAVA_HOME")


@contextlib.contextmanager
def connect_server(folder: Path) -> Generator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a server on a free port of the loopback interface; gives its address and its process."""
    import pyspark

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = Path(pyspark.__file__).parent
    settings = {
        **DEFAULTS,
        "spark.connect.grpc.binding.port": str(port),
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        # The sessions of all tests use the code that Spark compiled for the first.
        "spark.sql.artifact.isolation.enabled": "false",
        "spark.sql.warehouse.dir": str(folder / "spark-warehouse"),
    }
    options = [part for name, value in settings.items() for part in ("--conf", f"{name}={value}")]
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(
            [
                str(home / "bin" / "spark-submit"),
                *("--master", "local[2]"),
                *options,
                *("--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal"),
            ],
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**os.environ, "SPARK_HOME": str(home)},
            start_new_session=True,
        )
    try:
        _wait_for(port, server, folder)
        yield f"sc://127.0.0.1:{port}", server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.2)
    message = f"the Spark Connect server did not start: {(folder / 'server.log').read_text()[-2000:]}"
    raise AssertionError(message)
