"""Loads the definitions in a new interpreter, without a configuration, compared with ``import dagster`` alone.

Processor time of the whole interpreter, the median of several; the two take turns, so that both meet the same machine.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile

from benchmarks.measure import Measure
from csm_core.config import ENVIRONMENT_PREFIX, PROJECT_ROOT

TURNS = 7
FLOOR, DEFINITIONS = "import dagster", "from pipelines.definitions import defs; defs()"


def run(_rows: int) -> list[Measure]:
    """Start both several times; ``rows`` counts the interpreters of each."""
    with tempfile.TemporaryDirectory() as folder:
        turns = [(_processor_seconds(FLOOR, folder), _processor_seconds(DEFINITIONS, folder)) for _ in range(TURNS)]
    floor, definitions = (statistics.median(one) for one in zip(*turns, strict=True))
    return [
        Measure("start", "floor: import dagster", TURNS, floor, 1.0),
        Measure("start", "definitions", TURNS, definitions, definitions / floor),
    ]


def _processor_seconds(code: str, folder: str) -> float:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=folder,
        env={**environment, "PYTHONPATH": str(PROJECT_ROOT)},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
