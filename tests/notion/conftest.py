"""Tables that tests of publishing make, such as the failure matrix, shown at the end of the run."""

from __future__ import annotations

import pytest

_TABLES: pytest.StashKey[list[str]] = pytest.StashKey()


@pytest.fixture(scope="session")
def shown_at_the_end(request: pytest.FixtureRequest) -> list[str]:
    """Texts that are put in here are shown after all tests, without ``-s``."""
    return request.config.stash.setdefault(_TABLES, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show what tests put aside for the end."""
    for text in config.stash.get(_TABLES, []):
        terminalreporter.write_line(text)
