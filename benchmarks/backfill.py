"""Scores 90 days in one run, compared with 90 runs of one day: ``csm run --from A --to B`` against ``--as-of D``.

The records are loaded and staged beforehand in both cases, so that what is measured is the materialising of days. Of
the ninety single runs ``SINGLES`` are run, spread over the range, and multiplied: the others would only take time.
"""

import tempfile
from datetime import timedelta
from pathlib import Path

from benchmarks.measure import Measure
from benchmarks.runs import LAST_DAY, deliver, draw, settle

DAYS = 90
SINGLES = 10
HISTORY = 180
EVENTS_PER_ACCOUNT = 500


def run(rows: int) -> list[Measure]:
    """Backfill 90 days of a company with about ``rows`` events in half a year."""
    accounts = max(100, rows // EVENTS_PER_ACCOUNT)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drawn = folder / "drawn"
        draw(drawn, accounts=accounts, days=HISTORY + 1, events=rows)
        place = settle(drawn, folder / "place", history=HISTORY)
        deliver(drawn, place, LAST_DAY)
        first = LAST_DAY - timedelta(days=DAYS - 1)
        place.run(first - timedelta(days=1))
        place.keep()
        step = DAYS // SINGLES
        singles = [place.run(first + timedelta(days=number * step)) for number in range(SINGLES)]
        place.restore()
        whole = place.run(first, LAST_DAY)
    days = accounts * DAYS
    measures: list[Measure] = []
    for way, once, each in (
        ("on the clock", whole.seconds, sum(one.seconds for one in singles)),
        ("processor", whole.processor, sum(one.processor for one in singles)),
    ):
        many = each * DAYS / SINGLES
        measures.append(Measure("backfill", f"{DAYS} days in one run, {way}", days, once, 1.0))
        measures.append(Measure("backfill", f"{DAYS} runs ({SINGLES} × {step}), {way}", days, many, many / once))
    return measures
