"""`make dev`: the Dagster UI for the current configuration, with the same instance as `csm run`."""

import argparse
import os
import sys
from collections.abc import Sequence

from csm_core.config import PROJECT_ROOT, load_config
from csm_core.errors import CSMError
from csm_core.system.file_access import restrict_files
from csm_core.system.terminal import clean
from pipelines.instance import HOME_VARIABLE, prepare_home
from pipelines.ui_processes import ADDRESS_VARIABLE, DEFAULT_PORT, dagster_command, free_port


def main() -> None:
    """Replace this process with `dagster dev`."""
    os.chdir(PROJECT_ROOT)
    try:
        config = load_config()
        # The processes of Dagster inherit the umask.
        restrict_files(config)
        os.environ[HOME_VARIABLE] = str(prepare_home(config))
    except CSMError as error:
        sys.stderr.write(f"{clean(str(error))}\n")
        sys.exit(error.exit_status)
    port, others = _port_of(sys.argv[1:])
    if config.dagster_url is None:
        # Alerts of failed runs link to this UI.
        os.environ[ADDRESS_VARIABLE] = f"http://127.0.0.1:{port}"
    os.execv(sys.executable, [*dagster_command(port), *others])  # noqa: S606


def _port_of(arguments: Sequence[str]) -> tuple[int, list[str]]:
    """The port in the arguments (default: Dagster's port, or a free one), and the other arguments."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-p", "--port", type=int)
    stated, others = parser.parse_known_args(arguments)
    return (free_port(DEFAULT_PORT) if stated.port is None else stated.port), others


if __name__ == "__main__":
    main()
