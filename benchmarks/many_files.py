"""Loads a folder with many small files, and the same folder again unchanged: ``csm run`` of the raw tables.

20,000 files unless ``--rows`` says otherwise (a fiftieth of it). The floor is one DuckDB statement that reads all files
into a table. ``rows`` counts the files.
"""

import shutil
import tempfile
from pathlib import Path

import duckdb
import yaml

from benchmarks.measure import Measure, timed
from benchmarks.runs import LAST_DAY, Place
from csm_core.config import PROJECT_ROOT
from csm_core.contract import ENTITIES, USAGE_EVENTS

ROWS_PER_FILE = 50
SELECTED = tuple(f"raw_files__{entity}" for entity in ENTITIES)


def run(rows: int) -> list[Measure]:
    """Load the files twice, without and with changes to find."""
    files = max(100, rows // ROWS_PER_FILE)
    with tempfile.TemporaryDirectory() as name:
        place = _settled(Path(name), files)
        floor = timed(lambda: _read(place))
        first = place.run(LAST_DAY, select=SELECTED)
        again = place.run(LAST_DAY, select=SELECTED)
    return [
        Measure("many files", "floor: DuckDB reads them once", files, floor, 1.0),
        Measure("many files", "loaded", files, first.seconds, first.seconds / floor, None, first.peak_megabytes),
        Measure("many files", "unchanged", files, again.seconds, again.seconds / floor, None, again.peak_megabytes),
    ]


def _settled(folder: Path, files: int) -> Place:
    """The accounts and features of the bundled company, and small files of usage events."""
    place = Place(folder)
    events = place.records / USAGE_EVENTS
    events.mkdir(parents=True)
    for kept in ("accounts.csv", "features.csv"):
        shutil.copy(PROJECT_ROOT / "examples" / "acme" / kept, place.records / kept)
    header = "event_id,account_id,user_id,event_name,feature,quantity,occurred_at\n"
    for number in range(files):
        lines = (
            f"e{number}-{line},A{1 + number % 178:04},u{line},used,reports,1,2026-09-{1 + number % 30:02}T10:00:00Z\n"
            for line in range(ROWS_PER_FILE)
        )
        (events / f"{number:06}.csv").write_text(header + "".join(lines), encoding="utf-8")
    settings = {
        "warehouse": str(place.warehouse),
        "partitions_start": "2026-09-01",
        "sources": [{"system": "files", "path": str(place.records)}],
    }
    place.settings.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return place


def _read(place: Place) -> None:
    with duckdb.connect() as connection:
        connection.execute(
            f"create table t as from read_csv('{place.records}/{USAGE_EVENTS}/*.csv', all_varchar = true)"
        )
