"""Runs one day on histories of different lengths: ``csm run --as-of D --no-publish`` in a separate process.

The same day of the same company is loaded and scored with 30, 60 and 365 days of history; the ratio is relative to 60
days. The variants alternate, each starting with the state before the day. ``rows`` is the number of events per year.
"""

import tempfile
from datetime import timedelta
from pathlib import Path

from benchmarks.measure import Measure
from benchmarks.runs import LAST_DAY, Spent, deliver, draw, settle, start_up

HISTORIES = (30, 60, 365)
AGAINST = 60
REPEATS = 3
EVENTS_PER_ACCOUNT = 1000


def run(rows: int) -> list[Measure]:
    """Run the last day of a company with about ``rows`` events a year on each history."""
    accounts = max(100, rows // EVENTS_PER_ACCOUNT)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drawn = folder / "drawn"
        draw(drawn, accounts=accounts, days=max(HISTORIES) + 1, events=rows)
        places = {history: settle(drawn, folder / f"{history}", history=history) for history in HISTORIES}
        for history, place in places.items():
            place.run(LAST_DAY - timedelta(days=history), LAST_DAY - timedelta(days=1))
            deliver(drawn, place, LAST_DAY)
            place.keep()
        spent: dict[int, list[Spent]] = {history: [] for history in HISTORIES}
        starts: list[Spent] = []
        for _ in range(REPEATS):
            starts.append(start_up())
            for history, place in places.items():
                place.restore()
                spent[history].append(place.run(LAST_DAY))
    starting = min(one.processor for one in starts)
    measures = [Measure("day", "start-up alone", 0, min(one.seconds for one in starts), 0.0)]
    of_clock = {history: min(one.seconds for one in found) for history, found in spent.items()}
    of_processor = {history: min(one.processor for one in found) for history, found in spent.items()}
    without = {history: seconds - starting for history, seconds in of_processor.items()}
    for way, found in (
        ("on the clock", of_clock),
        ("processor", of_processor),
        ("processor, without start-up", without),
    ):
        measures += [
            Measure("day", f"{history} days of history, {way}", accounts, seconds, seconds / found[AGAINST])
            for history, seconds in found.items()
        ]
    return measures
