"""Replays a day from the records that were known at a time: the implementation of `csm replay`."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import duckdb

from assets.context import Pipeline
from assets.unmaterialised import SOURCES_GROUP
from csm_core.config import Config
from csm_core.days.known_warehouse import create_known_warehouse
from csm_core.days.past_configuration import configuration_of
from csm_core.days.replay import Replay, compare
from csm_core.errors import InputError, RunError
from csm_core.sources.spark_settings import usage_on_spark
from csm_core.warehouse.database import Warehouse
from pipelines.build import SCORES, build_defs
from pipelines.catch_up import RANGE_END, RANGE_START
from pipelines.failures import is_failed_check, step_failure

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def replay_day(config: Config, day: date, known_at: datetime) -> Replay:
    """Rebuild signals and scores of a day in a scratch warehouse, and compare them with what was known at a UTC time.

    The warehouse is only read. Raises InputError if no score of the day was known then, if its configuration is not
    stored, or if usage events are validated on Spark; RunError if a step of the replay fails.
    """
    if usage_on_spark(config.sources):
        message = "csm replay needs the raw records, and usage events of the system spark are not in the warehouse"
        raise InputError(message)
    warehouse = Warehouse.from_config(config)
    at = known_at.astimezone(UTC).replace(tzinfo=None) if known_at.tzinfo else known_at
    with (
        warehouse.run_lock(),
        tempfile.TemporaryDirectory(prefix="replay_", dir=warehouse.path.parent) as folder,
    ):
        scratch = Path(folder) / "csm.duckdb"
        with _opened(warehouse) as connection:
            then = configuration_of(connection, config, day, at)
        create_known_warehouse(scratch, warehouse.path, at)
        _build(then.model_copy(update={"warehouse": scratch, "engine": type(then.engine)()}), day, at)
        with _opened(warehouse) as connection:
            return compare(connection, scratch, day, at, then.config_hash)


@contextmanager
def _opened(warehouse: Warehouse) -> Generator[duckdb.DuckDBPyConnection]:
    with warehouse.open_read_only() as connection:
        if connection is None:
            message = f"there is no warehouse at {warehouse.path}, or another process writes to it"
            raise InputError(message)
        yield connection


def _build(config: Config, day: date, at: datetime) -> None:
    """Build the scores of a day and everything that they are made of, except the raw records."""
    pipeline = Pipeline(
        config,
        Warehouse.from_config(config),
        progress=lambda *_: None,
        clock=lambda: at.replace(tzinfo=UTC),
        is_replay=True,
    )
    definitions = build_defs(config, pipeline)
    above = dg.AssetSelection.assets(SCORES).upstream() - dg.AssetSelection.groups("raw", SOURCES_GROUP)
    with dg.DagsterInstance.ephemeral() as instance:
        keys = sorted(above.resolve(definitions.resolve_asset_graph()))
        result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            asset_selection=keys,
            raise_on_error=False,
            run_config=_QUIET,
            tags={RANGE_START: day.isoformat(), RANGE_END: day.isoformat()},
        )
    failures = [
        step_failure(event) for event in result.all_events if event.is_step_failure and not is_failed_check(event)
    ]
    if failures:
        message = f"the replay of {day} failed in {failures[0].asset}: {failures[0].message}"
        raise RunError(message)
