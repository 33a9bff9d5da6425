"""Which days of the marts the published copy does not hold yet, and the checksum of that copy.

Every mart that is built notes its days here, in the transaction that builds them. What a copy with another checksum
lacks is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import duckdb

COPIED_LAYER = "marts"

_PREPARE = """
    create table if not exists run.uncopied (mart varchar not null, first_date date, last_date date);
    create table if not exists run.published_copy (checksum varchar not null);
    drop table if exists run.copied;
"""


@dataclass(frozen=True)
class Uncopied:
    """What a mart has that the copy has not: spans of days, both included, or (``whole``) everything."""

    spans: tuple[tuple[date, date], ...] = ()
    whole: bool = False


def note_uncopied(connection: duckdb.DuckDBPyConnection, mart: str, days: tuple[date, date] | None) -> None:
    """Note that days of a mart (None: the whole of it) have been built since it was copied."""
    connection.execute(_PREPARE)
    first, last = days or (None, None)
    connection.execute(
        "insert into run.uncopied select $mart, $first, $last where not exists (select 1 from run.uncopied "
        "where mart = $mart and first_date is not distinct from $first and last_date is not distinct from $last)",
        {"mart": mart, "first": first, "last": last},
    )


def copied_checksum(connection: duckdb.DuckDBPyConnection) -> str | None:
    """The checksum of the file that was published last; None if there is none, or an earlier version wrote it."""
    connection.execute(_PREPARE)
    row = connection.execute("select checksum from run.published_copy").fetchone()
    return row[0] if row else None


def uncopied(connection: duckdb.DuckDBPyConnection) -> dict[str, Uncopied]:
    """By mart, what the copy that was published last lacks."""
    connection.execute(_PREPARE)
    found: dict[str, Uncopied] = {}
    for mart, first, last in connection.execute("from run.uncopied order by all").fetchall():
        spans = found.get(mart, Uncopied()).spans
        whole = first is None or found.get(mart, Uncopied()).whole
        found[mart] = Uncopied(spans if first is None else (*spans, (first, last)), whole)
    return found


def forget_uncopied(connection: duckdb.DuckDBPyConnection, checksum: str) -> None:
    """Note that the copy with this checksum holds everything that there is now."""
    connection.execute("delete from run.uncopied")
    connection.execute("delete from run.published_copy")
    connection.execute("insert into run.published_copy values (?)", [checksum])
