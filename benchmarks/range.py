"""Runs a long and a short range in one run each: time and memory must grow linearly with the number of days.

A ratio above that of the days means that the cost per day grows with the length of the range. By default 90 and 30
days; every account has about 400 events in half a year and, with renewals spread over the year, a review that is due
within the range: ``--rows 3000000`` is 7,500 accounts. The short range is the end of the long one, in a warehouse in
the same state.
"""

import tempfile
from datetime import timedelta
from pathlib import Path

from benchmarks.measure import Measure
from benchmarks.runs import LAST_DAY, deliver, draw, settle

SHORT_DAYS = 30
LONG_DAYS = 90
HISTORY = 180
EVENTS_PER_ACCOUNT = 400


def run(rows: int) -> list[Measure]:
    """Run the last 30 and the last 90 days of a company with about ``rows`` events in half a year."""
    accounts = max(100, rows // EVENTS_PER_ACCOUNT)
    return ranges("range", accounts, rows, HISTORY, (SHORT_DAYS, LONG_DAYS))


def ranges(task: str, accounts: int, events: int, history: int, spans: tuple[int, int]) -> list[Measure]:
    """Run the last days of a company with ``history`` days: the shorter span, then the longer one."""
    shorter, longer = spans
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drawn = folder / "drawn"
        draw(drawn, accounts=accounts, days=history + 1, events=events)
        place = settle(drawn, folder / "place", history=history)
        deliver(drawn, place, LAST_DAY)
        # The records are loaded and staged before, so both runs only materialise days.
        place.run(LAST_DAY - timedelta(days=longer))
        place.keep()
        short = place.run(LAST_DAY - timedelta(days=shorter - 1), LAST_DAY)
        place.restore()
        long = place.run(LAST_DAY - timedelta(days=longer - 1), LAST_DAY)
    return [
        Measure(task, f"{days} days in one run", accounts * days, spent.seconds, ratio, None, spent.peak_megabytes)
        for days, spent, ratio in ((shorter, short, 1.0), (longer, long, long.seconds / short.seconds))
    ]
