"""Backs up all data of csm-health, between two steps if a run is in progress.

A backup is a folder with the warehouse (including the ledger of published pages), the records fetched from web APIs
with their cursors, and a manifest with checksums. It is copied while no other process can write. The folder is named
``.csm-backup-<time>.unfinished`` until it is complete; if the process is killed, the next backup removes it. A lock on
the target folder prevents concurrent backups.
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
# Errors of the machine; other arguments of the command do not help.
_FAILURES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def back_up(warehouse: Warehouse, target: Path, *, keep: int | None = None, now: datetime | None = None) -> Path:
    """Copy the warehouse to a new folder below ``target``, and remove all but ``keep`` backups there.

    The new backup is always kept, with the ``keep - 1`` others that have the latest times in their names. Only folders
    that `csm backup` created are counted and removed; see ``is_backup``.

    Waits while a step of a run is writing. Raises InputError if the warehouse does not exist or ``target`` cannot be
    written, WarehouseError if the disk is full or the copy cannot be read.
    """
    warehouse.complete_restore()
    if not warehouse.path.is_file():
        message = f"there is no warehouse at {warehouse.path}: nothing to back up"
        raise InputError(message)
    at = now or datetime.now(UTC)
    try:
        make_folder(target)
        with folder_lock(target, WaitingMessage(target, "another backup is in progress")):
            remove_leftovers(target, _LEFTOVER)
            backup = _copy(warehouse, target, at)
            if keep:
                _remove_older(backup, keep)
    except OSError as error:
        raise not_written(f"the backup cannot be written to {target}", error) from None
    except duckdb.Error as error:
        message = f"the warehouse {warehouse.path} cannot be read: {str(error).splitlines()[0]}"
        raise WarehouseError(message) from None
    return backup


def _copy(warehouse: Warehouse, target: Path, at: datetime) -> Path:
    backup = target / f"{PREFIX}{at.strftime(STAMP)}"
    seconds = 0
    while backup.exists() or backup.is_symlink():
        seconds += 1
        backup = target / f"{PREFIX}{(at + timedelta(seconds=seconds)).strftime(STAMP)}"
    unfinished = target / f".{backup.name}.unfinished"
    try:
        make_folder(unfinished)
        with alone(warehouse):
            checksums = {WAREHOUSE: copy_file(warehouse.path, unfinished / WAREHOUSE)}
            checksums |= copy_sources(warehouse.path.parent, unfinished)
        write_through(unfinished / WAREHOUSE)
        try:
            read_completely(unfinished / WAREHOUSE)
        except InputError as error:
            message = f"the warehouse {warehouse.path} is damaged and cannot be backed up: {error}"
            raise WarehouseError(message) from None
        write_manifest(unfinished, checksums, at)
        unfinished.rename(backup)
        write_through(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return backup


def _remove_older(backup: Path, keep: int) -> None:
    others = sorted(path for path in backup.parent.glob(f"{PREFIX}*") if path != backup and is_backup(path))
    for path in others[: max(0, len(others) - (keep - 1))]:
        # A folder that is partly removed must not look like a backup.
        removed = path.with_name(f".{path.name}.removed")
        try:
            path.rename(removed)
            shutil.rmtree(removed)
        except OSError as error:
            message = f"the backup {backup} is complete, but {path} cannot be removed: {error.strerror or error}"
            raise WarehouseError(message) from None


def remove_leftovers(folder: Path, name: re.Pattern[str]) -> None:
    """Remove the folders of killed processes. The caller has the lock of the folder, so no such process is running."""
    for path in folder.iterdir():
        if name.match(path.name) and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def alone(warehouse: Warehouse) -> Generator[None]:
    """Ensure that no other process has the file open for writing, and that it contains all committed data."""
    with warehouse.connect() as connection:
        connection.execute("checkpoint")
        yield


def not_written(what: str, error: OSError) -> CSMError:
    """Convert an error of the file system: WarehouseError if the disk is the cause, InputError otherwise."""
    message = f"{what}: {error.strerror or error}"
    return WarehouseError(message) if error.errno in _FAILURES else InputError(message)
