"""The one Dagster instance that `csm run`, the schedules and the UI share."""

import os
import shutil
import sqlite3
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
from alembic.util.exc import CommandError
from dagster_shared.check import CheckError
from sqlalchemy.exc import DBAPIError
from yaml import YAMLError

from csm_core.config import PROJECT_ROOT, Config
from csm_core.errors import InputError, RunError
from csm_core.system.file_access import make_folder
from csm_core.system.paths import checked_path, shown

HOME_VARIABLE = "DAGSTER_HOME"
INSTANCE_FILE = "dagster.yaml"


def prepare_home(config: Config) -> Path:
    """DAGSTER_HOME, by default beside the warehouse, with the project's dagster.yaml if it has none yet.

    Raises InputError for a path that cannot be one, RunError for a folder that cannot be written.
    """
    named = os.environ.get(HOME_VARIABLE)
    try:
        home = checked_path(named or config.warehouse.parent / "dagster_home")
    except ValueError as error:
        message = f"{HOME_VARIABLE}: {error} (found {shown(named or '')}). Set it to a folder, or unset it."
        raise InputError(message) from None
    try:
        make_folder(home)
        if not (home / INSTANCE_FILE).exists():
            # Complete or not at all: part of it, from a process that was killed, would count as the user's own.
            fresh = home / f".{INSTANCE_FILE}.new"
            shutil.copyfile(PROJECT_ROOT / INSTANCE_FILE, fresh)
            fresh.replace(home / INSTANCE_FILE)
    except OSError as error:
        raise _unusable(home, error) from None
    return home


@contextmanager
def shared_instance(config: Config) -> Generator[dg.DagsterInstance]:
    """The instance at DAGSTER_HOME, opened and closed.

    Raises RunError where its storage cannot be read or written, and InputError for a dagster.yaml that is not valid.
    """
    home = prepare_home(config)
    with _explained(home), ExitStack() as stack:
        yield stack.enter_context(_opened(home))


def _opened(home: Path) -> dg.DagsterInstance:
    try:
        return dg.DagsterInstance.from_config(str(home))
    except (YAMLError, dg.DagsterError, CheckError) as error:
        message = f"{home / INSTANCE_FILE} is not valid: {_line(error)}. Correct it, or move it away: it is made again."
        raise InputError(message) from None


@contextmanager
def _explained(home: Path) -> Generator[None]:
    """Turn what Dagster's storage raises, here or in the block, into a message that names its folder."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        raise _unusable(home, error) from None
    except CommandError as error:
        # Alembic, which creates the tables, finds a revision that this version of Dagster does not have.
        raise _unusable(home, error) from None


def _unusable(home: Path, error: Exception) -> RunError:
    cause = getattr(error, "orig", None) or error
    reason = cause.strerror or str(cause) if isinstance(cause, OSError) else _line(cause)
    if isinstance(cause, OSError) or "full" in reason or "disk I/O" in reason or "readonly" in reason:
        advice = "Free space on its disk and check that the folder can be written, then run the same command again."
    elif "locked" in reason:
        advice = "Another process is writing to it: run the same command again when that process has ended."
    else:
        advice = (
            "Stop all processes that use it, move its folders `history` and `schedules` away, and run again: the "
            "history of runs begins again. The warehouse does not depend on it."
        )
    message = f"Dagster's storage in {home} failed: {reason}. {advice}"
    return RunError(message)


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
