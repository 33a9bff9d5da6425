"""A Notion of one's own on loopback: the API's shapes, limits and errors over a file, and its pages in a browser.

Not here: the client and what it publishes (``csm_core.notion``). See https://developers.notion.com/reference/intro.
"""

from __future__ import annotations

from csm_core.notion.sandbox.faults import KINDS, Fault, Faults
from csm_core.notion.sandbox.server import (
    DEFAULT_PORT,
    DEFAULT_VIEW_ADDRESS,
    SANDBOX_FILE,
    SANDBOX_TOKEN,
    SandboxServer,
    ensure_sandbox,
)
from csm_core.notion.sandbox.service import Request

__all__ = [
    "DEFAULT_PORT",
    "DEFAULT_VIEW_ADDRESS",
    "KINDS",
    "SANDBOX_FILE",
    "SANDBOX_TOKEN",
    "Fault",
    "Faults",
    "Request",
    "SandboxServer",
    "ensure_sandbox",
]
