"""The floors of coverage: each package of the code has one, and one that is below it is named."""

import importlib.util
import tomllib

import pytest

from csm_core.config import PROJECT_ROOT

spec = importlib.util.spec_from_file_location("coverage_floors", PROJECT_ROOT / "scripts" / "coverage_floors.py")
assert spec is not None
assert spec.loader is not None
floors = importlib.util.module_from_spec(spec)
spec.loader.exec_module(floors)


def summary(lines: int, of: int, branches: int = 0, of_branches: int = 0):
    counts = {"covered_lines": lines, "num_statements": of, "covered_branches": branches, "num_branches": of_branches}
    return {"summary": counts}


def test_lines_and_branches_of_a_package_count_together():
    report = {
        "files": {
            "csm_core/config.py": summary(8, 10),
            "csm_core/staging/gate.py": summary(5, 10, 1, 2),
            "csm_core/staging/merge.py": summary(8, 8),
            "pipelines/run.py": summary(1, 1),
        }
    }
    assert floors.percents(report) == {"csm_core": 80, "csm_core/staging": 70, "pipelines": 100}


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"a": 79.9}, "a: 79.9 % is below its floor of 80 %"),
        ({"a": 80.0, "b": 99.0}, "b: has no floor in pyproject.toml"),
        ({}, "a: has a floor and no module"),
    ],
)
def test_what_is_below_or_without_a_floor_is_named(found, message):
    assert floors.failures(found, {"a": 80}) == [message]


def test_a_package_at_its_floor_passes():
    assert floors.failures({"a": 80.0}, {"a": 80}) == []


def test_every_package_has_a_floor():
    settings = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    code = [path for name in ("csm_core", "assets", "pipelines") for path in (PROJECT_ROOT / name).rglob("*.py")]
    packages = {floors.package_of(str(path.relative_to(PROJECT_ROOT))) for path in code}
    assert set(settings["tool"]["csm_health"]["coverage_floors"]) == packages
