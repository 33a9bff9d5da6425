"""Runs 90 days and 30 days in one run each: time and memory must grow linearly with the number of days.

A ratio above 3 means that the cost per day grows with the length of the range. Every account has about 400 events and,
with renewals spread over the year, a review that is due within the range: ``--rows 3000000`` is 7,500 accounts. The 30
days are the last of the 90 days, in a warehouse in the same state.
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
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drawn = folder / "drawn"
        draw(drawn, accounts=accounts, days=HISTORY + 1, events=rows)
        place = settle(drawn, folder / "place", history=HISTORY)
        deliver(drawn, place, LAST_DAY)
        # The records are loaded and staged before, so both runs only materialise days.
        place.run(LAST_DAY - timedelta(days=LONG_DAYS))
        place.keep()
        short = place.run(LAST_DAY - timedelta(days=SHORT_DAYS - 1), LAST_DAY)
        place.restore()
        long = place.run(LAST_DAY - timedelta(days=LONG_DAYS - 1), LAST_DAY)
    return [
        Measure("range", f"{days} days in one run", accounts * days, spent.seconds, ratio, None, spent.peak_megabytes)
        for days, spent, ratio in (
            (SHORT_DAYS, short, 1.0),
            (LONG_DAYS, long, long.seconds / short.seconds),
        )
    ]
