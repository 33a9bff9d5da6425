"""Locates the project files: beside ``csm_core`` in a clone, inside it in an installed wheel."""

import shlex
import sys
from importlib.metadata import requires
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
# setup.py copies the files into this folder when it builds a wheel.
_BUNDLED = _PACKAGE / "bundled"

PROJECT_FILES = _BUNDLED if _BUNDLED.is_dir() else _PACKAGE.parent
"""The folder with ``sql``, ``examples``, ``dagster.yaml``, ``workspace.yaml`` and ``docs/glossary.md``; read-only."""

PROJECT_ROOT = Path.cwd() if _BUNDLED.is_dir() else _PACKAGE.parent
"""The folder in which ``data`` is created by default: the clone, or the current folder of an installed wheel."""


def extra_missing(purpose: str, extra: str) -> str:
    """Return the message for an extra that is not installed, with the command that installs it."""
    if not _BUNDLED.is_dir():
        command = f"`make setup-server` in {PROJECT_ROOT}"
    else:
        packages = [one for one in requires("csm-health") or () if f'extra == "{extra}"' in one.replace("'", '"')]
        quoted = " ".join(shlex.quote(one.partition(";")[0].strip()) for one in packages)
        command = f"`{shlex.quote(sys.executable)} -m pip install {quoted}`"
    return f"{purpose} needs the extra `{extra}`, which is not installed. Install it with {command}."
