"""Timing and reporting shared by the benchmarks: seconds, rows per second, ratio to the floor, peak memory."""

import json
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from csm_core.system.text_table import text_table


@dataclass(frozen=True)
class Measure:
    """One variant of a task; ``ratio`` is relative to the floor of the same run.

    ``peak_megabytes`` is the most memory that a process doing only this held, ``held_megabytes`` what it held when it
    began, its input among it; ``file_megabytes`` is the size of what it wrote; None where that was not measured.
    """

    task: str
    way: str
    rows: int
    seconds: float
    ratio: float
    held_megabytes: float | None = None
    peak_megabytes: float | None = None
    file_megabytes: float | None = None

    @property
    def rows_per_second(self) -> float:
        """Rows per second."""
        return self.rows / self.seconds if self.seconds else 0.0


def timed(work: Callable[[], object]) -> float:
    """The duration of ``work`` in seconds."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def peak_megabytes() -> float:
    """The peak memory of this process in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table(measures: list[Measure]) -> str:
    """The measures as a text table."""
    rows = [("task", "way", "rows", "seconds", "rows/s", "ratio", "held MB", "peak MB", "file MB")]
    rows += [
        (
            one.task,
            one.way,
            f"{one.rows:,}",
            f"{one.seconds:.2f}",
            f"{one.rows_per_second:,.0f}",
            f"{one.ratio:.2f}",
            _whole(one.held_megabytes),
            _whole(one.peak_megabytes),
            "" if one.file_megabytes is None else f"{one.file_megabytes:,.1f}",
        )
        for one in measures
    ]
    lines = text_table(rows, right=range(2, 9))
    return "\n".join([*lines, f"peak memory {peak_megabytes():,.0f} MB"])


def _whole(number: float | None) -> str:
    return "" if number is None else f"{number:,.0f}"


def write_json(measures: list[Measure], path: Path) -> None:
    """Write the measures as JSON."""
    entries = [{**asdict(one), "rows_per_second": one.rows_per_second} for one in measures]
    path.write_text(json.dumps({"measures": entries, "peak_megabytes": peak_megabytes()}, indent=2), encoding="utf-8")
