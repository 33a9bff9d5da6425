"""Kills of runs on Spark, and of the server: a plain run afterwards leaves what an undisturbed one leaves.

``python -m tests.spark.kills [--times 20]`` kills more often than the tests do.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from csm_core.sample_company.generator import generate
from csm_core.warehouse.remote_engine import LIVE_DAYS
from tests.conftest import Company, make_company
from tests.crash.kills import DAY, leftovers
from tests.spark.comparison import differences, everything
from tests.spark.servers import connect_server

RUN = ("run", "--from", "2026-09-29", "--to", DAY)
AGAIN = ("run", "--as-of", DAY)


@dataclass(frozen=True)
class Prepared:
    """A company before its run, what an undisturbed run leaves behind, and the seconds that it takes."""

    start: Company
    wanted: dict[str, Any]
    seconds: float


def prepared(folder: Path, address: str) -> Prepared:
    """Make a company, and run a copy of it undisturbed."""
    records = folder / "records"
    generate(records, accounts=12, days=60, format="mixed")
    start = make_company(folder, records, engine=settings(folder / "tables", address))
    whole = copied(start, folder / "whole", address)
    started = time.monotonic()
    done = whole.csm(*RUN)
    assert done.returncode == 0, done.stdout + done.stderr
    return Prepared(start, everything(whole), time.monotonic() - started)


def settings(tables: Path, address: str) -> dict[str, str]:
    """Return the section ``engine`` for a server and a folder of tables."""
    return {"kind": "spark", "remote": address, "location": str(tables)}


def copied(company: Company, folder: Path, address: str) -> Company:
    """Return a copy of a company that has not run, with tables of its own."""
    shutil.copytree(company.folder, folder)
    text = company.config_file.read_text(encoding="utf-8")
    location = next(line for line in text.splitlines() if line.strip().startswith("location:"))
    (folder / "csm.yaml").write_text(text.replace(location, f"  location: {folder / 'tables'}"), encoding="utf-8")
    return replace(company, folder=folder, config_file=folder / "csm.yaml")


def killed_after(company: Company, seconds: float) -> None:
    """Start the run, and kill the process and its children after some seconds."""
    process = company.start(*RUN)
    with contextlib.suppress(Exception):
        process.wait(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def problems_after(company: Company, wanted: dict[str, Any]) -> list[str]:
    """Run again; return what differs from the undisturbed run, and what has been left."""
    done = company.csm(*RUN)
    if done.returncode:
        return [done.stdout + done.stderr]
    with duckdb.connect(str(company.config.warehouse), read_only=True) as connection:
        live = {path for (path,) in connection.execute(f"select distinct directory from {LIVE_DAYS}").fetchall()}
    missing = [f"missing: {path}" for path in live if not Path(path).is_dir()]
    left = [one for one in leftovers(company) if not one.startswith("tables/")]
    return differences(wanted, everything(company)) + missing + left


def strike(one: Prepared, folder: Path, address: str, times: int, seed: int = 1) -> list[str]:
    """Kill runs at random instants; return what was wrong after running again."""
    dice = random.Random(seed)
    found: list[str] = []
    for number in range(times):
        company = copied(one.start, folder / f"killed_{number}", address)
        instant = dice.uniform(0.1, 1.0) * one.seconds
        killed_after(company, instant)
        problems = problems_after(company, one.wanted)
        found += [f"killed after {instant:.1f} of {one.seconds:.1f} s: {problem}" for problem in problems]
        shutil.rmtree(company.folder)
    return found


def main() -> int:
    """Kill as often as asked, and print what was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.spark.kills", description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="kills (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the instants (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, connect_server(Path(name)) as (address, _):
        found = strike(prepared(Path(name), address), Path(name), address, options.times, options.seed)
    print("\n".join([*found, f"{options.times} runs killed and run again: {len(found)} problems"]))
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
