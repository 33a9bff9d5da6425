"""Runs sixty days one by one while records change, with this version and with the one before the history of scores.

The records change as in ``tests.history``. Both versions run every day in turns, each in a process of its own, so a run
is measured without start-up; a day with start-up is what ``csm run`` takes. At the end, all days are built again at
once. The earlier version is a git worktree of ``--before``, and its values are the floor. Lifecycle events and the
daily report are left out, because it does not have them, and they have nothing to do with the history.

A size is that of the warehouse after a checkpoint: the file; its used blocks, without free ones; and the blocks with
the rows of tables. The other used blocks have metadata, and are mostly empty after many runs.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from pathlib import Path
from statistics import median

import duckdb
import yaml

from benchmarks.evenings import ANSWER
from benchmarks.measure import Measure
from tests.history import LAST_DAY, WIDE_LIMITS, Records

BEFORE = "0b15429"
"""The last commit without ``known_from``, attributes over time, replaced records and receipts."""

DAYS = 60
EVENTS_PER_ACCOUNT = 5000
WITHOUT_REPORT = {"reports": {"keep": 0}}
SEED = 1
_PROJECT = Path(__file__).parent.parent
_NOW = "now"
_EARLIER = "before"


@dataclass
class Version:
    """A version of csm-health that runs days in a process, and the seconds that each run took."""

    folder: Path
    process: subprocess.Popen[str]
    start_up: float = 0.0
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def run(self, first: date, last: date, at: datetime) -> tuple[float, float]:
        """Run days at a UTC time; returns wall-clock and processor seconds."""
        if self.process.stdin is None:
            raise RuntimeError("the process has no pipes")
        self.process.stdin.write(f"{first} {last} {at.isoformat()}\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> tuple[float, float]:
        """Wait for the process to be ready or to end a run; returns wall-clock and processor seconds."""
        if self.process.stdout is None:
            raise RuntimeError("the process has no pipes")
        for line in self.process.stdout:
            if line.startswith(f"{ANSWER} "):
                _, seconds, processor = line.split()
                return float(seconds), float(processor)
        message = f"the version of {self.folder.name} ended: {(self.folder / 'errors').read_text()[-2000:]}"
        raise RuntimeError(message)

    def sizes(self) -> dict[str, float]:
        """The megabytes of the warehouse after a checkpoint: its file, its used blocks, and those of tables alone."""
        path = self.folder / "csm.duckdb"
        with duckdb.connect(str(path)) as connection:
            connection.execute("force checkpoint")
            ((block, used),) = connection.execute(
                "select block_size, used_blocks from pragma_database_size()"
            ).fetchall()
            of_tables: set[int] = set()
            for schema, table in connection.execute("select schema_name, table_name from duckdb_tables()").fetchall():
                for first, more in connection.execute(
                    f"select block_id, additional_block_ids from pragma_storage_info('{schema}.{table}') "
                    "where persistent and block_id >= 0"
                ).fetchall():
                    of_tables.update((first, *(more or ())))
        return {
            "file": path.stat().st_size / 1e6,
            "used blocks": block * used / 1e6,
            "blocks of tables": block * len(of_tables) / 1e6,
        }


def run(rows: int, before: str = BEFORE, days: int = DAYS) -> list[Measure]:
    """Run the days of a company with about ``rows`` ÷ 5,000 accounts."""
    accounts = max(12, rows // EVENTS_PER_ACCOUNT)
    with tempfile.TemporaryDirectory() as name, earlier_version(Path(name) / "code", before) as code:
        return compare(Path(name), {_EARLIER: code, _NOW: _PROJECT}, accounts, days)


def compare(folder: Path, codes: dict[str, Path], accounts: int, days: int) -> list[Measure]:
    """Run the days with each version, given as its folder by name; the first one is the floor."""
    records = Records.generated(folder, days, SEED, accounts=accounts)
    versions = {
        name: _start(folder / name, code, records.folder, days, WITHOUT_REPORT if name == _NOW else {})
        for name, code in codes.items()
    }
    measures: list[Measure] = []
    first = LAST_DAY - timedelta(days=days - 1)
    for number in range(days):
        day = first + timedelta(days=number)
        records.change(day)
        records.events.clear()
        records.write(day)
        at = datetime.combine(day + timedelta(days=1), time(7))
        # Neither version is always the first.
        for version in list(versions.values())[:: 1 if number % 2 else -1]:
            seconds, processor = version.run(day, day, at)
            version.seconds.append(seconds)
            version.processor.append(processor)
    for way, found in (
        ("wall clock", {name: version.seconds for name, version in versions.items()}),
        ("processor", {name: version.processor for name, version in versions.items()}),
        (
            "processor, with start-up",
            {name: [version.start_up + one for one in version.processor] for name, version in versions.items()},
        ),
    ):
        measures += _seconds(
            f"a day of {days}, {way}", {name: median(spent) for name, spent in found.items()}, accounts
        )
    measures += _sizes(f"warehouse after {days} days", versions, accounts)
    at = datetime.combine(LAST_DAY + timedelta(days=11), time(7))
    rebuilt = {name: version.run(first, LAST_DAY, at)[0] for name, version in versions.items()}
    measures += _seconds(f"{days} days built again at once", rebuilt, accounts)
    measures += _sizes("warehouse after that", versions, accounts)
    for version in versions.values():
        version.process.communicate()
    return measures


@contextmanager
def earlier_version(folder: Path, revision: str) -> Generator[Path]:
    """A git worktree of a revision, which is removed at the end."""
    git = ["git", "-C", str(_PROJECT), "worktree"]
    subprocess.run([*git, "add", "--detach", "--quiet", str(folder), revision], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def _start(folder: Path, code: Path, records: Path, days: int, more: Mapping[str, object]) -> Version:
    folder.mkdir()
    settings = folder / "csm.yaml"
    settings.write_text(
        yaml.safe_dump(
            {
                "warehouse": "csm.duckdb",
                "partitions_start": str(LAST_DAY - timedelta(days=days + 1)),
                "sources": [{"system": "files", "path": str(records)}],
                **WIDE_LIMITS,
                **more,
            }
        ),
        encoding="utf-8",
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CSM_", "DAGSTER_", "NOTION_"))}
    process = subprocess.Popen(
        # -P: the folder of this file, whose modules have common names, is not on the path.
        [sys.executable, "-P", str(_PROJECT / "benchmarks" / "evenings.py"), str(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(folder / "errors").open("w", encoding="utf-8"),
        text=True,
        cwd=code,
        env={**kept, "PYTHONPATH": str(code), "DAGSTER_HOME": str(folder / "dagster_home")},
    )
    version = Version(folder, process)
    version.start_up = version.answer()[1]
    return version


def _seconds(task: str, found: dict[str, float], accounts: int) -> list[Measure]:
    floor = next(iter(found.values()))
    return [Measure(task, name, accounts, seconds, seconds / floor) for name, seconds in found.items()]


def _sizes(task: str, versions: dict[str, Version], accounts: int) -> list[Measure]:
    found = {name: version.sizes() for name, version in versions.items()}
    floor = next(iter(found.values()))
    return [
        Measure(f"{task}, {kind}", name, accounts, 0.0, size / floor[kind], file_megabytes=size)
        for kind in floor
        for name, size in ((name, sizes[kind]) for name, sizes in found.items())
    ]
