"""Runs on Spark that are killed, and a server that is: a plain run afterwards is as if nothing had happened."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.crash.runs import Run, run_whole
from tests.spark.kills import RUN, copied, prepared, problems_of, strike
from tests.spark.servers import connect_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def company(tmp_path_factory, server):
    return prepared(tmp_path_factory.mktemp("prepared"), server)


@pytest.fixture(scope="module")
def without_server(company, server, tmp_path_factory):
    """A company and its run, whose server was killed."""
    folder = tmp_path_factory.mktemp("without_server")
    with connect_server(folder) as (address, process):
        struck = copied(company.start, folder / "struck", address)
        _use(struck, server, address)
        running = Run(struck, RUN, fresh=False)
        while not running.ended and running.processor_seconds() < 0.6 * company.seconds:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        yield struck, running


# The run without a server tries to connect again for 40 seconds: this test does not wait for it.
@pytest.mark.usefixtures("without_server")
def test_a_killed_run_and_a_plain_one_are_an_undisturbed_one(company, tmp_path, server):
    assert strike(company, tmp_path, server, 2, seed=3) == []


def test_a_run_whose_server_is_killed_fails_with_a_message_and_runs_again(company, without_server, server):
    struck, running = without_server
    address = struck.config.engine.remote
    status, output = running.wait(), running.output.read_text(encoding="utf-8")
    assert status == 1, output
    assert "Traceback" not in output
    _use(struck, address, server)
    run_whole(struck, RUN)
    assert problems_of(struck, company.wanted) == []


def _use(company, address, other):
    text = company.config_file.read_text(encoding="utf-8")
    company.config_file.write_text(text.replace(address, other), encoding="utf-8")
