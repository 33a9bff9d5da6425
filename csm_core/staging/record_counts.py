"""The counts of a vendor's records in a raw table, by outcome."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RecordCounts:
    """The records of one raw table by outcome.

    ``records`` = ``current`` + ``superseded`` + ``rejected`` + ``ignored``. Ignored records are of a kind that no model
    reads, such as events of other types.
    """

    table: str
    records: int
    current: int
    superseded: int
    rejected: int
    ignored: int

    @property
    def system(self) -> str:
        """The system of the records."""
        return self.table.removeprefix("raw.").partition("__")[0]
