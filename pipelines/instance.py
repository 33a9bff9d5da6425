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

from csm_core.config import Config
from csm_core.errors import InputError, RunError
from csm_core.system.file_access import make_folder
from csm_core.system.paths import checked_path, shown
from csm_core.system.project_files import PROJECT_FILES

HOME_VARIABLE = "DAGSTER_HOME"
INSTANCE_FILE = "dagster.yaml"


def prepare_home(config: Config) -> Path:
    """Prepare DAGSTER_HOME (default: beside the warehouse), with the project's dagster.yaml unless it has one.

    Raises InputError for an invalid path, RunError for a folder that cannot be written.
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
            # Atomic, because a partial file of a killed process would be treated as the user's file.
            fresh = home / f".{INSTANCE_FILE}.new"
            shutil.copyfile(PROJECT_FILES / INSTANCE_FILE, fresh)
            fresh.replace(home / INSTANCE_FILE)
    except OSError as error:
        raise _unusable(home, error) from None
    return home


@contextmanager
def shared_instance(config: Config) -> Generator[dg.DagsterInstance]:
    """The instance at DAGSTER_HOME; it is closed when the block ends.

    Raises RunError if its storage cannot be read or written, and InputError for an invalid dagster.yaml.
    """
    home = prepare_home(config)
    with _explained(home), ExitStack() as stack:
        yield stack.enter_context(_opened(home))


def _opened(home: Path) -> dg.DagsterInstance:
    try:
        return dg.DagsterInstance.from_config(str(home))
    except (YAMLError, dg.DagsterError, CheckError) as error:
        message = f"{home / INSTANCE_FILE} is not valid: {_line(error)}. Fix it, or move it away to get the default."
        raise InputError(message) from None


@contextmanager
def _explained(home: Path) -> Generator[None]:
    """Convert errors of Dagster's storage in the block to an error that names its folder."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        raise _unusable(home, error) from None
    except CommandError as error:
        # Alembic, which creates the tables, found a revision that is unknown to this version of Dagster.
        raise _unusable(home, error) from None


def _unusable(home: Path, error: Exception) -> RunError:
    cause = getattr(error, "orig", None) or error
    reason = cause.strerror or str(cause) if isinstance(cause, OSError) else _line(cause)
    if isinstance(cause, OSError) or "full" in reason or "disk I/O" in reason or "readonly" in reason:
        advice = "Free disk space and check that the folder is writable, then run the same command again."
    elif "locked" in reason:
        advice = "Another process is writing to it. Run the same command again after that process has ended."
    else:
        advice = (
            "Stop all processes that use it, move its folders `history` and `schedules` away, and run again. The "
            "history of runs will be empty; the warehouse does not depend on it."
        )
    message = f"Dagster's storage in {home} failed: {reason}. {advice}"
    return RunError(message)


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
