"""Reports as a person opens them: from disk, in Chromium without network, in each style, with hostile names."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest

from csm_core.analysts.published_copy import publish_copy
from csm_core.days.finished_days import model_parameters
from csm_core.publishing.alerts.publish import alert_day
from csm_core.scoring.macros import create_macros
from csm_core.warehouse.database import Warehouse
from tests.conftest import Company, make_company
from tests.ui.page import chromium

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver

pytestmark = [pytest.mark.ui, pytest.mark.slow]

DAY = date(2026, 9, 30)
HOSTILE = "<img src=https://example.com/x onerror=alert(1)> \"quoted\" 'x' & \u202eright to left\u2066 </script>"
STYLES = {
    "light": {"features": [{"name": "prefers-color-scheme", "value": "light"}]},
    "dark": {"features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    "print": {"media": "print"},
}


@pytest.fixture(scope="module")
def company(tmp_path_factory) -> Company:
    """A scored day with alerts, and hostile names of one account, its owner, tickets and invoices in the copy."""
    one = make_company(tmp_path_factory.mktemp("report"), "acme")
    run = one.csm("run", "--as-of", str(DAY), "--no-publish")
    assert run.returncode == 0, run.stdout + run.stderr
    warehouse = Warehouse.from_config(one.config)
    with warehouse.connect() as connection:
        alert_day(connection, one.config.alerts, DAY, DAY, clock=lambda: datetime(2026, 10, 1, tzinfo=UTC))
    publish_copy(warehouse, create_macros, model_parameters(one.config))
    with duckdb.connect(str(warehouse.published_path)) as copy:
        given = {"name": HOSTILE}
        copy.execute("update marts.csm_accounts_daily set account_name = $name where account_id = 'A0026'", given)
        copy.execute("update marts.csm_accounts_daily set csm_owner = $name where csm_owner like 'C%'", given)
        for table, key in (("csm_tickets", "ticket_id"), ("csm_invoices", "invoice_id")):
            copy.execute(f"update marts.{table} set {key} = $name || {key}", given)
    return one


@pytest.fixture(scope="module")
def reports(company) -> dict[str, Path]:
    found = {"portfolio": company.folder / "portfolio.html", "account": company.folder / "account.html"}
    for name, arguments in (("portfolio", ()), ("account", ("A0026",))):
        written = company.csm("report", *arguments, "--out", str(found[name]))
        assert written.returncode == 0, written.stderr
    return found


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Iterator["WebDriver"]:
    """Chromium without network, which keeps its requests and its console."""
    logs = {"performance": "ALL", "browser": "ALL"}
    with chromium(tmp_path_factory.mktemp("profile"), logs) as driver:
        offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        driver.execute_cdp_cmd("Network.enable", {})
        driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
        yield driver


@pytest.fixture(scope="module")
def axe() -> str:
    """The script of axe-core; its package is not imported, because that needs Playwright."""
    package = find_spec("axe_playwright_python")
    if package is None or package.origin is None:
        pytest.skip("axe-playwright-python is not installed: make setup-all")
    return Path(package.origin).with_name("axe.min.js").read_text(encoding="utf-8")


def requests(driver: "WebDriver") -> list[str]:
    """The addresses requested since the last call."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


@pytest.mark.parametrize("name", ["portfolio", "account"])
def test_a_report_from_disk_requests_nothing_and_logs_nothing(reader, reports, name):
    reader.get("about:blank")
    requests(reader)
    reader.get_log("browser")
    address = reports[name].as_uri()
    reader.get(address)
    reader.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    assert requests(reader) == [address]
    assert reader.get_log("browser") == []
    assert reader.find_elements("css selector", "script, link, img, iframe, object, embed") == []
    shown = reader.find_element("css selector", "body").text
    assert HOSTILE.replace("\u202e", "\ufffd").replace("\u2066", "\ufffd") in shown
    assert "right to left" in shown


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", ["portfolio", "account"])
def test_axe_finds_no_violation(reader, reports, axe, name, style):
    reader.get(reports[name].as_uri())
    reader.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": [], **STYLES[style]})
    reader.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    reader.execute_script(axe)
    found = reader.execute_async_script("axe.run(document).then(arguments[0], arguments[0])")
    assert len(found["passes"]) > 15
    violations = {
        one["id"]: [(node["target"], node["failureSummary"]) for node in one["nodes"][:3]]
        for one in found["violations"]
    }
    assert violations == {}
