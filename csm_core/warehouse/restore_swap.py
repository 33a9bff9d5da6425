"""The last step of a restore: prepared files replace those of the warehouse, by renames that any process can complete.

The order, in the warehouse's folder:

1. A restore copies the backup to ``.restored-<time>``, checks it there and publishes its marts there. Nothing else is
   changed so far. Killed here, the folder is a leftover, which the next restore removes.
2. It writes ``journal.json`` into that folder and renames the folder to ``.restore-in-progress``. This one rename
   decides: before it the previous warehouse is in place, after it the restored one is, once the rest is done.
3. The write-ahead log of the previous warehouse moves to ``replaced-<time>``, and the previous warehouse gets a second
   name there (a hard link; a rename where the file system has none).
4. The restored warehouse is renamed over the previous one.
5. The previous ``sources`` move to ``replaced-<time>``, and the restored ones are renamed into place.
6. The restored copy for analysts is renamed over the previous one.
7. ``.restore-in-progress`` is removed.

Each of 3 to 7 is skipped if it is already done, so they can be repeated from the start. Whoever opens the warehouse
repeats them first, under the lock of the folder, if ``.restore-in-progress`` is there: see ``Warehouse``.
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
    """What is replaced: names within the warehouse's folder, and the folder to which the previous files move.

    ``with_sources`` states whether the backup holds sources; without them, the previous ones only move.
    """

    warehouse: str
    sources: str
    with_sources: bool
    published: str
    aside: str


def in_progress(home: Path) -> bool:
    """Whether a restore has been decided and is not complete."""
    return (home / IN_PROGRESS).is_dir()


def decide(prepared: Path, swap: Swap) -> None:
    """Turn a prepared folder into a restore that is in progress. Raises OSError, and changes nothing, if it cannot."""
    journal = prepared / _JOURNAL
    journal.write_text(json.dumps(asdict(swap)), encoding="utf-8")
    for path in (journal, prepared):
        write_through(path)
    prepared.rename(prepared.parent / IN_PROGRESS)
    write_through(prepared.parent)


def complete(home: Path) -> Path | None:
    """Do what is left of a restore in progress; gives the folder with the previous files, if there were any.

    Raises WarehouseError if a file cannot be moved; the next call goes on from there.
    """
    progress = home / IN_PROGRESS
    try:
        if not (progress / _JOURNAL).is_file():
            # Only the removal of the folder was left.
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
            "disk, and run any command again: it goes on from there"
        )
        raise WarehouseError(message) from None
    return aside if aside.is_dir() else None


def _swap_warehouse(home: Path, progress: Path, aside: Path, swap: Swap) -> None:
    restored, place = progress / swap.warehouse, home / swap.warehouse
    if not restored.is_file():
        return
    log = place.with_name(f"{place.name}.wal")
    if log.exists():
        # It would be replayed into the restored file.
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
        # They are in place already.
        return
    if place.exists() and not (aside / swap.sources).exists():
        place.rename(aside / swap.sources)
    if swap.with_sources:
        restored.rename(place)
