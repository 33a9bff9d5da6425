"""Dagster's storage that is broken or has no room: a sentence that names it, and no traceback."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dagster import DagsterInstance

from tests.conftest import CSM
from tests.in_process import csm


@pytest.fixture(scope="module")
def fresh_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("company")
    (folder / "csm.yaml").write_text("warehouse: data/csm.duckdb\n")
    found = folder / "dagster_home"
    # The first run creates the files; this one ends before it starts anything.
    done = csm("run", "--select", "nothing", folder=folder, environment={"DAGSTER_HOME": str(found)})
    assert (done.status, "no asset named nothing" in done.stderr) == (2, True), done
    with DagsterInstance.from_config(str(found)) as instance:
        instance.get_runs_count()
    return found


@pytest.fixture
def home(fresh_home: Path, tmp_path: Path) -> Path:
    shutil.copytree(fresh_home.parent, tmp_path / "company")
    return tmp_path / "company" / "dagster_home"


GARBAGE = b"garbage " * 2000


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("history/runs.db", GARBAGE),
        ("history/runs.db", b"SQLite format 3\0" + b"\xff" * 8000),
        ("history/runs/index.db", GARBAGE),
        ("schedules/schedules.db", GARBAGE),
    ],
)
def test_garbage_in_a_file_of_dagster_is_named(home: Path, file: str, content: bytes) -> None:
    assert (home / file).is_file()
    for beside in home.rglob("*.db-*"):
        beside.unlink()
    (home / file).write_bytes(content)
    done = csm("run", "--select", "stg_accounts", folder=home.parent, environment={"DAGSTER_HOME": str(home)})
    assert (done.status, done.error) == (1, None), done.stderr
    assert f"Dagster's storage in {home} failed" in done.stderr
    assert "move its folders `history` and `schedules` away" in done.stderr


@pytest.mark.parametrize(
    "content", ["a: [", "no_such_key: 1\n", "run_storage: {module: nowhere, class: X, config: {}}\n"]
)
def test_a_wrong_dagster_yaml_is_input(home: Path, content: str) -> None:
    (home / "dagster.yaml").write_text(content)
    done = csm("run", "--select", "stg_accounts", folder=home.parent, environment={"DAGSTER_HOME": str(home)})
    assert (done.status, done.error) == (2, None), done.stderr
    assert f"{home / 'dagster.yaml'} is not valid" in done.stderr


def test_no_room_for_dagsters_files_is_a_sentence(home: Path) -> None:
    # Coverage would report, in the output of the process, that its own file cannot grow either.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CSM_", "NOTION_", "COVERAGE_"))}
    done = subprocess.run(
        [*CSM, "run"],
        cwd=home.parent,
        env={
            **kept,
            "DAGSTER_HOME": str(home.parent / "small"),
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        # A file that cannot grow is to SQLite what a full disk is.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200 * 1024, 200 * 1024)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "csm: " in done.stderr
