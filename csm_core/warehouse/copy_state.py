"""Tracks the days of marts that changed since the published copy was written, and the checksum of that copy.

``run.changed_marts`` lists the days built for each mart; the transaction that builds a mart writes them. For a copy
with another checksum, the missing days are unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import duckdb

COPIED_LAYER = "marts"


@dataclass(frozen=True)
class MartChanges:
    """The changes of a mart since it was copied: inclusive spans of days, or (``whole``) the whole table."""

    spans: tuple[tuple[date, date], ...] = ()
    whole: bool = False


def mark_changed(connection: duckdb.DuckDBPyConnection, mart: str, days: tuple[date, date] | None) -> None:
    """Record that days of a mart (None: the whole table) changed since it was copied."""
    first, last = days or (None, None)
    connection.execute(
        "insert into run.changed_marts select $mart, $first, $last where not exists (select 1 from run.changed_marts "
        "where mart = $mart and first_date is not distinct from $first and last_date is not distinct from $last)",
        {"mart": mart, "first": first, "last": last},
    )


def mark_all_changed(
    connection: duckdb.DuckDBPyConnection, marts: Sequence[str], spans: Sequence[tuple[date, date]]
) -> None:
    """Record that these days of each of the marts changed since they were copied, in one statement."""
    connection.execute(
        """
        insert into run.changed_marts
        with spans as (
            select unnest(cast($firsts as date[])) as first_date, unnest(cast($lasts as date[])) as last_date
        )
        select marts.mart, spans.first_date, spans.last_date
        from (select unnest(cast($marts as varchar[])) as mart) as marts
        cross join spans
        where not exists (
            select 1 from run.changed_marts as known
            where known.mart = marts.mart
                and known.first_date is not distinct from spans.first_date
                and known.last_date is not distinct from spans.last_date
        )
        order by all
        """,
        {"marts": list(marts), "firsts": [first for first, _ in spans], "lasts": [last for _, last in spans]},
    )


def copied_checksum(connection: duckdb.DuckDBPyConnection) -> str | None:
    """Return the checksum of the latest published copy; None without a copy, or if an earlier version wrote it."""
    row = connection.execute("select checksum from run.published_copy").fetchone()
    return row[0] if row else None


def changed_since_copy(connection: duckdb.DuckDBPyConnection) -> dict[str, MartChanges]:
    """Return the changes since the latest copy was published, by mart."""
    changes: dict[str, MartChanges] = {}
    for mart, first, last in connection.execute("from run.changed_marts order by all").fetchall():
        spans = changes.get(mart, MartChanges()).spans
        whole = first is None or changes.get(mart, MartChanges()).whole
        changes[mart] = MartChanges(spans if first is None else (*spans, (first, last)), whole)
    return changes


def mark_copied(connection: duckdb.DuckDBPyConnection, checksum: str) -> None:
    """Record that the copy with this checksum has the current state of every mart."""
    connection.execute("delete from run.changed_marts")
    connection.execute("delete from run.published_copy")
    connection.execute("insert into run.published_copy values (?)", [checksum])
