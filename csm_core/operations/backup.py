"""Copies of everything that csm-health keeps, made between two steps of a run.

A backup is a folder: the warehouse with its ledger of published pages, what was fetched from web APIs with the cursors
that state how far, and a manifest with the checksums. It is copied while no other process can write. The folder gets
its name when it is complete; until then it is ``.csm-backup-<time>.unfinished``, which the next backup removes if the
process was killed. A lock on the folder of the backups keeps two of them apart.
"""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from csm_core.errors import CSMError, InputError, WarehouseError
from csm_core.operations.backup_content import (
    PREFIX,
    STAMP,
    WAREHOUSE,
    copy_sources,
    is_backup,
    read_completely,
    write_manifest,
)
from csm_core.system.checksums import copy_file, write_through
from csm_core.system.file_access import make_folder
from csm_core.system.folder_lock import folder_lock
from csm_core.warehouse.database import WaitingMessage, Warehouse

_LEFTOVER = re.compile(rf"\.{PREFIX}\d{{8}}T\d{{6}}Z\.(unfinished|removed)\Z")
# Errors of the machine, which a person does not correct in an argument.
_FAILURES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def back_up(warehouse: Warehouse, target: Path, *, keep: int | None = None, now: datetime | None = None) -> Path:
    """Copy the warehouse to a new folder below ``target``, and remove all but ``keep`` backups there.

    The new one always stays, with the ``keep - 1`` others whose names have the latest times. Only folders that a backup
    made are counted and removed; see ``is_backup``.

    Waits while a step of a run is writing. Raises InputError if there is no warehouse yet or ``target`` cannot be
    written, WarehouseError if the disk is full or the copy cannot be read.
    """
    warehouse.complete_restore()
    if not warehouse.path.is_file():
        message = f"there is no warehouse at {warehouse.path} yet: nothing to back up"
        raise InputError(message)
    at = now or datetime.now(UTC)
    try:
        make_folder(target)
        with folder_lock(target, WaitingMessage(target, "another backup is in progress")):
            remove_leftovers(target, _LEFTOVER)
            made = _copy(warehouse, target, at)
            if keep:
                _remove_older(made, keep)
    except OSError as error:
        raise not_written(f"the backup cannot be written to {target}", error) from None
    except duckdb.Error as error:
        message = f"the warehouse {warehouse.path} cannot be read: {str(error).splitlines()[0]}"
        raise WarehouseError(message) from None
    return made


def _copy(warehouse: Warehouse, target: Path, at: datetime) -> Path:
    made = target / f"{PREFIX}{at.strftime(STAMP)}"
    seconds = 0
    while made.exists() or made.is_symlink():
        seconds += 1
        made = target / f"{PREFIX}{(at + timedelta(seconds=seconds)).strftime(STAMP)}"
    unfinished = target / f".{made.name}.unfinished"
    try:
        make_folder(unfinished)
        with alone(warehouse):
            checksums = {WAREHOUSE: copy_file(warehouse.path, unfinished / WAREHOUSE)}
            checksums |= copy_sources(warehouse.path.parent, unfinished)
        write_through(unfinished / WAREHOUSE)
        try:
            read_completely(unfinished / WAREHOUSE)
        except InputError as error:
            message = f"the warehouse {warehouse.path} is damaged, and no backup of it is made: {error}"
            raise WarehouseError(message) from None
        write_manifest(unfinished, checksums, at)
        unfinished.rename(made)
        write_through(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return made


def _remove_older(made: Path, keep: int) -> None:
    others = sorted(path for path in made.parent.glob(f"{PREFIX}*") if path != made and is_backup(path))
    for path in others[: max(0, len(others) - (keep - 1))]:
        # A folder that is partly removed must not look like a backup.
        removed = path.with_name(f".{path.name}.removed")
        try:
            path.rename(removed)
            shutil.rmtree(removed)
        except OSError as error:
            message = f"the backup {made} is complete, but {path} cannot be removed: {error.strerror or error}"
            raise WarehouseError(message) from None


def remove_leftovers(folder: Path, name: re.Pattern[str]) -> None:
    """Remove what killed processes left; the caller holds the lock of the folder, so that none of them still runs."""
    for path in folder.iterdir():
        if name.match(path.name) and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def alone(warehouse: Warehouse) -> Generator[None]:
    """No other process has the file open for writing, and it holds everything that was committed."""
    with warehouse.connect() as connection:
        connection.execute("checkpoint")
        yield


def not_written(what: str, error: OSError) -> CSMError:
    """The error of ours for one of the file system: a failure if the disk is the cause, else input to correct."""
    message = f"{what}: {error.strerror or error}"
    return WarehouseError(message) if error.errno in _FAILURES else InputError(message)
