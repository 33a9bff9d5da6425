"""The one Dagster instance that `csm run`, the schedules and the UI share."""

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from csm_core.config import PROJECT_ROOT, Config
from csm_core.file_access import make_folder

HOME_VARIABLE = "DAGSTER_HOME"
INSTANCE_FILE = "dagster.yaml"


def prepare_home(config: Config) -> Path:
    """DAGSTER_HOME, by default beside the warehouse, with the project's dagster.yaml if it has none yet."""
    home = Path(os.environ.get(HOME_VARIABLE) or config.warehouse.parent / "dagster_home").resolve()
    make_folder(home)
    if not (home / INSTANCE_FILE).exists():
        # Whole or not at all: half of it, from a process that was killed, would count as somebody's own for ever.
        fresh = home / f".{INSTANCE_FILE}.new"
        shutil.copyfile(PROJECT_ROOT / INSTANCE_FILE, fresh)
        fresh.replace(home / INSTANCE_FILE)
    return home


@contextmanager
def shared_instance(config: Config) -> Generator[dg.DagsterInstance]:
    """The instance at DAGSTER_HOME, opened and closed."""
    with dg.DagsterInstance.from_config(str(prepare_home(config))) as instance:
        yield instance
