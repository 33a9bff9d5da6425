"""The peak memory and duration of a run that loads, stages and rolls up events with a ``memory_limit``.

``csm run`` loads the whole usage of a company in a separate process: 100 million events with a limit of 4 GB with
``python -m benchmarks --rows 100000000 memory`` (needs 16 GB of disk in ``TMPDIR``). The limit applies only to DuckDB;
Python and Dagster use about 400 MB more. The ratio is the peak divided by the limit.
"""

import tempfile
from pathlib import Path

from benchmarks.measure import Measure
from benchmarks.runs import LAST_DAY, deliver, draw, settle
from csm_core.contract import ENTITIES

DAYS = 275
EVENTS_PER_ACCOUNT = 10_000
LIMIT_MEGABYTES = 4000
# Raw, staging and the roll-ups: all assets that process every event.
SELECTED = (
    *(f"raw_files__{entity}" for entity in ENTITIES),
    *("stg_accounts", "stg_usage_events", "int_usage_daily", "int_usage_daily_accounts"),
)


def run(rows: int) -> list[Measure]:
    """Load about ``rows`` events; below 100 million events, the limit is proportionally smaller."""
    limit = max(400, min(LIMIT_MEGABYTES, rows * LIMIT_MEGABYTES // 100_000_000))
    accounts = max(100, rows // EVENTS_PER_ACCOUNT)
    with tempfile.TemporaryDirectory() as name:
        drawn = Path(name) / "drawn"
        events = draw(drawn, accounts=accounts, days=DAYS, events=rows)
        place = settle(drawn, Path(name) / "place", history=DAYS - 1, memory_limit=f"{limit}MB")
        deliver(drawn, place, LAST_DAY)
        spent = place.run(LAST_DAY, select=SELECTED)
    way = f"peak {spent.peak_megabytes:,.0f} MB under {limit:,} MB"
    return [Measure("memory", way, events, spent.seconds, spent.peak_megabytes / limit)]
