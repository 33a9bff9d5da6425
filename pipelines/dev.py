"""`make dev`: the Dagster UI on the configuration at hand, with the same instance as `csm run`."""

import os
import sys

from csm_core.config import PROJECT_ROOT, load_config
from csm_core.errors import CSMError
from csm_core.file_access import restrict_files
from csm_core.terminal import clean
from pipelines.instance import HOME_VARIABLE, prepare_home


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
    command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", *sys.argv[1:]]
    os.execv(sys.executable, command)  # noqa: S606


if __name__ == "__main__":
    main()
