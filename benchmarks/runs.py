"""Creates companies with a history, and runs ``csm run`` for them in a separate process."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb
import yaml

from csm_core.contract import ACCOUNTS, ENTITIES, USAGE_EVENTS
from csm_core.sample_company import generate

LAST_DAY = date(2026, 9, 30)
# Lists of the current state are not filtered by date, and a subscription counts regardless of its start.
_NOT_DATED = (ACCOUNTS, "features", "subscriptions")
_START_UP = "from pipelines.main import main; from pipelines.run import run_days"


@dataclass(frozen=True)
class Spent:
    """The resources of a process: wall-clock seconds, CPU seconds (less affected by other load), and peak memory."""

    seconds: float
    processor: float
    peak_megabytes: float


@dataclass(frozen=True)
class Place:
    """A folder with a configuration, the records up to a day, and the warehouse that was built from them."""

    folder: Path

    @property
    def settings(self) -> Path:
        """The configuration file."""
        return self.folder / "csm.yaml"

    @property
    def records(self) -> Path:
        """The folder of the records."""
        return self.folder / "records"

    @property
    def warehouse(self) -> Path:
        """The file of the warehouse."""
        return self.data / "csm.duckdb"

    @property
    def data(self) -> Path:
        """The folder of the warehouse, its published copy and Dagster's storage."""
        return self.folder / "data"

    def run(self, first: date, last: date | None = None, *, select: Sequence[str] = ()) -> Spent:
        """Run a day or a range with ``csm run``, without publishing; ``select`` lists assets (default: all)."""
        days = ["--as-of", f"{first}"] if last is None else ["--from", f"{first}", "--to", f"{last}"]
        command = ["-m", "pipelines.main", "run", *days, "--no-publish", "--config", str(self.settings)]
        # The made-up company has quiet weekends, so these checks may fail; they are not part of the measurement.
        for check in ("portfolio_swing", "usage_delivered"):
            command += ["--accept", check]
        if select:
            command += ["--select", ",".join(select)]
        return spent_by([sys.executable, *command])

    def keep(self) -> None:
        """Save the current state of the warehouse for ``restore``."""
        shutil.copytree(self.data, self.folder / "kept")

    def restore(self) -> None:
        """Restore the saved state."""
        shutil.rmtree(self.data)
        shutil.copytree(self.folder / "kept", self.data)


def start_up() -> Spent:
    """The resources of a process that only imports the program."""
    return spent_by([sys.executable, "-c", _START_UP])


def draw(folder: Path, *, accounts: int, days: int, events: int) -> int:
    """Generate a company with records for ``days`` up to ``LAST_DAY``; returns the number of events."""
    company = generate(
        folder,
        accounts=accounts,
        days=days,
        end=LAST_DAY,
        events_per_account_day=events / accounts / days,
        per_day_files=True,
        odd_records=False,
    )
    return company.counts[USAGE_EVENTS]


def settle(drawn: Path, folder: Path, *, history: int, memory_limit: str | None = None) -> Place:
    """Prepare a folder with ``history`` days of the company before ``LAST_DAY``, without the usage of ``LAST_DAY``."""
    place = Place(folder)
    first = LAST_DAY - timedelta(days=history)
    (place.records / USAGE_EVENTS).mkdir(parents=True)
    with duckdb.connect() as connection:
        for name, entity in ENTITIES.items():
            # The sample company has no lifecycle events.
            if name == USAGE_EVENTS or not (drawn / f"{name}.parquet").exists():
                continue
            since = "true" if name in _NOT_DATED else f"left(cast({entity.dated_by.name} as varchar), 10) >= '{first}'"
            connection.execute(
                f"copy (from read_parquet('{drawn / name}.parquet') where {since}) "
                f"to '{place.records / name}.parquet' (format parquet)"
            )
    for number in range(history):
        deliver(drawn, place, first + timedelta(days=number))
    place.settings.write_text(
        yaml.safe_dump(
            {
                "warehouse": str(place.data / "csm.duckdb"),
                "partitions_start": f"{first}",
                "sources": [{"system": "files", "path": str(place.records)}],
                "memory_limit": memory_limit,
            }
        ),
        encoding="utf-8",
    )
    return place


def deliver(drawn: Path, place: Place, day: date) -> None:
    """Add the usage of a day to the records of a folder."""
    name = Path(USAGE_EVENTS) / f"{day}.parquet"
    (place.records / name).hardlink_to(drawn / name)


def spent_by(command: Sequence[str], folder: Path | None = None) -> Spent:
    """Run a command in a folder (default: this one); returns its resources. Raises RuntimeError if it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CSM_", "DAGSTER_"))}
    started = time.perf_counter()
    process = subprocess.Popen(
        list(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=folder
    )
    output = process.stdout.read() if process.stdout else ""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode:
        message = f"{' '.join(command[:9])} … ended with {process.returncode}: {output[-2000:]}"
        raise RuntimeError(message)
    return Spent(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6)
