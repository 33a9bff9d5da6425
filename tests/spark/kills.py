"""Kills of runs on Spark, and of the server: a plain run afterwards leaves what an undisturbed one leaves.

``python -m tests.spark.kills [--times 20]`` kills more often than the tests do.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from csm_core.sample_company.generator import generate
from csm_core.warehouse.remote_engine import LIVE_DAYS
from tests.conftest import Company, make_company
from tests.crash.kills import DAY, leftovers
from tests.crash.runs import run_killed, run_whole
from tests.spark.comparison import differences, everything
from tests.spark.servers import connect_server

RUN = ("run", "--from", "2026-09-29", "--to", DAY)


@dataclass(frozen=True)
class Prepared:
    """A company before its run; what an undisturbed run with DuckDB leaves behind, and its processor seconds."""

    start: Company
    wanted: dict[str, Any]
    seconds: float


def prepared(folder: Path, address: str) -> Prepared:
    """Make a company, and run one with the same records and DuckDB undisturbed."""
    records = folder / "records"
    generate(records, accounts=12, days=60, format="mixed")
    start = make_company(folder, records, engine=settings(folder / "tables", address))
    plain = make_company(folder, records)
    seconds = run_whole(plain, RUN)
    return Prepared(start, everything(plain), seconds)


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


def problems_of(company: Company, wanted: dict[str, Any]) -> list[str]:
    """Return what differs from the undisturbed run, and what has been left."""
    with duckdb.connect(str(company.config.warehouse), read_only=True) as connection:
        live = {path for (path,) in connection.execute(f"select distinct directory from {LIVE_DAYS}").fetchall()}
    missing = [f"missing: {path}" for path in live if not Path(path).is_dir()]
    left = [one for one in leftovers(company) if not one.startswith("tables/")]
    return differences(wanted, everything(company)) + missing + left


def strike(one: Prepared, folder: Path, address: str, times: int, seed: int = 1) -> list[str]:
    """Kill runs at random instants, two at a time; return what was wrong after running again."""
    dice = random.Random(seed)
    instants = [dice.uniform(0.1, 1.0) * one.seconds for _ in range(times)]

    def struck(number: int) -> Company:
        company = copied(one.start, folder / f"killed_{number}", address)
        run_killed(company, RUN, instants[number], fresh=False, group=True)
        run_whole(company, RUN)
        return company

    found: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        for instant, company in zip(instants, pool.map(struck, range(times)), strict=True):
            found += [
                f"killed after {instant:.1f} of {one.seconds:.1f} s: {problem}"
                for problem in problems_of(company, one.wanted)
            ]
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
