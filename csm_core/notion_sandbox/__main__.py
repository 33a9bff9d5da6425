"""``python -m csm_core.notion_sandbox --file F --port P``: serve until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from csm_core.errors import CSMError, InputError
from csm_core.notion_sandbox.address import DEFAULT_PORT, SANDBOX_FILE
from csm_core.notion_sandbox.server import SandboxServer
from csm_core.system.paths import checked_path, shown


def main(arguments: list[str] | None = None) -> int:
    """Print the address, then serve; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m csm_core.notion_sandbox", description="Run a Notion sandbox on loopback."
    )
    parser.add_argument("--file", type=Path, default=Path("data") / SANDBOX_FILE, help="file of the workspace")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 for any free port")
    options = parser.parse_args(arguments)
    try:
        server = SandboxServer(checked_path(options.file), options.port)
    except ValueError as problem:
        sys.stderr.write(f"--file: {problem} (found {shown(str(options.file))})\n")
        return InputError.exit_status
    except CSMError as problem:
        sys.stderr.write(f"{problem}\n")
        return problem.exit_status
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
