"""`csm doctor`: every source is looked at, and the exit status says what kind of thing is wrong."""

from __future__ import annotations

import json


def test_every_source_is_looked_at(company, tmp_path):
    made = company("acme")
    done = made.csm("doctor", "--json")
    assert (done.returncode, [one["status"] for one in json.loads(done.stdout)]) == (0, [0])
    api = {"base_url": "http://127.0.0.1:9", "attempts": 1}
    made = company(
        tmp_path,
        sources=[{"system": "files", "path": str(tmp_path / "nowhere")}, {"system": "stripe", "api": api}],
    )
    done = made.csm("doctor", environment={"STRIPE_API_KEY": ""})
    assert done.returncode == 2
    assert "is not there" in done.stdout
    assert "STRIPE_API_KEY is not set" in done.stdout
    done = made.csm("doctor", environment={"STRIPE_API_KEY": "sk_live_secret"})
    assert done.returncode == 1
    assert "cannot be reached" in done.stdout
    assert "sk_live_secret" not in done.stdout + done.stderr
