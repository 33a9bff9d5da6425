"""The local Notion as publishing uses it, where there is no token: the only module that imports it."""

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
    """The local Notion over the file ``path``, not started yet; ``port`` 0 takes any free port of loopback."""
    # Publishing to a workspace needs none of the server's libraries.
    from csm_core.notion_sandbox.server import SandboxServer

    return SandboxServer(path, port)
