"""A run that is killed at any boundary and run again has delivered each digest once, or says that it may have."""

from __future__ import annotations

import email
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

import duckdb
import pytest

from csm_core.config import PROJECT_ROOT
from tests.publishing.alerts.made_up import day, fill
from tests.publishing.alerts.mail_server import MailReceiver
from tests.publishing.alerts.receiver import Receiver
from tests.web_server import serving

ROUTES = ("slack", "webhook", "smtp", "email_draft")


@contextmanager
def receiving(route: str) -> Generator[tuple[str, Counter[tuple[int, str]]]]:
    """The address of a receiver, and how often it has read the digest of each kill, once the block has ended."""
    received: Counter[tuple[int, str]] = Counter()
    if route == "smtp":
        server = MailReceiver()
        server.start()
        try:
            yield str(server.port), received
        finally:
            server.stop()
        for content in server.read:
            message = email.message_from_bytes(content)
            kill = message["From"].removeprefix("kill-").partition("@")[0]
            received[int(kill), message["Message-ID"].strip("<>").partition("@")[0]] += 1
        return
    with serving(Receiver()) as receiver:
        yield receiver.url, received
    received.update(
        (int(one.path.strip("/")), digest) for one, digest in zip(receiver.asked, receiver.received, strict=True)
    )


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("step", [pytest.param(97, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)])
def test_each_digest_is_delivered_once_after_a_kill(tmp_path, route, step):
    start = tmp_path / "start"
    start.mkdir()
    with duckdb.connect(str(start / "w.duckdb")) as connection:
        fill(connection, [(one, day(number), 40.0) for one in ("A1", "A2", "B1") for number in (0, 1)])
    with receiving(route) as (address, received):
        done = subprocess.run(
            [sys.executable, "-m", "tests.publishing.alerts.kills", str(start), route, address, str(step)],
            capture_output=True,
            text=True,
            cwd=PROJECT_ROOT,
            env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
            timeout=1200,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    undisturbed, *kills = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(kills) > 60 / step
    assert [status for _, status in undisturbed["digests"]] == ["sent", "sent"]
    assert len(undisturbed["drafts"]) == (2 if route == "email_draft" else 0)
    uncertain = 0
    for found in (undisturbed, *kills):
        for name in ("states", "events", "drafts"):
            assert found[name] == undisturbed[name], found["kill"]
        outcomes = Counter(status for _, status in found["digests"])
        assert outcomes.keys() <= {"sent", "possibly_sent"}, found["kill"]
        # Digests are sent one after the other, so a kill leaves the outcome of at most one unknown.
        assert outcomes["possibly_sent"] <= 1, found["kill"]
        uncertain += outcomes["possibly_sent"]
        for digest, status in found["digests"]:
            times = received[found["kill"], digest]
            if route == "email_draft":
                assert (status, times) == ("sent", 0), found["kill"]
            else:
                assert times == 1 or (times, status) == (0, "possibly_sent"), (found["kill"], status)
    if step == 1 and route != "email_draft":
        assert 0 < uncertain < len(kills) / 2
