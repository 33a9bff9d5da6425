"""Debian's Chromium for the tests of the UI."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.ui.page import chromium

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> Iterator["WebDriver"]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver
