"""Chromium, and Dagster's UI for tests: `dagster dev` on a company, and a page that is read, clicked and typed into."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from csm_core.config import PROJECT_ROOT
from pipelines.instance import prepare_home
from tests.conftest import Company
from tests.process_group import end_group

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver

SCREENSHOTS = PROJECT_ROOT / "build" / "ui"
PATIENCE_SECONDS = 300
ENTER, SELECT_ALL = "\ue007", "\ue009a\ue000"
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


@contextmanager
def chromium(profile: Path, logs: Mapping[str, str] | None = None) -> Iterator["WebDriver"]:
    """Chromium with a profile in a folder; ``logs`` are the kinds of log to keep, with their level."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: make setup-all")
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    missing = [name for name, path in programs.items() if path is None]
    if missing:
        pytest.skip(f"no {' and no '.join(missing)} here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = programs["chromium"]
    if logs:
        options.set_capability("goog:loggingPrefs", dict(logs))
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(programs["chromedriver"]))
    driver.set_page_load_timeout(PATIENCE_SECONDS)
    try:
        yield driver
    finally:
        driver.quit()


def free_address() -> str:
    """An address of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@contextmanager
def dagster_dev(company: Company, address: str, log: Path, **environment: str) -> Iterator[None]:
    """`dagster dev -w workspace.yaml` at ``address``: web server, daemon and code server, ended together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", company.environment["DAGSTER_HOME"])
        prepare_home(company.config)
    port = address.rpartition(":")[2]
    command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", port]
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            command,
            cwd=PROJECT_ROOT,
            env={**company.environment, **environment},
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        ) as process,
    ):
        try:
            _wait_until_it_answers(f"{address}/server_info", process, log)
            yield
        finally:
            end_group(process)


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
    """What a user does and sees: open, read, click, type, and a screenshot in ``build/ui``."""

    def __init__(self, driver: "WebDriver", address: str) -> None:
        self.driver = driver
        self.address = address

    def until(self, look: Callable[[], Any]) -> Any:
        from selenium.webdriver.support.ui import WebDriverWait

        wait = WebDriverWait(self.driver, PATIENCE_SECONDS, ignored_exceptions=[Exception])
        return wait.until(lambda _: look())

    def text(self) -> str:
        return self.driver.find_element("tag name", "body").text

    def open(self, path: str, *expected: str) -> str:
        self.driver.get(self.address + path)
        return self.shows(*expected)

    def shows(self, *expected: str) -> str:
        self.until(lambda: all(one in self.text() for one in expected))
        return self.text()

    def click(self, label: str) -> None:
        path = f"//*[self::button or self::a or self::span][starts-with(normalize-space(.), '{label}')]"
        self.until(lambda: self.driver.find_element("xpath", path).click() or True)

    def type(self, placeholder: str, text: str) -> None:
        """Fill in the last field whose placeholder begins with ``placeholder``."""
        self.until(lambda: self.driver.find_elements("css selector", f"[placeholder^='{placeholder}']")[-1]).send_keys(
            text
        )

    def materialise(self, day: str = "", *, failed: bool = False, tags: Mapping[str, str] | None = None) -> None:
        """Launch a run of every asset from the asset graph: of ``day``, of the only failed day, or of the latest."""
        self.open("/asset-groups", "Materialize all")
        self.click("Materialize all")
        if "Show all partitions" in self.shows("Partition selection"):
            self.click("Show all partitions")
        if day:
            self.until(lambda: self._choose(day))
        else:
            self.click("Failed" if failed else "Latest")
        self.shows("1 partition")
        if tags:
            self.click("Tags")
            self.click("Add tags")
            for number, (name, value) in enumerate(tags.items()):
                if number:
                    self.click("Add custom tag")
                self.type("Tag Key", name)
                self.type("Tag Value", value)
            self.picture("tags")
            self.click("Apply")
            self.until(lambda: "Add tags to run" not in self.text())
        self.picture("launch")
        self.click("Launch 1 run")
        # Who leaves before the dialog has closed has launched nothing.
        self.until(lambda: "Partition selection" not in self.text())

    def _choose(self, day: str) -> bool:
        # The dialog draws the field again when the partitions are loaded, and loses what was typed before.
        fields = "[placeholder^='ex: 20'], [placeholder='No matching partitions']"
        self.driver.find_element("css selector", fields).send_keys(SELECT_ALL, day, ENTER)
        time.sleep(1)
        return "1 partition" in self.text()

    def picture(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(SCREENSHOTS / f"{name}.png"))
