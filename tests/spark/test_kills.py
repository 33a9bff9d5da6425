"""Runs on Spark that are killed, and a server that is: a plain run afterwards is as if nothing had happened."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.spark.kills import RUN, copied, prepared, problems_after, strike
from tests.spark.servers import connect_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def company(tmp_path_factory, server):
    return prepared(tmp_path_factory.mktemp("prepared"), server)


def test_a_killed_run_and_a_plain_one_are_an_undisturbed_one(company, tmp_path, server):
    assert strike(company, tmp_path, server, 2, seed=3) == []


def test_a_run_whose_server_is_killed_fails_with_a_message_and_runs_again(company, tmp_path, server):
    (tmp_path / "other").mkdir()
    with connect_server(tmp_path / "other") as (address, process):
        struck = copied(company.start, tmp_path / "struck", address)
        text = struck.config_file.read_text(encoding="utf-8")
        struck.config_file.write_text(text.replace(server, address), encoding="utf-8")
        running = struck.start(*RUN)
        time.sleep(0.6 * company.seconds)
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = running.communicate(timeout=400)
        assert running.returncode == 1, output
        assert "Traceback" not in output
        with connect_server(tmp_path / "other", int(address.rpartition(":")[2])):
            assert problems_after(struck, company.wanted) == []
