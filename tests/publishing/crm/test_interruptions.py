"""A run that ends at any point: the next one completes it, without duplicates and with nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csm_core.config import PROJECT_ROOT
from csm_core.publishing.crm import hubspot, salesforce
from csm_core.publishing.crm.ledger import CrmLedger
from csm_core.publishing.crm.vendor_api import VendorApi
from tests.examples import examples
from tests.publishing.crm.destination import (
    ENVIRONMENT,
    VENDORS,
    destination_of,
    marts,
    publish,
    row,
    scores,
    settings_of,
    vendor_server,
)
from tests.publishing.crm.vendors import OTHERS, CrmServer, lost

WANTED = {f"A{number}": 30.0 + number for number in range(6)}

# Publishes, and kills itself in the middle of a request: after the vendor has written, before the response is read.
CHILD = """
import os, signal, sys, json
import duckdb
from csm_core.config import Config
from csm_core.publishing.crm import hubspot, salesforce, vendor_api
from csm_core.publishing.crm.publish import publish_destination

path, stated, limit = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
hubspot.HubSpot.batch_size = salesforce.Salesforce.batch_size = 2
once = vendor_api.VendorApi._once
def killed(self, method, requested, more):
    answer = once(self, method, requested, more)
    if not requested.endswith("token"):
        killed.count += 1
        if killed.count == limit:
            os.kill(os.getpid(), signal.SIGKILL)
    return answer
killed.count = 0
vendor_api.VendorApi._once = killed
(destination,) = Config.model_validate({"publish": [stated]}).publish
with duckdb.connect(path) as connection:
    publish_destination(connection, destination)
"""


@pytest.mark.parametrize("request_number", [1, 3])
def test_a_killed_process_loses_nothing(
    tmp_path: Path, warehouse: duckdb.DuckDBPyConnection, server: CrmServer, request_number: int
) -> None:
    marts(warehouse, {key: row(score) for key, score in WANTED.items()})
    server.add("A0", "A5")
    warehouse.close()
    stated = settings_of(server)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path / "csm.duckdb"), json.dumps(stated), str(request_number)],
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    with duckdb.connect(str(tmp_path / "csm.duckdb")) as connection:
        states = dict(connection.execute("select state, count(*) from sync.crm_records group by all").fetchall())
        assert states == {"sending": 2} | ({"written": 2 * (request_number - 1)} if request_number > 1 else {})
        assert connection.execute("select status from sync.crm_runs").fetchall() == [("running",)]
        report = publish(connection, destination_of(server))
        assert report.is_complete
        assert scores(server) == WANTED
        assert server.records["A0"].items() >= OTHERS.items()
        writes = server.writes
        publish(connection, destination_of(server))
        assert server.writes == writes


class Stopped(BaseException):
    """As when a user presses Ctrl-C."""


@pytest.mark.parametrize("boundary", range(1, 10))
def test_an_end_at_any_boundary_loses_nothing(
    warehouse: duckdb.DuckDBPyConnection, server: CrmServer, boundary: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubspot.HubSpot, "batch_size", 2)
    monkeypatch.setattr(salesforce.Salesforce, "batch_size", 2)
    marts(warehouse, {key: row(score) for key, score in WANTED.items()})
    server.add("A1")
    passed: list[str] = []

    def stop_at(name: str) -> None:
        passed.append(name)
        if len(passed) == boundary:
            raise Stopped(name)

    store, once = CrmLedger.store, VendorApi._once
    with monkeypatch.context() as patched:
        patched.setattr(CrmLedger, "store", lambda *given, **more: (stop_at("store"), store(*given, **more))[1])
        patched.setattr(VendorApi, "_once", lambda *given: (once(*given), stop_at("request"))[0])
        with pytest.raises(Stopped):
            publish(warehouse, destination_of(server))
    assert publish(warehouse, destination_of(server)).is_complete
    assert scores(server) == WANTED
    assert server.records["A1"].items() >= OTHERS.items()
    writes = server.writes
    assert publish(warehouse, destination_of(server)).is_complete
    assert server.writes == writes


_SCORES = st.one_of(st.none(), st.integers(0, 3).map(float))
_ROUND = st.fixed_dictionaries(
    {
        "scores": st.dictionaries(st.sampled_from(["A1", "A2", "A3", "A4"]), _SCORES, max_size=4),
        "refused": st.sets(st.sampled_from(["A1", "A2"])),
        "lost": st.booleans(),
    }
)


@pytest.fixture(scope="module")
def ledger() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        marts(connection, {"A0": row(1.0)})
        yield connection


@pytest.mark.parametrize("vendor", VENDORS)
@settings(max_examples=examples(12), suppress_health_check=[HealthCheck.too_slow])
@given(rounds=st.lists(_ROUND, min_size=1, max_size=4), nulls=st.sampled_from(["keep", "clear"]))
def test_records_are_the_targets_after_any_changes(
    ledger: duckdb.DuckDBPyConnection, vendor: str, rounds: list[dict], nulls: str
) -> None:
    """Also after rejections and lost responses; the second publication of the same values writes nothing."""
    model: dict[str, float | None] = {}
    for table in ("crm_records", "crm_runs", "crm_changes"):
        ledger.execute(f"delete from sync.{table}")
    with vendor_server(vendor) as server:
        destination = destination_of(server, nulls=nulls)
        for one in rounds:
            marts(ledger, {"A0": row(1.0)} | {key: row(score) for key, score in one["scores"].items()})
            server.refused = dict.fromkeys(one["refused"], "no")
            server.failures += [lost(server)] if one["lost"] else []
            publish(ledger, destination, retry_rejected=True)
            server.failures.clear()
            for key, score in {"A0": 1.0, **one["scores"]}.items():
                if key not in one["refused"] and (score is not None or nulls == "clear"):
                    model[key] = score
                elif key not in one["refused"]:
                    model.setdefault(key, None)
            assert scores(server) == model
            writes = server.writes
            again = publish(ledger, destination)
            assert again.is_complete
            assert server.writes == writes
            assert scores(server) == model
