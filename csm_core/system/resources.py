"""Limits of the memory and threads for DuckDB. Values beyond these make DuckDB fail or end the process."""

from __future__ import annotations

import re

MAX_THREADS = 1024
MIN_MEMORY_BYTES = 16 * 1024**2
MAX_MEMORY_BYTES = 1024**5
_UNITS = {
    **{unit: 1000**power for power, unit in enumerate(("KB", "MB", "GB", "TB"), start=1)},
    **{unit: 1024**power for power, unit in enumerate(("KiB", "MiB", "GiB", "TiB"), start=1)},
}
_MEMORY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([KMGT]i?B)\Z")


def checked_memory(value: str) -> str:
    """Return ``value``, an amount of memory such as 4GB. Raises ValueError for anything else."""
    found = _MEMORY.match(value)
    if not found:
        message = f"expected a number and a unit ({', '.join(_UNITS)}), such as 4GB"
        raise ValueError(message)
    if not MIN_MEMORY_BYTES <= float(found[1]) * _UNITS[found[2]] <= MAX_MEMORY_BYTES:
        message = "expected at least 16MiB and at most 1024TiB"
        raise ValueError(message)
    return value
