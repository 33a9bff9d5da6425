"""The scores as they were known at a time: a SELECT, and the table macro of the published copy."""

from __future__ import annotations

import duckdb

from csm_core.scoring.known_scores import KEYS, SCORES, SIGNALS, SUPERSEDED
from csm_core.warehouse.catalog import columns_of, table_exists
from csm_core.warehouse.models import literal

AS_KNOWN = "csm_health_as_known"
_DESCRIPTION = (
    "The rows of csm_health_signals and csm_health_scores as they were known at a time (UTC), with superseded rows. "
    "known_to is null for rows that are still known."
)


def is_dated(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether a database states since when scores are known; a copy of an earlier version does not."""
    return all(
        table_exists(connection, table) and "known_from" in columns_of(connection, table)
        for table in (SIGNALS, SCORES, SUPERSEDED)
    )


def as_known_sql(connection: duckdb.DuckDBPyConnection, moment: str) -> str:
    """Return a SELECT of the rows of signals and scores that were known at ``moment``, a SQL expression of a time."""
    signals = [name for name in columns_of(connection, SIGNALS) if name != "known_from"]
    scores = [name for name in columns_of(connection, SCORES) if name not in KEYS]
    stored = columns_of(connection, SUPERSEDED)
    current = ", ".join([*(f"signals.{name}" for name in signals), *(f"scores.{name}" for name in scores)])
    superseded = ", ".join(name if name in stored else f"null as {name}" for name in (*signals, *scores))
    return (
        f"select {current}, cast(null as timestamp) as known_to from {SIGNALS} as signals "
        f"inner join {SCORES} as scores on signals.account_id = scores.account_id "
        f"and signals.as_of_date = scores.as_of_date where scores.known_from <= {moment} "
        f"union all select {superseded}, known_to from {SUPERSEDED} "
        f"where known_from <= {moment} and {moment} < known_to"
    )


def create_as_known(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the table macro in a copy of the marts, unless the copy has no dated scores."""
    if is_dated(connection):
        select = as_known_sql(connection, "cast(moment as timestamp)")
        connection.execute(f"create or replace macro {AS_KNOWN}(moment) as table {select}")
        connection.execute(f"comment on macro table {AS_KNOWN} is {literal(_DESCRIPTION)}")
