"""A digest goes to a service of Apprise once; its address is in no error, log or table."""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from datetime import UTC, datetime

import duckdb
import pytest

from csm_core.publishing.alerts import ledger
from csm_core.publishing.alerts.publish import AlertReport, alert_day
from csm_core.warehouse.alert_settings import AlertRoute, AlertRule, AlertSettings
from tests.publishing.alerts.made_up import day, fill
from tests.web_server import Answer, Asked, WebServer, drop, refuse, serving

PATH = "very-secret/T0ken"
SETTINGS = AlertSettings(
    built_in_rules=False,
    rules=(AlertRule(name="turned_red", when="rag = 'RED'", for_days=1, severity="high"),),
    routes=(AlertRoute(to="apprise", url_env="CSM_APPRISE"),),
)


class Service(WebServer):
    """Accepts every text."""

    def respond(self, asked: Asked) -> Answer:
        return Answer({})

    @property
    def address(self) -> str:
        return f"{self.url.replace('http', 'json')}/{PATH}"


@pytest.fixture
def service():
    with serving(Service()) as server:
        yield server


@pytest.fixture
def warehouse(tmp_path):
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        fill(connection, [("A1", day(1), 40.0)], {"A1": r"<b>Ähre</b>\n & {{ Söhne }}"})
        yield connection


def alert(connection: duckdb.DuckDBPyConnection, address: str) -> AlertReport:
    now = datetime(2026, 7, 1, 7, tzinfo=UTC)
    environment = {"CSM_APPRISE": address}
    return alert_day(connection, SETTINGS, day(0), day(1), clock=lambda: now, environment=environment)


def statuses(connection: duckdb.DuckDBPyConnection) -> Counter[str]:
    return Counter(status for (status,) in connection.execute("select status from sync.alert_digests").fetchall())


def test_without_the_package_the_error_names_the_extra_and_the_next_run_sends(warehouse, service, monkeypatch):
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "apprise", None)
        report = alert(warehouse, service.address)
    assert 'pip install "csm-health[alerts]"' in " ".join(report.delivery.problems)
    assert PATH not in str(report)
    assert (statuses(warehouse), service.asked) == (Counter(failed=1), [])


def test_a_digest_is_one_text(warehouse, service):
    pytest.importorskip("apprise")
    assert alert(warehouse, service.address).delivery.sent == 1
    (asked,) = service.asked
    text = json.loads(asked.body)
    assert (asked.path, text["title"]) == (f"/{PATH}", "csm-health: 1 alert for A@example.com on 2026-06-02")
    assert text["message"].splitlines()[0] == r"1. <b>Ähre</b>\n & {{ Söhne }} (A1) [high: turned red]"
    assert alert(warehouse, service.address).delivery.sent == 0
    assert len(service.asked) == 1


@pytest.mark.parametrize("failure", [refuse(400), refuse(500), drop])
def test_a_failure_may_have_been_accepted_and_no_log_has_the_address(warehouse, service, failure, caplog, capfd):
    pytest.importorskip("apprise")
    service.failures = [failure]
    with caplog.at_level(logging.DEBUG):
        report = alert(warehouse, service.address)
    assert "Apprise reports that the service failed" in " ".join(report.delivery.problems)
    table = json.dumps(warehouse.execute("from sync.alert_digests").fetchall(), default=str)
    printed = capfd.readouterr()
    written = str(report) + table + caplog.text + printed.out + printed.err
    assert "very-secret" not in written
    assert "T0ken" not in written
    assert str(service.url.rpartition(":")[2]) not in caplog.text + printed.err
    alert(warehouse, service.address)
    assert (statuses(warehouse), len(service.asked)) == (Counter(possibly_sent=1), 1)


@pytest.mark.parametrize("address", ["pigeon://very-secret/T0ken", "very-secret", "slack://very-secret"])
def test_an_address_that_is_not_valid_is_certain(warehouse, service, address, caplog, capfd):
    pytest.importorskip("apprise")
    report = alert(warehouse, address)
    assert "Apprise does not know the service of the address" in " ".join(report.delivery.problems)
    assert "very-secret" not in str(report) + caplog.text + "".join(capfd.readouterr())
    assert statuses(warehouse) == Counter(failed=1)
    assert alert(warehouse, service.address).delivery.sent == 1
    assert [digest.attempts for digest in ledger.load(warehouse)] == [1]
