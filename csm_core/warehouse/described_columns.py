"""The columns of marts that settings name, checked when a configuration is read."""

from __future__ import annotations

import difflib

from csm_core.warehouse.models import load_models

HEALTH_LAST = "csm_health_last"
"""The mart with the latest row of each account."""


def require_column(mart: str, column: str, setting: str) -> str:
    """Return ``column`` if the mart has it. Raises ValueError with the setting and similar columns otherwise."""
    columns = list(load_models("marts")[mart].columns)
    if column in columns:
        return column
    near = difflib.get_close_matches(column, columns, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "docs/marts.md lists the columns"
    message = f"{setting}: marts.{mart} has no column {column[:100]!r}; {hint}"
    raise ValueError(message)
