"""A short run of ``python -m tests.attack``: no traceback, no loss, no leak."""

from __future__ import annotations

import subprocess
import sys

import pytest

from csm_core.config import PROJECT_ROOT
from tests.attack.mutations import attack


def test_mutated_configurations_arguments_and_records_end_in_messages(tmp_path):
    found = attack(tmp_path, 60, seed=7)
    assert (found.findings, found.losses) == ([], [])
    assert sum(found.tried.values()) == 60


@pytest.mark.slow
def test_the_script_runs_every_attack():
    few = ["--mutations", "4", "--processes", "1", "--kills", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.attack", *few], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kills      1 of each of backup, restore" in done.stdout
