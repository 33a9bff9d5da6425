"""The last step of a restore: replaces the warehouse with prepared files, by renames that any process can complete.

The steps, in the warehouse's folder:

1. A restore copies the backup to ``.restored-<time>``, checks it and publishes its marts there. It changes nothing
   else. If the process is killed here, the next restore removes the folder.
2. It writes ``journal.json`` into that folder and renames the folder to ``.restore-in-progress``. This rename commits
   the restore: before it, the previous warehouse is in place; after it, the remaining steps are always completed.
3. The write-ahead log of the previous warehouse moves to ``replaced-<time>``, and a hard link to the previous warehouse
   is created there (or the file is moved, on a file system without hard links).
4. The restored warehouse is renamed over the previous one.
5. The previous ``sources`` move to ``replaced-<time>``, and the restored ones are renamed into place.
6. The restored copy for analysts is renamed over the previous one.
7. ``.restore-in-progress`` is removed.

Steps 3 to 7 are idempotent. If ``.restore-in-progress`` exists, any process that opens the warehouse first completes
them under the lock of the folder: see ``Warehouse``.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from csm_core.errors import WarehouseError
from csm_core.system.checksums import write_through
from csm_core.system.file_access import make_folder

IN_PROGRESS = ".restore-in-progress"
_JOURNAL = "journal.json"


@dataclass(frozen=True)
class Swap:
    """The names of the replaced files in the warehouse's folder, and of the folder for the previous files (``aside``).

    ``with_sources`` is true if the backup contains sources; if not, the previous sources are only moved.
    """

    warehouse: str
    sources: str
    with_sources: bool
    published: str
    aside: str


def in_progress(home: Path) -> bool:
    """Whether a restore is committed and not complete."""
    return (home / IN_PROGRESS).is_dir()


def decide(prepared: Path, swap: Swap) -> None:
    """Commit a restore from a prepared folder. Raises OSError, without any change, if this fails."""
    journal = prepared / _JOURNAL
    journal.write_text(json.dumps(asdict(swap)), encoding="utf-8")
    for path in (journal, prepared):
        write_through(path)
    prepared.rename(prepared.parent / IN_PROGRESS)
    write_through(prepared.parent)


def complete(home: Path) -> Path | None:
    """Complete a restore in progress; returns the folder with the previous files, if there are any.

    Raises WarehouseError if a file cannot be moved; the next call resumes there.
    """
    progress = home / IN_PROGRESS
    try:
        if not (progress / _JOURNAL).is_file():
            # Only the removal of the folder is left.
            shutil.rmtree(progress, ignore_errors=True)
            return None
        swap = Swap(**json.loads((progress / _JOURNAL).read_text(encoding="utf-8")))
        aside = home / swap.aside
        make_folder(aside)
        _swap_warehouse(home, progress, aside, swap)
        _swap_sources(home, progress, aside, swap)
        if (progress / swap.published).is_file():
            make_folder((home / swap.published).parent)
            (progress / swap.published).replace(home / swap.published)
        with suppress(OSError):
            # Nothing was replaced.
            aside.rmdir()
        write_through(home)
        shutil.rmtree(progress)
    except (OSError, ValueError, TypeError) as error:
        message = (
            f"the restore in {progress} cannot be completed: {error}. Correct the cause, such as permissions or a full "
            "disk, and run any command again to resume the restore"
        )
        raise WarehouseError(message) from None
    return aside if aside.is_dir() else None


def _swap_warehouse(home: Path, progress: Path, aside: Path, swap: Swap) -> None:
    restored, place = progress / swap.warehouse, home / swap.warehouse
    if not restored.is_file():
        return
    log = place.with_name(f"{place.name}.wal")
    if log.exists():
        # DuckDB would replay it into the restored file.
        log.rename(aside / log.name)
    if place.exists() and not (aside / place.name).exists():
        try:
            os.link(place, aside / place.name)
        except OSError:
            place.rename(aside / place.name)
    restored.replace(place)


def _swap_sources(home: Path, progress: Path, aside: Path, swap: Swap) -> None:
    restored, place = progress / swap.sources, home / swap.sources
    if swap.with_sources and not restored.is_dir():
        # The restored sources are already in place.
        return
    if place.exists() and not (aside / swap.sources).exists():
        place.rename(aside / swap.sources)
    if swap.with_sources:
        restored.rename(place)
