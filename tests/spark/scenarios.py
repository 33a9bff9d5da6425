"""Whole runs on a Spark Connect server, and the same with DuckDB: each scenario returns what differs.

A run waits for the server, and the server for the run. The scenarios are therefore run two at a time, in processes
beside the tests of a session in their own process (the fixture ``scenarios``).
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from datetime import date
from pathlib import Path

from csm_core.sample_company.generator import generate
from csm_core.warehouse.models import load_models
from tests.conftest import Company, make_company
from tests.crash.runs import Run, run_whole
from tests.spark.comparison import differences, left_by, run, with_pulses
from tests.spark.kills import RUN, copied, prepared, problems_of, settings, strike
from tests.spark.servers import connect_server

MODELS = [model.table for layer in ("intermediate", "marts") for model in load_models(layer).values()]

# One of the three currencies of the example company has no rate. Its days go up to the first day of a quarter, with
# reviews, from 28 days before it, with which scores are compared; every model has rows.
BUNDLED = {
    "acme": (
        {"reporting_currency": "USD", "fx": {"EUR": 1.08337}},
        ("--from", "2026-06-03", "--to", "2026-07-01"),
    ),
    "ravenstack": ({}, ("--as-of", "2024-12-31")),
}
# A pulse of a month, so that it counts on some of the days.
PULSES_FROM = date(2026, 6, 10)


def acme(folder: Path, address: str) -> list[str]:
    """The bundled company, with rows in every model."""
    return _bundled(folder, address, "acme")


def ravenstack(folder: Path, address: str) -> list[str]:
    """The bundled company in the format of RavenStack."""
    return _bundled(folder, address, "ravenstack")


def _bundled(folder: Path, address: str, name: str) -> list[str]:
    stated, arguments = BUNDLED[name]
    plain, other = folder / "plain", folder / "other"
    plain.mkdir()
    other.mkdir()
    wanted = left_by(with_pulses(make_company(plain, name, **stated), PULSES_FROM), *arguments)
    company = make_company(other, name, engine=settings(other / "tables", address), **stated)
    found = left_by(with_pulses(company, PULSES_FROM), *arguments)
    empty = [f"no rows in {table}" for table in MODELS if name == "acme" and not wanted[table]]
    return differences(wanted, found) + empty


def taken_over(folder: Path, address: str) -> list[str]:
    """Spark continues after DuckDB, with a corrected file, late records and a backfill."""
    records = folder / "records"
    generate(records, accounts=12, days=60, format="csv")
    # The first day is built with DuckDB in both.
    plain = make_company(folder, records)
    run(plain, "--as-of", "2026-09-29")
    other = make_company(folder, records, engine=settings(folder / "tables", address))
    shutil.copytree(plain.folder / "data", other.folder / "data")
    events = records / "usage_events" / "2026-09.csv"
    header, *lines = events.read_text(encoding="utf-8").splitlines()
    steps = [
        # A corrected file: the first fifty events are gone, so their days change.
        ([header, *lines[50:]], ("--as-of", "2026-09-30")),
        # They come back, late, and thirty days are built again.
        ([header, *lines], ("--from", "2026-09-01", "--to", "2026-09-30")),
    ]
    found: list[str] = []
    for number, (content, arguments) in enumerate(steps):
        events.write_text("\n".join([*content, ""]), encoding="utf-8")
        found += [
            f"step {number}: {one}" for one in differences(left_by(plain, *arguments), left_by(other, *arguments))
        ]
    return found


def killed(folder: Path, address: str) -> list[str]:
    """A run that is killed, one whose server is killed, and both again to their end."""
    company = prepared(folder, address)
    with connect_server(folder) as (short_lived, process):
        struck = copied(company.start, folder / "struck", short_lived)
        _use(struck, address, short_lived)
        running = Run(struck, RUN, fresh=False)
        # A server that is gone before the run has used it is bad input.
        while not running.ended and not any((folder / "struck" / "tables").rglob("*.parquet")):
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        # The run without a server tries to connect again for 40 seconds; meanwhile, another is killed.
        found = strike(company, folder, address, 1, seed=3)
    status, output = running.wait(), running.output.read_text(encoding="utf-8")
    found += [f"without a server, the run ended with {status}: {output}"] if status != 1 else []
    found += [f"without a server, the run ended with a traceback: {output}"] if "Traceback" in output else []
    _use(struck, short_lived, address)
    run_whole(struck, RUN)
    return found + problems_of(struck, company.wanted)


def _use(company: Company, address: str, other: str) -> None:
    text = company.config_file.read_text(encoding="utf-8")
    company.config_file.write_text(text.replace(address, other), encoding="utf-8")


# The longest ones first.
SCENARIOS = (taken_over, killed, acme, ravenstack)
