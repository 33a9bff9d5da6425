"""Compares the coverage of each package with its floor in ``pyproject.toml``, ``tool.csm_health.coverage_floors``.

``make coverage`` runs it after the suite. It reads what ``coverage json`` wrote and needs only the standard library.

    .venv/bin/python scripts/coverage_floors.py
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "build" / "coverage" / "coverage.json"
_COUNTS = ("covered_lines", "covered_branches", "num_statements", "num_branches")


def package_of(path: str) -> str:
    """The package whose floor counts for a module: a folder of ``csm_core``, or the folder at the top."""
    parts = Path(path).parts
    return "/".join(parts[:2]) if parts[0] == "csm_core" and len(parts) > 2 else parts[0]


def percents(report: Mapping[str, Any]) -> dict[str, float]:
    """Lines and branches that tests reached, in percent of all, by package."""
    totals: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_COUNTS, 0))
    for path, module in report["files"].items():
        for name in _COUNTS:
            totals[package_of(path)][name] += module["summary"].get(name, 0)
    return {
        package: 100
        * (of["covered_lines"] + of["covered_branches"])
        / max(of["num_statements"] + of["num_branches"], 1)
        for package, of in sorted(totals.items())
    }


def failures(found: Mapping[str, float], floors: Mapping[str, float]) -> list[str]:
    """What is wrong: a package below its floor, one without a floor, a floor without a package."""
    wrong = [
        f"{package}: {found[package]:.1f} % is below its floor of {floor} %"
        for package, floor in floors.items()
        if package in found and found[package] < floor
    ]
    wrong += [f"{package}: has no floor in pyproject.toml" for package in sorted(found.keys() - floors.keys())]
    return wrong + [f"{package}: has a floor and no module" for package in sorted(floors.keys() - found.keys())]


def main() -> int:
    """Print the coverage of each package beside its floor; gives 1 if one is below it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    floors = settings["tool"]["csm_health"]["coverage_floors"]
    found = percents(json.loads(REPORT.read_text(encoding="utf-8")))
    for package, percent in found.items():
        print(f"{package:<26} {percent:5.1f} %   floor {floors.get(package, '-')}")
    wrong = failures(found, floors)
    for text in wrong:
        print(f"coverage: {text}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
