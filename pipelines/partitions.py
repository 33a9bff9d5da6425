"""The partitions: calendar days in UTC, from the configured start."""

from datetime import date

import dagster as dg


def daily(start: date) -> dg.DailyPartitionsDefinition:
    """Days from ``start`` to yesterday in UTC: a day that has not ended can be neither scored nor published."""
    return dg.DailyPartitionsDefinition(start_date=start.isoformat(), timezone="UTC")
