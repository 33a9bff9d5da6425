"""Loading and rolling up usage events against the floor: DuckDB reading the same files and writing them to a table."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import structlog

from benchmarks.measure import Measure, timed
from csm_core.config import Config
from csm_core.contract import ENTITIES
from csm_core.rubric import weight_parameters
from csm_core.sample_company import generate
from csm_core.sources.registry import get_system
from csm_core.sources.settings import FilesSettings
from csm_core.sql_models import load_models, staging_models
from csm_core.staging_gate import stage_entity
from csm_core.warehouse import Warehouse, build_model


def run(rows: int) -> list[Measure]:
    """Load, stage and roll up about ``rows`` events of a made-up company."""
    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder) / "records"
        accounts, days = max(200, rows // 10_000), 275
        made = generate(
            records,
            accounts=accounts,
            days=days,
            events_per_account_day=rows / accounts / days,
            odd_records=False,
        )
        events = made.counts["usage_events"]
        files = str(records / "usage_events" / "*.parquet")
        if not (records / "usage_events").is_dir():
            files = str(records / "usage_events.parquet")

        def floor() -> None:
            with duckdb.connect(str(Path(folder) / "floor.duckdb")) as connection:
                connection.execute(f"create table events as from read_parquet('{files}')")

        least = timed(floor)
        config = Config(warehouse=Path(folder) / "w.duckdb", sources=(FilesSettings(system="files", path=records),))
        system, models = get_system("files"), staging_models("files")
        now = datetime.now(UTC)
        with Warehouse.of(config).connect() as connection:
            log, kept = structlog.get_logger("csm_core"), Path(folder) / "sources"
            raw = timed(lambda: system.load(connection, config.sources, loaded_at=now, folder=kept, log=log))
            for entity in ENTITIES:
                if entity != "usage_events":
                    stage_entity(connection, entity, [("files", models[entity].sql)], staged_at=now)
            staged = timed(
                lambda: stage_entity(connection, "usage_events", [("files", models["usage_events"].sql)], staged_at=now)
            )
            parameters = {**config.sql_parameters(), **weight_parameters()}
            rollups = load_models("intermediate")
            rolled = timed(
                lambda: [
                    build_model(connection, rollups[name], parameters)
                    for name in ("int_usage_daily", "int_usage_daily_accounts")
                ]
            )
    return [
        Measure("load", "floor: parquet into a table", events, least, 1.0),
        Measure("load", "into raw (all entities)", events, raw, raw / least),
        Measure("load", "raw and staged", events, raw + staged, (raw + staged) / least),
        Measure("load", "raw, staged and rolled up", events, raw + staged + rolled, (raw + staged + rolled) / least),
    ]
