"""Replaces the warehouse with a backup: validates the backup completely, then renames the files (``restore_swap``)."""

from __future__ import annotations

import re
import shutil
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from csm_core.analysts.parquet_files import remove_parquet
from csm_core.analysts.published_copy import publish_copy, write_parquet
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
    """Replace the warehouse with a backup, and publish its marts to analysts.

    Returns the newest complete day of the backup, and the folder with the previous files. Waits for a run in progress,
    because that run would continue in the restored file. The backup is copied, read and published in a separate folder
    first, so a failure does not change the warehouse. Raises InputError for an incomplete backup, WarehouseError if the
    disk is full or the files cannot be renamed.
    """
    home = warehouse.path.parent
    if not backup.is_dir():
        message = (
            f"{backup} is not a backup: the folder does not exist. `csm backup` prints the folders that it creates"
        )
        raise InputError(message)
    try:
        make_folder(home)
        with warehouse.run_lock():
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
                        # The warehouse may be damaged; that may be the reason for the restore.
                        with suppress(WarehouseInputError, duckdb.Error):
                            stack.enter_context(alone(warehouse))
                    remove_parquet(warehouse.published_path)
                    restore_swap.decide(prepared, swap)
                    replaced = restore_swap.complete(home)
                write_parquet(warehouse)
            finally:
                shutil.rmtree(prepared, ignore_errors=True)
    except OSError as error:
        raise not_written(f"{backup} cannot be restored to {home}; nothing was changed there", error) from None
    return day, replaced


def _names(home: Path, at: datetime) -> tuple[Path, Path]:
    """The folder for the restored files, and the folder for the previous files."""
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
        message = f"the marts of the backup cannot be published: {str(error).splitlines()[0]}; nothing was changed"
        raise WarehouseError(message) from None
    except WarehouseError as error:
        # A backup may be created between the steps of a day.
        copied.published_path.unlink(missing_ok=True)
        get_logger(__name__).warning("the published copy is not replaced until the next run", reason=str(error))
    if copied.path.with_name(f"{copied.path.name}.wal").exists():
        message = f"the copy of the backup in {copied.path.parent} was not closed completely; nothing was changed"
        raise WarehouseError(message)
