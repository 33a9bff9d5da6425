"""Options that several commands share, and functions that read their values."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from csm_core.errors import ConfigError, InputError
from csm_core.system.file_access import restrict_files

if TYPE_CHECKING:
    from csm_core.config import Config
    from csm_core.warehouse.database import Warehouse

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Configuration file; default: $CSM_CONFIG, ./csm.yaml, or the embedded defaults."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DAY_FORMATS = ["%Y-%m-%d"]
TIME_FORMATS = [*DAY_FORMATS, "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f"]


def read_config(path: Path | None) -> Config:
    """Load the effective configuration, and apply its file permissions to files that the process writes."""
    from csm_core.config import load_config

    config = load_config(path)
    restrict_files(config)
    return config


def open_warehouse(path: Path | None) -> Warehouse:
    """The warehouse of the effective configuration."""
    from csm_core.warehouse.database import Warehouse

    return Warehouse.from_config(read_config(path))


def existing_warehouse(path: Path | None) -> Warehouse:
    """The warehouse of the effective configuration. Raises InputError if its file does not exist."""
    warehouse = open_warehouse(path)
    if not warehouse.path.is_file():
        message = f"there is no warehouse at {warehouse.path}: `csm run` creates it"
        raise InputError(message)
    return warehouse


def comma_separated(text: str) -> list[str]:
    """The names in a list separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def selected_days(
    config: Config, as_of: datetime | None, first: datetime | None, last: datetime | None
) -> tuple[date, date]:
    """The first and the last day to run: one day, a range, or yesterday (UTC).

    Raises InputError or ConfigError for contradictory options and for days that cannot be run.
    """
    if as_of and (first or last):
        message = "use either --as-of or --from and --to, not both"
        raise InputError(message)
    if bool(first) != bool(last):
        message = "--from and --to must be given together"
        raise InputError(message)
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    single = as_of.date() if as_of else yesterday
    days = (first.date(), last.date()) if first and last else (single, single)
    if days[1] < days[0]:
        message = f"--from {days[0]} is after --to {days[1]}"
        raise InputError(message)
    if days[0] < config.partitions_start:
        message = (
            f"{days[0]} is before the first partition, {config.partitions_start}: "
            "choose a later day, or set an earlier partitions_start in the configuration"
        )
        raise ConfigError(message)
    if days[1] > yesterday:
        message = f"{days[1]} has not ended yet (in UTC): the last day that can be run is {yesterday}"
        raise InputError(message)
    return days
