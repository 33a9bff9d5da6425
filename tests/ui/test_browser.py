"""The Dagster UI as its users meet it: started from workspace.yaml, and driven in Debian's Chromium."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from csm_core.config import PROJECT_ROOT
from pipelines.instance import prepare_home
from tests.conftest import Company
from tests.process_group import end_group
from tests.recent_company import make_recent_company

selenium = pytest.importorskip("selenium", reason="selenium is not installed: make setup-all")

from selenium import webdriver  # noqa: E402  # only where it is installed
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.remote.webdriver import WebDriver  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

pytestmark = [pytest.mark.ui, pytest.mark.slow]

DAY = str(datetime.now(UTC).date() - timedelta(days=1))
SCREENSHOTS = PROJECT_ROOT / "build" / "ui"
PATIENCE_SECONDS = 900
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1600,1100",
)


@pytest.fixture(scope="module")
def company(tmp_path_factory) -> Company:
    return make_recent_company(tmp_path_factory.mktemp("ui"))


@pytest.fixture(scope="module")
def address(company, tmp_path_factory) -> Iterator[str]:
    """Where ``dagster dev -w workspace.yaml`` answers: web server, daemon and code server, ended together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", company.environment["DAGSTER_HOME"])
        prepare_home(company.config)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("log") / "dagster_dev.log"
    command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            command, cwd=PROJECT_ROOT, env=company.environment, stdout=stream, stderr=stream, start_new_session=True
        ) as process,
    ):
        try:
            _wait_until_it_answers(f"http://127.0.0.1:{port}/server_info", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            end_group(process)


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[WebDriver]:
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    missing = [name for name, path in programs.items() if path is None]
    if missing:
        pytest.skip(f"no {' and no '.join(missing)} here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = programs["chromium"]
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(programs["chromedriver"]))
    driver.set_page_load_timeout(PATIENCE_SECONDS)
    yield driver
    driver.quit()


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        assert process.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < until, log.read_text(errors="replace")
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                answer.read()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
        else:
            return


class Page:
    """What a person does and sees: open, read, click, type, and a picture of it for whoever looks at the test."""

    def __init__(self, driver: WebDriver, address: str) -> None:
        self.driver = driver
        self.address = address

    def until(self, look: Callable[[], Any]) -> Any:
        wait = WebDriverWait(self.driver, PATIENCE_SECONDS, ignored_exceptions=[Exception])
        return wait.until(lambda _: look())

    def text(self) -> str:
        return self.driver.find_element(By.TAG_NAME, "body").text

    def open(self, path: str, *expected: str) -> str:
        self.driver.get(self.address + path)
        return self.shows(*expected)

    def shows(self, *expected: str) -> str:
        self.until(lambda: all(one in self.text() for one in expected))
        return self.text()

    def click(self, label: str) -> None:
        path = f"//*[self::button or self::a or self::span][starts-with(normalize-space(.), '{label}')]"
        self.until(lambda: self.driver.find_element(By.XPATH, path).click() or True)

    def picture(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(SCREENSHOTS / f"{name}.png"))


@pytest.fixture(scope="module")
def page(browser, address) -> Page:
    return Page(browser, address)


@pytest.fixture(scope="module")
def materialised(page) -> Page:
    """A partition of every asset, materialised by clicks."""
    page.open("/asset-groups", "raw", "staging", "intermediate", "marts", "publish", "Materialize all")
    page.picture("groups")
    page.click("Materialize all")
    page.shows("Partition selection")
    page.until(lambda: page.driver.find_element(By.CSS_SELECTOR, "[placeholder='No matching partitions']")).send_keys(
        DAY, Keys.ENTER
    )
    page.shows("1 partition")
    page.picture("launch")
    page.click("Launch 1 run")
    # Who leaves before the dialog has closed has launched nothing.
    page.until(lambda: "Partition selection" not in page.text())
    page.open("/runs", f"partition: {DAY}")
    page.until(lambda: any(word in page.text() for word in ("Success\n", "Failure\n")))
    page.picture("runs")
    return page


def test_a_partition_is_materialised_from_the_asset_graph(materialised, company):
    runs = materialised.text()
    assert "Success\n" in runs
    assert "Failure\n" not in runs
    scored = company.query("select as_of_date::varchar, count(*) from marts.csm_health_scores group by all")
    assert scored == [(DAY, 2)]


def test_an_asset_says_what_it_is(materialised):
    said = materialised.open("/assets/csm_health_scores", "churn_risk_level", "varchar", "customer-success-data")
    assert "The health score of every account and day" in said
    assert "low, medium, high or critical." in said
    assert "enum" in said
    assert "From csm_health_signals.usage_trend." in said
    assert "DuckDB" in said
    assert "marts.csm_health_scores" in said
    assert "daily_health" in said
    materialised.picture("scores")
    said = materialised.open("/assets/stg_tickets", "raw_files__tickets", "opened_at")
    materialised.picture("staged")


def test_a_materialisation_shows_rows_a_preview_and_plots(materialised):
    said = materialised.open("/assets/csm_health_scores?view=events", "mean_score", "mrr_at_risk", "rag_over_time")
    assert "dagster/row_count\n2\n" in said.replace(" ", "\n")
    images = materialised.until(
        lambda: materialised.driver.find_elements(By.CSS_SELECTOR, "img[src^='data:image/png;base64,']")
    )
    assert [image.get_property("naturalWidth") for image in images] == [480, 480]
    materialised.picture("plots")
    materialised.click("[Show Markdown]")
    materialised.until(lambda: materialised.driver.find_element(By.XPATH, "//td[normalize-space(.)='a1']"))
    materialised.picture("preview")


def test_lineage_leads_to_what_an_asset_reads_and_feeds(materialised):
    said = materialised.open("/assets/csm_health_scores?view=lineage", "csm_health_signals", "int_account_days")
    assert "csm_health_current" in said
    materialised.picture("lineage")


def test_checks_stand_with_what_they_mean(materialised):
    materialised.open("/assets/csm_health_scores?view=checks", "portfolio_swing", "Succeeded")
    materialised.click("portfolio_swing")
    materialised.shows("This is a blocking asset check.")
    materialised.picture("checks")


def test_schedules_and_sensors_are_there_with_their_times(materialised):
    said = materialised.open("/automation", "daily_health_schedule", "run_failure_sensor")
    assert "07:00 AM UTC" in said
    assert "only in January, April, July, and October" in said
    materialised.picture("automation")
