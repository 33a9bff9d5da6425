"""Inputs that failed for a user, run from their files to the marts: see tests/cases/README.md."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

FOLDER = Path(__file__).parents[1] / "cases"
CASES = sorted(path.parent for path in FOLDER.glob("*/case.json"))
CSM = Path(sys.executable).parent / "csm"
# A run that is refused is quick. The others are covered by tests of their source; `make test-all` runs all of them
# from end to end.
ALWAYS = {"ravenstack_churn_dates_dmy"}


@pytest.mark.parametrize(
    "case",
    [pytest.param(path, id=path.name, marks=[] if path.name in ALWAYS else [pytest.mark.slow]) for path in CASES],
)
def test_a_case_from_the_field_comes_out_right(tmp_path: Path, case: Path) -> None:
    stated = json.loads((case / "case.json").read_text(encoding="utf-8"))
    work = tmp_path / "case"
    shutil.copytree(case, work)
    (work / "home").mkdir()
    warehouse = work / "out" / "csm.duckdb"
    environment = {
        **os.environ,
        "CSM_CONFIG": str(work / "csm.yaml"),
        "CSM_WAREHOUSE": str(warehouse),
        "DAGSTER_HOME": str(work / "home"),
    }
    printed = ""
    for run in stated["runs"]:
        if isinstance(run, str) and (work / run).is_dir():
            shutil.copytree(work / run, work / "product", dirs_exist_ok=True)
            continue
        days = ["--from", run[0], "--to", run[1]] if isinstance(run, list) else ["--as-of", run]
        accepted = ["--accept", "portfolio_swing", "--accept", "usage_delivered"]
        ended = subprocess.run(
            [CSM, "run", *days, "--no-publish", *accepted],
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        printed += ended.stdout + ended.stderr
        assert ended.returncode == stated["exit"], printed
    assert "Traceback" not in printed
    for text in stated.get("says", []):
        assert text in printed
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        for query in stated["queries"]:
            assert [list(row) for row in connection.execute(query["sql"]).fetchall()] == query["rows"], query["sql"]
