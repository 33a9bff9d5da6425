"""The wheel that `pip wheel .` builds holds all that runs: it works in an empty folder, without the clone."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from csm_core.config import PROJECT_ROOT
from tests.process_group import end_group

pytestmark = pytest.mark.slow

LEFT_OUT = shutil.ignore_patterns(".*", "build", "data", "tests", "*.egg-info", "__pycache__", "benchmarks")


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


def works_as_printed(site: Path, folder: Path, command: str) -> bool:
    """Run a command as a shell does; one that serves until Ctrl-C gets one when it is ready."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"exec {command}"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout
        for line in process.stdout:
            if "Ctrl-C stops both" in line:
                process.send_signal(signal.SIGINT)
        return process.wait(timeout=120) == 0
    finally:
        end_group(process)


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
    assert len(demo.stdout.splitlines()) < 40
    printed = re.findall(r"^  (?!#)(\S*csm .*)$", demo.stdout.partition("Next steps")[2], re.MULTILINE)
    assert len(printed) >= 6
    assert " open" in printed[0]
    for command in printed:
        assert works_as_printed(site, tmp_path, command), command
    # Both companies as the demo describes them.
    asked = "select count(distinct as_of_date) as days, count(*) > 16000 as scores from csm_health_scores"
    counted = csm(site, tmp_path, "sql", asked, "--config", "data/demo/acme/csm.yaml", "--format", "csv")
    assert counted.stdout.split() == ["days,scores", "90,True"]
    asked = (
        "select count(*) filter (rag = 'AMBER') > 0.95 * count(*) as amber, "
        "min(len(string_split(missing_signals, ','))) as unknown, max(feature_adoption_rate) < 0.25 as few "
        "from csm_health_current"
    )
    counted = csm(site, tmp_path, "sql", asked, "--config", "data/demo/ravenstack/csm.yaml", "--format", "csv")
    assert counted.stdout.split() == ["amber,unknown,few", "True,6,True"]
    # A message about an extra names what can be installed here.
    asked = "from csm_core.system.project_files import extra_missing; print(extra_missing('it', 'sources'))"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    said = subprocess.run([sys.executable, "-c", asked], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert re.search(r"pip install 'dlt>=[\d.]+' 'orjson>=[\d.]+'`", said.stdout), said

    assert (site / "csm_core" / "py.typed").is_file()
    asked = "from csm_core.publishing.assistant.resources import glossary; print(glossary())"
    said = subprocess.run([sys.executable, "-c", asked], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert "| account |" in said.stdout, said

    # Nothing is written into the installed package.
    assert {path for path in site.rglob("*") if "__pycache__" not in path.parts} == before
