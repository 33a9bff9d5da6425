"""`make dev`: the Dagster UI on the configuration at hand, with the same instance as `csm run`."""

import argparse
import os
import socket
import sys
from collections.abc import Sequence

from csm_core.config import PROJECT_ROOT, load_config
from csm_core.errors import CSMError
from csm_core.system.file_access import restrict_files
from csm_core.system.terminal import clean
from pipelines.instance import HOME_VARIABLE, prepare_home

ADDRESS_VARIABLE = "CSM_DAGSTER_URL"
DEFAULT_PORT = 3000


def main() -> None:
    """Replace this process by `dagster dev`."""
    os.chdir(PROJECT_ROOT)
    try:
        config = load_config()
        # The processes of Dagster inherit it.
        restrict_files(config)
        os.environ[HOME_VARIABLE] = str(prepare_home(config))
    except CSMError as error:
        sys.stderr.write(f"{clean(str(error))}\n")
        sys.exit(error.exit_status)
    port, others = _port_of(sys.argv[1:])
    if config.dagster_url is None:
        # Alerts of failed runs link to this UI.
        os.environ[ADDRESS_VARIABLE] = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    os.execv(sys.executable, [*command, *others])  # noqa: S606


def _port_of(arguments: Sequence[str]) -> tuple[int, list[str]]:
    """The port that the arguments name, else Dagster's own or a free one, and the other arguments."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-p", "--port", type=int)
    stated, others = parser.parse_known_args(arguments)
    if stated.port is not None:
        return stated.port, others
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", DEFAULT_PORT))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1], others


if __name__ == "__main__":
    main()
