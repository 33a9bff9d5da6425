"""The days of usage events that another engine has validated and keeps: their number and a checksum of each day.

``run.engine_usage_days`` answers when usage began without a query of the engine; the staged table of the warehouse has
no events then.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import duckdb

from csm_core.contract import USAGE_EVENTS, Entity
from csm_core.warehouse.catalog import has_rows, table_exists

USAGE_DAYS = "run.engine_usage_days"


@dataclass(frozen=True)
class DayContent:
    """The number of events of a day, and the sum of their hashes."""

    events: int
    content: int


def stored_days(connection: duckdb.DuckDBPyConnection) -> dict[date | None, DayContent]:
    """Return the days of the engine's usage events; None is the state of the events that are not loaded."""
    rows = connection.execute(f"select usage_date, events, content from {USAGE_DAYS}").fetchall()
    return {day: DayContent(events, int(content)) for day, events, content in rows}


def dates_of(connection: duckdb.DuckDBPyConnection, entity: Entity) -> str:
    """Return a relation with the column that dates an entity's staged records, wherever they are."""
    if entity.name != USAGE_EVENTS or not table_exists(connection, USAGE_DAYS) or not has_rows(connection, USAGE_DAYS):
        return entity.table
    dated_by = entity.dated_by.name
    return f"(select cast(usage_date as timestamp) as {dated_by} from {USAGE_DAYS} where usage_date is not null)"
