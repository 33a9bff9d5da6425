"""The one partitioning: a calendar day in UTC, from the configured start."""

from datetime import date

import dagster as dg


def daily(start: date) -> dg.DailyPartitionsDefinition:
    """Days from ``start`` to today; today's is there because quarterly reviews are made on the quarter's first day."""
    return dg.DailyPartitionsDefinition(start_date=start.isoformat(), timezone="UTC", end_offset=1)
