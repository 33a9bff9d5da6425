"""The example company that the tests of analysts query. They do not change its tables."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import Company, make_company
from tests.in_process import csm


@pytest.fixture(scope="session")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Company:
    """Three days of the example company: the last two, and the day 28 days before the last. Bands settle at once."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return _acme_in(tmp_path_factory.mktemp("acme"))
    # The processes that run the tests share the folder above: the first one makes the company, each has its own copy.
    made = base.parent / "acme"
    with (base.parent / "acme.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            unfinished = tmp_path_factory.mktemp("acme")
            _acme_in(unfinished)
            unfinished.rename(made)
    folder = Path(shutil.copytree(made, tmp_path_factory.mktemp("acme") / "copy")) / "company_0"
    return Company(folder, folder / "csm.yaml")


def _acme_in(parent: Path) -> Company:
    one = make_company(parent, "acme", transition_settle_days=1)
    for days in (("--as-of", "2026-09-02"), ("--from", "2026-09-29", "--to", "2026-09-30")):
        result = csm("run", *days, "--no-publish", folder=one.folder, environment=one.environment)
        assert result.returncode == 0, result.stdout + result.stderr
    return one
