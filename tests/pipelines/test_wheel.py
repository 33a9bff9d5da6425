"""The wheel that `pip wheel .` builds holds all that runs: it works in an empty folder, without the clone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from csm_core.config import PROJECT_ROOT

pytestmark = pytest.mark.slow

LEFT_OUT = shutil.ignore_patterns(".*", "build", "data", "tests", "*.egg-info", "__pycache__", "docs", "benchmarks")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder of packages with the wheel in it, installed."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(PROJECT_ROOT, folder / "clone", ignore=LEFT_OUT)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(folder / "clone")], check=True
    )
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", str(folder / "site"), wheel], check=True)
    shutil.rmtree(folder / "clone")
    return folder / "site"


def csm(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CSM_")}
    environment["PYTHONPATH"] = str(site)
    script = site / "bin" / "csm"
    return subprocess.run(
        [sys.executable, str(script), *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_the_wheel_runs_in_an_empty_folder(site, tmp_path):
    before = {path for path in site.rglob("*") if "__pycache__" not in path.parts}
    shown = csm(site, tmp_path, "--help")
    assert shown.returncode == 0
    assert not list(tmp_path.iterdir())

    (tmp_path / "signals.csv").write_text(
        "account_id,usage_trend,feature_adoption_rate,invoice_payment_status,seats_utilization_rate,"
        "stakeholder_engagement\na1,growing,0.5,current,0.8,high\n"
    )
    scored = csm(site, tmp_path, "score", "signals.csv")
    assert scored.returncode == 0, scored.stderr
    assert "a1" in scored.stdout

    run = csm(site, tmp_path, "run", "--as-of", "2026-09-30")
    assert run.returncode == 0, run.stdout + run.stderr
    assert (tmp_path / "data" / "csm.duckdb").is_file()
    asked = csm(site, tmp_path, "sql", "select count(*) as accounts from csm_health_current", "--format", "csv")
    assert asked.stdout.split() == ["accounts", "189"]

    demo = csm(site, tmp_path, "demo")
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert (tmp_path / "data" / "demo" / "acme" / "csm.duckdb").is_file()
    # Nothing is written into the installed package.
    assert {path for path in site.rglob("*") if "__pycache__" not in path.parts} == before
