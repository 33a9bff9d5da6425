"""A run that is killed at any boundary and run again has delivered each digest once, or says that it may have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import duckdb
import pytest

from csm_core.config import PROJECT_ROOT
from tests.publishing.alerts.made_up import day, fill
from tests.publishing.alerts.receiver import Receiver
from tests.web_server import serving


@pytest.mark.parametrize("step", [pytest.param(53, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)])
def test_each_digest_is_delivered_once_after_a_kill(tmp_path, step):
    start = tmp_path / "start"
    start.mkdir()
    with duckdb.connect(str(start / "w.duckdb")) as connection:
        fill(connection, [(one, day(number), 40.0) for one in ("A1", "A2", "B1") for number in (0, 1)])
    with serving(Receiver()) as receiver:
        done = subprocess.run(
            [sys.executable, "-m", "tests.publishing.alerts.kills", str(start), receiver.url, str(step)],
            capture_output=True,
            text=True,
            cwd=PROJECT_ROOT,
            env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
            timeout=600,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    undisturbed, *kills = [json.loads(line) for line in done.stdout.splitlines()]
    posts = Counter(zip((one.path.strip("/") for one in receiver.asked), receiver.received, strict=True))
    assert len(kills) > 100 / step
    assert {status for *_, status in undisturbed["digests"]} == {"sent"}
    lost = 0
    for found in kills:
        for name in ("states", "events", "drafts"):
            assert found[name] == undisturbed[name], found["kill"]
        for digest, route, status in found["digests"]:
            received = posts[str(found["kill"]), digest]
            assert status in ("sent", "possibly_sent")
            assert received <= 1
            if route == "slack" and status == "sent":
                assert received == 1
            lost += route == "slack" and received == 0
    # Only between the record that sending begins and the request.
    assert lost <= 12
