"""Debian's Chromium for the tests of the UI."""

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.ui.page import PATIENCE_SECONDS

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver

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


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> Iterator["WebDriver"]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: make setup-all")
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
