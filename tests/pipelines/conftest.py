"""The example company that the tests of analysts query. They do not change its tables."""

import pytest

from tests.conftest import Company, make_company
from tests.in_process import csm


@pytest.fixture(scope="session")
def acme(tmp_path_factory) -> Company:
    """Three days of the example company: the last two, and the day 28 days before the last. Bands settle at once."""
    one = make_company(tmp_path_factory.mktemp("analysts"), "acme", transition_settle_days=1)
    for days in (("--as-of", "2026-09-02"), ("--from", "2026-09-29", "--to", "2026-09-30")):
        result = csm("run", *days, "--no-publish", folder=one.folder, environment=one.environment)
        assert result.returncode == 0, result.stdout + result.stderr
    return one
