"""A company's folder, a warehouse and the way in between them."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from csm_core.contract import BOOKKEEPING, ENTITIES, MANDATORY_ENTITIES
from csm_core.ingest.raw_tables import LoadResult
from csm_core.logging import configure
from csm_core.sources.registry import get_system
from csm_core.sources.settings import FilesSettings, RavenStackSettings
from csm_core.staging.gate import StageReport, stage_entity
from csm_core.warehouse.database import Warehouse

SYSTEMS: dict[str, Any] = {"files": FilesSettings, "ravenstack": RavenStackSettings}
START = datetime(2026, 7, 1, 7, tzinfo=UTC)

ACCOUNTS = "account_id,account_name\na1,Ahlers\na2,Bolt\n"
FEATURES = "feature,module\nreports,core\nexport,core\n"
EVENTS = (
    "event_id,account_id,user_id,event_name,feature,quantity,occurred_at\n"
    "e1,a1,u1,login,,1,2026-06-01T10:00:00Z\n"
    "e2,a1,u1,used,reports,3,2026-06-02T10:00:00Z\n"
    "e3,a2,u2,login,,,2026-06-02T12:00:00+02:00\n"
)


class SilentLog:
    """Collects what the loader says."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def debug(self, event: str, **fields: object) -> None:
        self.events.append((event, fields))

    def info(self, event: str, **fields: object) -> None:
        self.events.append((event, fields))

    def warning(self, event: str, **fields: object) -> None:
        self.events.append((event, fields))


@dataclass
class WayIn:
    """Loads a folder and stages it, as a run does, each time an hour later."""

    folder: Path
    connection: duckdb.DuckDBPyConnection
    log: SilentLog
    now: datetime = START

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def write_company(self, **files: str) -> None:
        contents = {"accounts": ACCOUNTS, "features": FEATURES, "usage_events": EVENTS} | files
        for name, content in contents.items():
            self.write(f"{name}.csv", content)

    def load(self, system: str = "files") -> dict[str, LoadResult]:
        self.now += timedelta(hours=1)
        source = SYSTEMS[system](system=system, path=self.folder)
        results = get_system(system).load(
            self.connection, [source], loaded_at=self.now, folder=self.folder.parent / "sources", log=self.log
        )
        return {result.table: result for result in results}

    def stage(self, *entities: str, percent: float = 100.0) -> dict[str, StageReport]:
        return {
            name: stage_entity(
                self.connection,
                name,
                [("files", straight(name))],
                staged_at=self.now,
                max_rejected_percent=percent,
            )
            for name in (entities or ENTITIES)
        }

    def run(self, *entities: str, percent: float = 100.0) -> Mapping[str, StageReport]:
        """Load, then stage the mandatory entities and the given ones."""
        self.load()
        wanted = {*MANDATORY_ENTITIES, *entities}
        return self.stage(*(name for name in ENTITIES if name in wanted), percent=percent)

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        return self.connection.execute(sql).fetchall()

    def quarantined(self, entity: str) -> list[tuple[object, ...]]:
        return self.rows(
            f"select source_line, field, reason, value from quarantine.{entity} order by source_file, source_line"
        )

    def state(self) -> dict[str, list[tuple[object, ...]]]:
        """Everything in the warehouse, comparable."""
        tables = self.rows(
            "select schema_name || '.' || table_name from duckdb_tables() where not temporary order by all"
        )
        return {str(table): self.rows(f"from {table} order by all") for (table,) in tables}


def straight(entity: str) -> str:
    """A staging model that hands the raw columns on under their own names."""
    columns = ", ".join((*ENTITIES[entity].column_names, *BOOKKEEPING))
    return f"select {columns} from raw.files__{entity} order by {ENTITIES[entity].key}"


@contextmanager
def new_way_in(base: Path) -> Generator[WayIn]:
    """A folder and a warehouse of their own below ``base``."""
    configure(level="WARNING")
    folder = base / "company"
    folder.mkdir(parents=True)
    with Warehouse(base / "csm.duckdb", threads=2).connect() as connection:
        yield WayIn(folder, connection, SilentLog())


@pytest.fixture
def way_in(tmp_path: Path) -> Generator[WayIn]:
    with new_way_in(tmp_path) as made:
        yield made
