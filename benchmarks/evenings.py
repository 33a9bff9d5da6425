"""Runs days one by one as a process, with whichever version of csm-health is on its path; it imports nothing else.

The argument is a configuration file; ``DAGSTER_HOME`` is a folder. Each line of the input is the first day, the last
day and the UTC time of a run; the answer is a line with its wall-clock and processor seconds. The first answer, when
the process is ready, has the processor seconds of its start.
"""

import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path

from csm_core.config import load_config
from pipelines.run import run_days

ANSWER = "took"


def main() -> None:
    """Run the days of the input."""
    settings = Path(sys.argv[1])
    print(ANSWER, 0.0, time.process_time(), flush=True)
    for line in sys.stdin:
        first, last, at = line.split()
        now = datetime.fromisoformat(at).replace(tzinfo=UTC)
        started, processor = time.perf_counter(), time.process_time()
        outcome = run_days(
            load_config(settings, {}),
            (date.fromisoformat(first), date.fromisoformat(last)),
            publish=False,
            clock=lambda now=now: now,
        )
        if not outcome.succeeded:
            sys.exit(f"the run of {first} to {last} failed: {outcome}")
        print(ANSWER, time.perf_counter() - started, time.process_time() - processor, flush=True)


if __name__ == "__main__":
    main()
