"""A project as create-dagster scaffolds it: two instances load, pass the checks of dg, and run a day each."""

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from csm_core.config import PROJECT_ROOT
from tests.pipelines.test_component import DAY, TENANTS, write_company

COMPONENT = "pipelines.component.CsmHealthComponent"
# What `create-dagster project team` writes, for environments without it.
PYPROJECT = """\
[project]
name = "team"
version = "0.1.0"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "team"
"""
DEFINITIONS = """\
from pathlib import Path

from dagster import definitions, load_from_defs_folder


@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""
IN_PROCESS = """\
import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    return dg.Definitions(executor=dg.in_process_executor)
"""


def run(*command: str, folder: Path) -> str:
    """Run a program of this environment; returns its output."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(folder.parent),
        "PYTHONPATH": f"{folder / 'src'}:{PROJECT_ROOT}:{folder.parent / 'registry'}",
        "DAGSTER_HOME": str(folder.parent / "dagster_home"),
        "COLUMNS": "200",
    }
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=900)
    assert done.returncode == 0, (command, done.stdout[-4000:], done.stderr[-4000:])
    return done.stdout + done.stderr


def scaffold(folder: Path, programs: Path) -> Path:
    """A new project; returns its folder."""
    if (programs / "create-dagster").exists():
        run(str(programs / "create-dagster"), "project", "team", "--no-uv-sync", folder=folder)
        return folder / "team"
    defs = folder / "team" / "src" / "team" / "defs"
    defs.mkdir(parents=True)
    (defs / "__init__.py").touch()
    (defs.parent / "__init__.py").touch()
    (defs.parent / "definitions.py").write_text(DEFINITIONS)
    (folder / "team" / "pyproject.toml").write_text(PYPROJECT)
    return folder / "team"


@pytest.mark.slow
def test_two_instances_in_a_scaffolded_project_pass_the_checks_and_run_a_day(tmp_path):
    programs = Path(sys.executable).parent
    if not (programs / "dg").exists():
        pytest.skip("dg is not installed: it is in the package dagster-dg-cli")
    dg = str(programs / "dg")
    (tmp_path / "dagster_home").mkdir()
    (tmp_path / "dagster_home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    # What pip writes for the entry point of pyproject.toml.
    metadata = tmp_path / "registry" / "csm_health_registry-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: csm-health-registry\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[dagster_dg_cli.registry_modules]\ncsm_health = pipelines.component\n")
    project = scaffold(tmp_path, programs)
    for tenant in TENANTS:
        config = os.path.relpath(write_company(tmp_path, tenant), project / "src" / "team" / "defs" / tenant)
        run(dg, "scaffold", "defs", COMPONENT, tenant, "--config-path", config, folder=project)
    (project / "src" / "team" / "defs" / "executor.py").write_text(IN_PROCESS)

    assert "validated successfully" in run(dg, "check", "yaml", folder=project)
    assert "All definitions loaded successfully" in run(dg, "check", "defs", folder=project)
    listed = run(dg, "list", "defs", folder=project)
    assert all(f"{tenant}_daily_health_schedule" in listed for tenant in TENANTS)
    for tenant in TENANTS:
        said = run(dg, "launch", "--job", f"{tenant}_daily_health", "--partition", DAY, folder=project)
        assert "RUN_SUCCESS" in said
        with duckdb.connect(str(tmp_path / tenant / "data" / "csm.duckdb"), read_only=True) as connection:
            assert connection.execute("select cast(as_of_date as text), status from marts.csm_days").fetchall() == [
                (DAY, "complete")
            ]
    some = 'group:south_intermediate or key:"south/csm_health_signals" or key:"south/csm_health_scores"'
    range_of_days = "2026-06-24...2026-06-25"
    said = run(dg, "launch", "--assets", some, "--partition-range", range_of_days, folder=project)
    assert "RUN_SUCCESS" in said
