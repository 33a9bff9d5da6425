"""Loads and rolls up usage events. The floor is DuckDB reading the same files and writing them to a table."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import structlog

from benchmarks.measure import Measure, timed
from csm_core.config import Config
from csm_core.contract import ENTITIES, USAGE_EVENTS
from csm_core.rubric import weight_parameters
from csm_core.sample_company import generate
from csm_core.sources.registry import get_system
from csm_core.sources.settings import FilesSettings
from csm_core.staging.gate import stage_entity
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.materialize import build_model
from csm_core.warehouse.models import load_models, staging_models

REPEATS = 3
# Above this number a run takes minutes, so it is not repeated: other load on the machine evens out.
ONCE_FROM = 50_000_000


def run(rows: int) -> list[Measure]:
    """Load, stage and roll up about ``rows`` events of a made-up company; the minimum of several rounds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        records = folder / "records"
        accounts, days = max(200, rows // 10_000), 275
        company = generate(
            records,
            accounts=accounts,
            days=days,
            events_per_account_day=rows / accounts / days,
            odd_records=False,
        )
        events = company.counts["usage_events"]
        files = str(records / "usage_events" / "*.parquet")
        if not (records / "usage_events").is_dir():
            files = str(records / "usage_events.parquet")
        floors: list[float] = []
        turns: list[_Turn] = []
        for _ in range(REPEATS if rows < ONCE_FROM else 1):
            floors.append(_floor(folder / "floor", files))
            turns.append(_turn(folder / "ours", records))
    fastest_floor = min(floors)
    ways = {
        "into raw (all entities)": min(turn.raw for turn in turns),
        "raw and staged": min(turn.raw + turn.staged for turn in turns),
        "raw, staged and rolled up": min(turn.raw + turn.staged + turn.rolled for turn in turns),
    }
    return [
        Measure("load", "floor: parquet into a table", events, fastest_floor, 1.0),
        *(Measure("load", way, events, seconds, seconds / fastest_floor) for way, seconds in ways.items()),
    ]


@dataclass(frozen=True)
class _Turn:
    raw: float
    staged: float
    rolled: float


def _floor(folder: Path, files: str) -> float:
    def copy() -> None:
        with duckdb.connect(str(folder / "floor.duckdb")) as connection:
            connection.execute(f"create table events as from read_parquet('{files}')")

    with _emptied(folder):
        return timed(copy)


def _turn(folder: Path, records: Path) -> _Turn:
    config = Config(warehouse=folder / "w.duckdb", sources=(FilesSettings(system="files", path=records),))
    system, models = get_system("files"), staging_models("files")
    now, log = datetime.now(UTC), structlog.get_logger("csm_core")
    with _emptied(folder), Warehouse.from_config(config).connect() as connection:
        raw = timed(lambda: system.load(connection, config.sources, loaded_at=now, folder=folder / "sources", log=log))
        for entity in ENTITIES:
            if entity != USAGE_EVENTS:
                stage_entity(connection, entity, [("files", models[entity].sql)], staged_at=now)
        staged = timed(
            lambda: stage_entity(connection, USAGE_EVENTS, [("files", models[USAGE_EVENTS].sql)], staged_at=now)
        )
        parameters = {**config.sql_parameters(), **weight_parameters()}
        rollups = load_models("intermediate")
        rolled = timed(
            lambda: [
                build_model(connection, rollups[name], parameters)
                for name in ("int_usage_daily", "int_usage_daily_accounts")
            ]
        )
    return _Turn(raw, staged, rolled)


@contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    folder.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(folder)
