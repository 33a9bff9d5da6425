"""Which days of the marts the published copy does not hold yet, and which copy it is that lacks them.

Every mart that is built notes its days here, in the transaction that builds them. The copy carries a token that the
warehouse knows; a copy with another token is of another warehouse, or of a publishing that was interrupted, and what it
lacks is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import duckdb

COPIED_LAYER = "marts"

_PREPARE = """
    create table if not exists run.uncopied (mart varchar not null, first_date date, last_date date);
    create table if not exists run.copied (token varchar not null)
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


def uncopied(connection: duckdb.DuckDBPyConnection, token: str | None) -> dict[str, Uncopied] | None:
    """By mart, what the copy with this token lacks; None where that is not known, and everything has to be copied."""
    connection.execute(_PREPARE)
    known = connection.execute("select token from run.copied").fetchone()
    if token is None or known is None or known[0] != token:
        return None
    found: dict[str, Uncopied] = {}
    for mart, first, last in connection.execute("from run.uncopied order by all").fetchall():
        spans = found.get(mart, Uncopied()).spans
        whole = first is None or found.get(mart, Uncopied()).whole
        found[mart] = Uncopied(spans if first is None else (*spans, (first, last)), whole)
    return found


def forget_uncopied(connection: duckdb.DuckDBPyConnection, token: str) -> None:
    """Note that the copy with this token holds everything that there is now."""
    connection.execute("delete from run.uncopied")
    connection.execute("delete from run.copied")
    connection.execute("insert into run.copied values (?)", [token])
