"""The tables that alerts are evaluated in: those of the warehouse, or temporary ones for a rehearsal."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

PENDING, FIRING, RESOLVED = "pending", "firing", "resolved"
FIRED, REMINDER = "fired", "reminder"
_NAMES = ("alert_states", "alert_events", "alert_days", "alert_silences", "alert_digests", "alert_digest_lines")


@dataclass(frozen=True)
class AlertTables:
    """The schema of the tables of alerts."""

    schema: str

    @property
    def states(self) -> str:
        """The state of each rule and account."""
        return f"{self.schema}.alert_states"

    @property
    def events(self) -> str:
        """The changes of states."""
        return f"{self.schema}.alert_events"

    @property
    def days(self) -> str:
        """The evaluated days."""
        return f"{self.schema}.alert_days"

    @property
    def silences(self) -> str:
        """The silences of accounts."""
        return f"{self.schema}.alert_silences"

    @property
    def digests(self) -> str:
        """The digests with their outcomes."""
        return f"{self.schema}.alert_digests"

    @property
    def lines(self) -> str:
        """The lines of the digests."""
        return f"{self.schema}.alert_digest_lines"


LIVE = AlertTables("sync")


def rehearsal_tables(connection: duckdb.DuckDBPyConnection) -> AlertTables:
    """Create empty temporary tables of alerts; they end with the connection."""
    for name in _NAMES:
        connection.execute(f"create or replace temp table {name} as from sync.{name} limit 0")
    return AlertTables("temp")
