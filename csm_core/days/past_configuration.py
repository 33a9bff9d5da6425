"""Finds the configuration with which a day was scored, as known at a time, in ``run.configurations``."""

from __future__ import annotations

import json
from datetime import date, datetime

import duckdb

from csm_core.config import Config
from csm_core.errors import InputError
from csm_core.scoring.as_known import as_known_sql
from csm_core.scoring.configurations import CONFIGURATIONS


def configuration_of(connection: duckdb.DuckDBPyConnection, config: Config, day: date, known_at: datetime) -> Config:
    """Return the configuration with which a day was scored, as known at a UTC time.

    The settings that affect scores are those of the time; all others are those of ``config``. Raises InputError if no
    score of the day was known then, or if its configuration is not stored.
    """
    rows = connection.execute(
        # A row that was superseded later still has the configuration of the time.
        "select config_hash, count(*) as accounts, count(known_to) as superseded "
        f"from ({as_known_sql(connection, '$known_at')}) where as_of_date = $day "
        "group by config_hash order by superseded > 0 desc, accounts desc, config_hash limit 1",
        {"known_at": known_at, "day": day},
    ).fetchone()
    if rows is None:
        message = (
            f"no score of {day} was known at {known_at:%Y-%m-%d %H:%M:%S} UTC. Choose a later time, or another day."
        )
        raise InputError(message)
    stored = connection.execute(f"select settings from {CONFIGURATIONS} where config_hash = ?", [rows[0]]).fetchone()
    if stored is None:
        message = (
            f"the configuration {rows[0]} of {day} is not stored: an earlier version of csm-health scored that day. "
            f"Run csm run --as-of {day} once; later replays of it work."
        )
        raise InputError(message)
    fresh = Config.model_validate(
        {**json.loads(stored[0]), "sources": config.sources, "partitions_start": config.partitions_start}
    )
    return config.model_copy(update={"signals": fresh.signals, "policies": fresh.policies})
