"""Copies of everything that csm-health keeps, made between two steps of a run, and put back.

A back-up is a folder: the warehouse with its ledger of published pages, and what was fetched from web APIs with the
cursors that say how far. It is copied while no other process can write and stands complete, or not at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from csm_core.errors import InputError, WarehouseError, WarehouseInputError
from csm_core.published_copy import publish_copy
from csm_core.scoring_macros import create_macros
from csm_core.warehouse import Warehouse, table_exists

PREFIX = "csm-backup-"
# Where sources keep what they fetched, beside the warehouse.
SOURCES = "sources"
_WAREHOUSE = "csm.duckdb"
_STAMP = "%Y%m%dT%H%M%SZ"


def back_up(warehouse: Warehouse, target: Path, *, keep: int | None = None, now: datetime | None = None) -> Path:
    """Copy the warehouse to a new folder below ``target``, and remove all but the newest ``keep`` back-ups there.

    Waits while a step of a run is writing. Raises InputError where there is no warehouse yet or ``target`` cannot be
    written, WarehouseError when the copy cannot be read.
    """
    if not warehouse.path.is_file():
        message = f"there is no warehouse at {warehouse.path} yet: nothing to back up"
        raise InputError(message)
    stamp = (now or datetime.now(UTC)).strftime(_STAMP)
    made = target / f"{PREFIX}{stamp}"
    if made.exists():
        message = f"{made} is there already"
        raise InputError(message)
    unfinished = target / f".{made.name}.unfinished"
    try:
        unfinished.mkdir(parents=True)
        with _alone(warehouse):
            shutil.copyfile(warehouse.path, unfinished / _WAREHOUSE)
            _copy_sources(warehouse.path.parent, unfinished)
        _last_scored_day(unfinished / _WAREHOUSE)
        unfinished.rename(made)
    except OSError as error:
        message = f"the back-up cannot be written to {target}: {error.strerror or error}"
        raise InputError(message) from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    for older in sorted(target.glob(f"{PREFIX}*"))[: -keep if keep else 0]:
        shutil.rmtree(older)
    return made


def restore(warehouse: Warehouse, backup: Path, *, now: datetime | None = None) -> tuple[str | None, Path | None]:
    """Put a back-up in the warehouse's place and publish its marts to analysts.

    Gives its last scored day, and the folder to which what stood there was moved. Waits for a run that is going on: it
    would go on in the restored file. Raises InputError for a folder that is no complete back-up.
    """
    source = backup / _WAREHOUSE
    if not source.is_file():
        message = f"{backup} is no back-up: it holds no {_WAREHOUSE}. `csm backup` makes folders {PREFIX}…"
        raise InputError(message)
    day = _last_scored_day(source)
    home = warehouse.path.parent
    home.mkdir(parents=True, exist_ok=True)
    stamp = (now or datetime.now(UTC)).strftime(_STAMP)
    fresh, aside = home / f".restored-{stamp}", home / f"replaced-{stamp}"
    fresh.mkdir()
    try:
        shutil.copyfile(source, fresh / _WAREHOUSE)
        _copy_sources(backup, fresh)
        with warehouse.reserved():
            replaced = _move_aside(warehouse, aside)
            (fresh / _WAREHOUSE).rename(warehouse.path)
            if (fresh / SOURCES).is_dir():
                (fresh / SOURCES).rename(home / SOURCES)
            publish_copy(warehouse, create_macros)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return day, replaced


@contextmanager
def _alone(warehouse: Warehouse) -> Generator[None]:
    """Nobody else has the file open for writing, and it holds everything that was committed."""
    with warehouse.connect() as connection:
        connection.execute("checkpoint")
        yield


def _move_aside(warehouse: Warehouse, aside: Path) -> Path | None:
    """Move what a restored warehouse replaces; its write-ahead log would otherwise be replayed into another file."""
    home, file = warehouse.path.parent, warehouse.path
    present = [path for path in (file, file.with_name(f"{file.name}.wal"), home / SOURCES) if path.exists()]
    if not present:
        return None
    with ExitStack() as stack:
        if file.is_file():
            # A file that is broken is no reason to keep it: it may be why somebody restores.
            with suppress(WarehouseInputError):
                stack.enter_context(_alone(warehouse))
        aside.mkdir()
        for path in present:
            if path.exists():
                path.rename(aside / path.name)
    return aside


def _copy_sources(origin: Path, target: Path) -> None:
    if (origin / SOURCES).is_dir():
        shutil.copytree(origin / SOURCES, target / SOURCES)


def _last_scored_day(file: Path) -> str | None:
    """The last scored day of a warehouse, which shows that it can be read. Raises WarehouseError if it cannot."""
    try:
        with duckdb.connect(str(file), read_only=True) as connection:
            if not table_exists(connection, "marts.csm_health_scores"):
                return None
            row = connection.execute("select max(as_of_date)::varchar from marts.csm_health_scores").fetchone()
    except duckdb.Error as error:
        message = f"the copy {file} cannot be read: {str(error).splitlines()[0]}"
        raise WarehouseError(message) from None
    return row[0] if row else None
