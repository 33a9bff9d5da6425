"""Stores the settings that affect scores by their hash, as ``config_hash`` of the scores names them."""

from __future__ import annotations

from datetime import datetime

import duckdb

from csm_core.config import Config

CONFIGURATIONS = "run.configurations"


def store_configuration(connection: duckdb.DuckDBPyConnection, config: Config, at: datetime) -> None:
    """Store the settings of a configuration, unless they are stored; ``at`` is a UTC time."""
    connection.execute(
        f"insert into {CONFIGURATIONS} select $hash, $settings, cast($at as timestamp) "
        f"where $hash not in (select config_hash from {CONFIGURATIONS})",
        {"hash": config.config_hash, "settings": config.scored_settings, "at": at.replace(tzinfo=None)},
    )
