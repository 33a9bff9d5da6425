"""Runs a quarter and a year of many accounts in one run each: ``--rows 10000000`` is 10,000 accounts.

The ratio is 4.0 (the days: 365 and 91) if the cost of a day does not depend on the length of the range.
"""

from benchmarks.measure import Measure
from benchmarks.range import ranges

QUARTER_DAYS, YEAR_DAYS = 91, 365
HISTORY = 400
EVENTS_PER_ACCOUNT = 1_000


def run(rows: int) -> list[Measure]:
    """Run the last quarter and the last year of a company with about ``rows`` events in 400 days."""
    return ranges("year", max(100, rows // EVENTS_PER_ACCOUNT), rows, HISTORY, (QUARTER_DAYS, YEAR_DAYS))
