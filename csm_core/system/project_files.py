"""Where the files of the project are: beside ``csm_core`` in a clone, within it in an installed wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
# setup.py copies the files there when it builds a wheel.
_BUNDLED = _PACKAGE / "bundled"

PROJECT_FILES = _BUNDLED if _BUNDLED.is_dir() else _PACKAGE.parent
"""The folder with ``sql``, ``examples``, ``dagster.yaml`` and ``workspace.yaml``, which are only read."""

PROJECT_ROOT = Path.cwd() if _BUNDLED.is_dir() else _PACKAGE.parent
"""The folder under which ``data`` is made by default: the clone, or the current folder of an installed wheel."""
