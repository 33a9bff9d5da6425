"""The interface to the local Notion, which publishing uses without a token. No other module imports the sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from csm_core.notion_sandbox.address import DEFAULT_PORT as DEFAULT_PORT
from csm_core.notion_sandbox.address import DEFAULT_VIEW_ADDRESS as DEFAULT_VIEW_ADDRESS
from csm_core.notion_sandbox.address import SANDBOX_FILE as SANDBOX_FILE
from csm_core.notion_sandbox.address import SANDBOX_TOKEN as SANDBOX_TOKEN

if TYPE_CHECKING:
    from csm_core.notion_sandbox.server import SandboxServer


def new_sandbox(path: Path, port: int = 0) -> SandboxServer:
    """Create a local Notion with its pages in the file ``path``, not started; ``port`` 0 selects any free port."""
    # Imported here because publishing to a real workspace does not need the libraries of the server.
    from csm_core.notion_sandbox.server import SandboxServer

    return SandboxServer(path, port)
