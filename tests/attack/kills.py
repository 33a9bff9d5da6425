"""Kill backups and restores at any instant, and check what the next command finds.

``python -m tests.attack.kills --kills 100`` kills a hundred of each. Half of the kills happen at a random operation on
files, the others after a random share of the time that the undisturbed command takes, which reaches the work
of DuckDB as well. The process that forks the others opens no database itself.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from csm_core.analysts.published_copy import publish_copy
from csm_core.operations.backup import back_up
from csm_core.operations.backup_content import copy_backup, is_backup, read_completely
from csm_core.operations.restore import restore
from csm_core.warehouse.copy_state import note_uncopied
from csm_core.warehouse.database import Warehouse

COMMANDS = ("backup", "restore")
KEPT = 2
_OLD, _NEW = date(2026, 6, 1), date(2026, 6, 2)


@dataclass(frozen=True)
class Place:
    """A folder with a warehouse and its backups."""

    folder: Path

    @property
    def warehouse(self) -> Warehouse:
        """The warehouse."""
        return Warehouse(self.folder / "home" / "csm.duckdb")

    @property
    def backups(self) -> Path:
        """The folder of the backups."""
        return self.folder / "backups"

    def state(self, home: Path | None = None) -> tuple[Any, ...]:
        """The last scored day of the warehouse, and the cursor of its source."""
        home = home or self.folder / "home"
        return read_completely(home / "csm.duckdb"), (home / "sources" / "stripe" / "cursor").read_text()


def strike(folder: Path, kills: int, *, seed: int = 1, commands: tuple[str, ...] = COMMANDS) -> list[str]:
    """Kill each command so many times; gives what was wrong afterwards, in sentences."""
    draw = random.Random(seed)
    start = folder / "start"
    _forked(lambda: _make(Place(start)))
    wrong: list[str] = []
    for command in commands:
        undisturbed = Place(Path(shutil.copytree(start, folder / f"undisturbed {command}")))
        measured = _forked(lambda place=undisturbed, name=command: _measured(place, name))
        for number in range(kills):
            place = Place(Path(shutil.copytree(start, folder / f"{command} {number}")))
            if number % 2:
                seconds = draw.random() * measured["seconds"]
                _forked(lambda one=place, name=command, after=seconds: _killed_after(one, name, after))
                when = f"{command} killed after {seconds:.3f} s"
            else:
                event = draw.randrange(measured["events"])
                _forked(lambda one=place, name=command, at=event: _killed_at(one, name, at))
                when = f"{command} killed at file operation {event} of {measured['events']}"
            check = _after_backup if command == "backup" else _after_restore
            found = _forked(lambda one=place, after=check: after(one))
            found = ["the check ended without an answer"] if found is None else found
            wrong += [f"{when}: {one}" for one in found]
            if not found:
                shutil.rmtree(place.folder)
    return wrong


def _make(place: Place) -> None:
    """A warehouse that has changed since its last backup."""
    cursor = place.folder / "home" / "sources" / "stripe" / "cursor"
    cursor.parent.mkdir(parents=True)
    for day in (_OLD, _NEW):
        with place.warehouse.connect() as connection:
            for table in ("marts.csm_health_signals", "marts.csm_health_scores"):
                connection.execute(f"create or replace table {table} as select ?::date as as_of_date", [day])
                note_uncopied(connection, table, None)
        cursor.write_text(str(day))
        publish_copy(place.warehouse)
        if day == _OLD:
            for _ in range(KEPT):
                back_up(place.warehouse, place.backups)


def _run(place: Place, command: str) -> None:
    if command == "backup":
        back_up(place.warehouse, place.backups, keep=KEPT)
    else:
        restore(place.warehouse, min(place.backups.glob("csm-backup-*")))


def _measured(place: Place, command: str) -> dict[str, float]:
    events = 0

    def count(event: str, _arguments: object) -> None:
        nonlocal events
        events += _of_files(event)

    sys.addaudithook(count)
    started = time.monotonic()
    _run(place, command)
    return {"seconds": time.monotonic() - started, "events": events}


def _killed_at(place: Place, command: str, number: int) -> None:
    left = number

    def kill(event: str, _arguments: object) -> None:
        nonlocal left
        if _of_files(event):
            left -= 1
            # Sending the signal is such an event as well.
            if left == -1:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(kill)
    _run(place, command)


def _killed_after(place: Place, command: str, seconds: float) -> None:
    timer = threading.Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGKILL))
    timer.daemon = True
    timer.start()
    _run(place, command)


def _of_files(event: str) -> bool:
    return event == "open" or event.startswith(("os.", "shutil.", "fcntl."))


def _after_backup(place: Place) -> list[str]:
    """Every folder that looks like a backup is complete, and the next backup removes what is left of the killed one."""
    wrong: list[str] = []
    if place.state() != (str(_NEW), str(_NEW)):
        wrong.append("the warehouse has changed")
    there = sorted(place.backups.glob("csm-backup-*"))
    for path in there:
        with tempfile.TemporaryDirectory(dir=place.folder) as copied:
            if not is_backup(path):
                wrong.append(f"{path.name} is not complete")
            elif not copy_backup(path, Path(copied)):
                wrong.append(f"{path.name} lacks the sources")
    if not KEPT <= len(there) <= KEPT + 1:
        wrong.append(f"{len(there)} backups instead of {KEPT} or one more")
    made = back_up(place.warehouse, place.backups, keep=KEPT)
    entries = sorted(path.name for path in place.backups.iterdir())
    if made.name not in entries or len(entries) != KEPT or not all(is_backup(place.backups / one) for one in entries):
        wrong.append(f"the next backup leaves {entries}")
    return wrong


def _after_restore(place: Place) -> list[str]:
    """The warehouse is the previous or the restored one as a whole, and no file of the previous one is lost."""
    home, wrong = place.folder / "home", []
    if not place.warehouse.path.is_file():
        wrong.append("for an instant there is no warehouse")
    with place.warehouse.connect():
        pass
    state = place.state()
    asides = list(home.glob("replaced-*"))
    if state == (str(_OLD), str(_OLD)):
        if [place.state(aside) for aside in asides] != [(str(_NEW), str(_NEW))]:
            wrong.append("the previous files are not in replaced-…")
        if _published_day(place) != _OLD:
            wrong.append("analysts see the previous day")
    elif state != (str(_NEW), str(_NEW)) or asides:
        wrong.append(f"the warehouse holds {state}, moved: {asides}")
    elif _published_day(place) != _NEW:
        wrong.append("analysts see a day that is not restored")
    _run(place, "restore")
    if place.state() != (str(_OLD), str(_OLD)) or _published_day(place) != _OLD:
        wrong.append(f"the next restore gives {place.state()}")
    expected = {"csm.duckdb", "published", "sources"}
    left = {path.name for path in home.iterdir() if not path.name.startswith("replaced-")} - expected
    left |= {path.name for path in (home / "published").iterdir()} - {"csm_analytics.duckdb"}
    if left:
        wrong.append(f"the next restore leaves {sorted(left)}")
    return wrong


def _published_day(place: Place) -> date:
    with duckdb.connect(str(place.warehouse.published_path), read_only=True) as copy:
        ((day,),) = copy.execute("select max(as_of_date) from marts.csm_health_scores").fetchall()
    return day


def _forked(work: Callable[[], Any]) -> Any:
    """What ``work`` gives in a process of its own; None if the process is killed or fails."""
    receiver, sender = os.pipe()
    child = os.fork()
    if not child:
        os.close(receiver)
        status = 1
        try:
            answer = json.dumps(work())
            os.write(sender, answer.encode())
            status = 0
        except BaseException as error:  # noqa: BLE001  # the process ends here, whatever happened
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        finally:
            os._exit(status)
    os.close(sender)
    with os.fdopen(receiver, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return json.loads(answer) if answer else None


def main() -> int:
    """The script; exit status 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack.kills", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="of each command")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=COMMANDS, action="append")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="csm_kills_") as folder:
        commands = tuple(chosen.only or COMMANDS)
        wrong = strike(Path(folder), chosen.kills, seed=chosen.seed, commands=commands)
    print("\n".join([*wrong, f"{chosen.kills} kills of each of {', '.join(commands)}: {len(wrong)} faults"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
