"""``run.sources`` and ``run.source_loads``: the configured sources, and when they were loaded, for SQL models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import duckdb

from csm_core.sources.settings_base import SourceSettings

TABLE = "run.sources"
LOADS_TABLE = "run.source_loads"


def settings_text(settings: SourceSettings) -> str:
    """The settings of a source as JSON text; equal settings have equal text."""
    return json.dumps(settings.model_dump(mode="json", by_alias=True), sort_keys=True)


def write_source_settings(
    connection: duckdb.DuckDBPyConnection, system: str, sources: Sequence[SourceSettings]
) -> None:
    """Write the sources of a system: ``system``, ``_source`` (the name in its records), ``settings`` (JSON)."""
    connection.execute(f"delete from {TABLE} where system = ?", [system])
    for source in sources:
        connection.execute(f"insert into {TABLE} values (?, ?, ?)", [system, source.label, settings_text(source)])


def record_source_load(connection: duckdb.DuckDBPyConnection, system: str, loaded_at: datetime) -> None:
    """Record that all sources of a system were loaded, also if they had no new records: until then nothing follows.

    Only with this time can a model conclude from a record that does not exist, such as a next subscription.
    """
    at = loaded_at.astimezone(UTC).replace(tzinfo=None)
    connection.execute(f"insert into {LOADS_TABLE} values (?, ?)", [system, at])
