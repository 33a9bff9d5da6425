"""A backup put in the warehouse's place: checked completely first, then swapped in by renames (``restore_swap``)."""

from __future__ import annotations

import re
import shutil
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from csm_core.analysts.published_copy import publish_copy
from csm_core.errors import InputError, WarehouseError, WarehouseInputError
from csm_core.logging import get_logger
from csm_core.operations.backup import alone, not_written, remove_leftovers
from csm_core.operations.backup_content import SOURCES, STAMP, WAREHOUSE, copy_backup, read_completely
from csm_core.scoring.macros import create_macros
from csm_core.system.file_access import make_folder
from csm_core.warehouse import restore_swap
from csm_core.warehouse.database import Warehouse

_LEFTOVER = re.compile(r"\.restored-\d{8}T\d{6}Z\Z")


def restore(warehouse: Warehouse, backup: Path, *, now: datetime | None = None) -> tuple[str | None, Path | None]:
    """Put a backup in the warehouse's place, with its marts published to analysts.

    Gives its newest complete day, and the folder to which the previous files were moved. Waits for a run in progress,
    which would continue in the restored file. Everything is copied, read and published in a folder of its own before
    the warehouse is touched: any failure leaves the warehouse as it was. Raises InputError for a folder that is not a
    complete backup, WarehouseError if the disk is full or the files cannot be swapped.
    """
    home = warehouse.path.parent
    if not backup.is_dir():
        message = f"{backup} is not a backup: there is no such folder. `csm backup` prints the names of those it makes"
        raise InputError(message)
    try:
        make_folder(home)
        with warehouse.reserved():
            remove_leftovers(home, _LEFTOVER)
            prepared, aside = _names(home, now or datetime.now(UTC))
            try:
                make_folder(prepared)
                with_sources = copy_backup(backup, prepared)
                day = read_completely(prepared / WAREHOUSE, backup / WAREHOUSE)
                copied = prepared / warehouse.path.name
                (prepared / WAREHOUSE).rename(copied)
                _publish(warehouse.at(copied))
                published = warehouse.published_path.relative_to(home)
                swap = restore_swap.Swap(warehouse.path.name, SOURCES, with_sources, str(published), aside.name)
                with ExitStack() as stack:
                    if warehouse.path.is_file():
                        # A file that cannot be opened may be the reason for the restore.
                        with suppress(WarehouseInputError, duckdb.Error):
                            stack.enter_context(alone(warehouse))
                    restore_swap.decide(prepared, swap)
                    replaced = restore_swap.complete(home)
            finally:
                shutil.rmtree(prepared, ignore_errors=True)
    except OSError as error:
        raise not_written(f"{backup} cannot be restored to {home}, where nothing is changed", error) from None
    return day, replaced


def _names(home: Path, at: datetime) -> tuple[Path, Path]:
    """Folders to prepare the files in, and for the previous ones."""
    while True:
        stamp = at.strftime(STAMP)
        prepared, aside = home / f".restored-{stamp}", home / f"replaced-{stamp}"
        if not prepared.exists() and not aside.exists():
            return prepared, aside
        at += timedelta(seconds=1)


def _publish(copied: Warehouse) -> None:
    """Publish the marts of the copy beside it."""
    try:
        publish_copy(copied, create_macros)
    except duckdb.Error as error:
        message = f"the marts of the backup cannot be published: {str(error).splitlines()[0]}; nothing is changed"
        raise WarehouseError(message) from None
    except WarehouseError as error:
        # A backup may be made between the steps of a day.
        copied.published_path.unlink(missing_ok=True)
        get_logger(__name__).warning("analysts keep the previous copy until the next run", reason=str(error))
    if copied.path.with_name(f"{copied.path.name}.wal").exists():
        message = f"the copy of the backup in {copied.path.parent} was not closed completely; nothing is changed"
        raise WarehouseError(message)
