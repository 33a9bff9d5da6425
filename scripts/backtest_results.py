"""Writes the backtests of the bundled companies to ``docs/backtest.md``: scores all of their days, then reports.

    .venv/bin/python scripts/backtest_results.py [--check] [acme] [ravenstack]

A company takes one to several minutes. With ``--check`` nothing is written, and the exit status is 1 if a result
differs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "backtest.md"
# All days of each company, so that alerts between the dates of the grid count for lead times.
DAYS = {"acme": ("2026-01-01", "2026-09-30"), "ravenstack": ("2024-01-01", "2024-12-31")}


def report(company: str, folder: Path) -> str:
    """Score all days of a company in a folder, and return the report of ``csm backtest``."""
    configuration = (ROOT / "examples" / company / "csm.yaml").read_text(encoding="utf-8")
    configuration = configuration.replace(f"../../data/{company}/csm.duckdb", str(folder / "csm.duckdb"))
    configuration = configuration.replace("path: .", f"path: {ROOT / 'examples' / company}")
    file = folder / "csm.yaml"
    file.write_text(configuration, encoding="utf-8")
    first, last = DAYS[company]
    _csm(file, "run", "--from", first, "--to", last, "--no-publish")
    return _csm(file, "backtest")


def with_results(page: str, company: str, text: str) -> str:
    """Return the page with the report of a company in its place."""
    begin, end = f"<!-- results: {company} -->", f"<!-- end: {company} -->"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n```text\n{text.strip()}\n```\n\n{end}{after}"


def _csm(configuration: Path, *arguments: str) -> str:
    home = configuration.parent / "dagster_home"
    home.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CSM_", "DAGSTER_", "NOTION_"))}
    environment = {"CSM_CONFIG": str(configuration), "DAGSTER_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.main", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**kept, **environment},
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout


def main(arguments: list[str] | None = None) -> int:
    """Write the results, or compare them; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a result differs")
    parser.add_argument("companies", nargs="*", choices=[*DAYS, []], help="default: both")
    chosen = parser.parse_args(arguments)
    reports: dict[str, str] = {}
    for company in chosen.companies or DAYS:
        with tempfile.TemporaryDirectory() as name:
            reports[company] = report(company, Path(name))
    # Read after the runs, which take minutes: the page may have been edited meanwhile.
    before = after = PAGE.read_text(encoding="utf-8")
    for company, text in reports.items():
        after = with_results(after, company, text)
    if not chosen.check:
        PAGE.write_text(after, encoding="utf-8")
    elif after != before:
        print("docs/backtest.md is out of date: run scripts/backtest_results.py")
    return int(chosen.check and after != before)


if __name__ == "__main__":
    sys.exit(main())
