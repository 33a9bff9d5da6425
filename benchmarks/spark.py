"""A day of a company with many events in Parquet files, on a Spark Connect server and with DuckDB, on the same cores.

``python -m benchmarks --rows 100000000 spark`` needs PySpark and Java (`make setup-all`) and 30 GB of disk in
``TMPDIR``. The server is a process of its own, so the peak memory is that of the pipeline alone. The ratio is to
DuckDB.
"""

import tempfile
from pathlib import Path

import yaml

from benchmarks.measure import Measure
from benchmarks.runs import LAST_DAY, Place, Spent, deliver, draw, settle
from csm_core.contract import ENTITIES, USAGE_EVENTS
from tests.spark.servers import connect_server

DAYS = 275
EVENTS_PER_ACCOUNT = 10_000


def run(rows: int) -> list[Measure]:
    """Run a day of a company with about ``rows`` events, from its first load to the published copy."""
    accounts = max(100, rows // EVENTS_PER_ACCOUNT)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        events = draw(folder / "drawn", accounts=accounts, days=DAYS, events=rows)
        place = settle(folder / "drawn", folder / "place", history=DAYS - 1)
        deliver(folder / "drawn", place, LAST_DAY)
        duckdb = place.run(LAST_DAY)
        (folder / "server").mkdir()
        with connect_server(folder / "server") as (address, _):
            other = _on_spark(place, folder / "spark", address)
            first = other.run(LAST_DAY)
            again = other.run(LAST_DAY)
    return [
        _measure("DuckDB, first run", events, duckdb, duckdb),
        _measure("Spark, first run", events, first, duckdb),
        _measure("Spark, unchanged", events, again, duckdb),
    ]


def _measure(way: str, events: int, spent: Spent, floor: Spent) -> Measure:
    return Measure("spark", way, events, spent.seconds, spent.seconds / floor.seconds, None, spent.peak_megabytes)


def _on_spark(place: Place, folder: Path, address: str) -> Place:
    """Return a place with the same records, of which Spark reads the usage events."""
    other = Place(folder)
    other.records.mkdir(parents=True)
    others = [
        entity for entity in ENTITIES if entity != USAGE_EVENTS and (place.records / f"{entity}.parquet").exists()
    ]
    for entity in others:
        (other.records / f"{entity}.parquet").hardlink_to(place.records / f"{entity}.parquet")
    settings = yaml.safe_load(place.settings.read_text(encoding="utf-8"))
    settings |= {
        "warehouse": str(other.data / "csm.duckdb"),
        "engine": {"kind": "spark", "remote": address, "location": str(folder / "tables")},
        "sources": [
            {
                "system": "files",
                "path": str(other.records),
                "entities": others,
            },
            {"system": "spark", "entity": USAGE_EVENTS, "path": str(place.records / USAGE_EVENTS)},
        ],
    }
    other.settings.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return other
