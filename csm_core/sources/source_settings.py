"""``run.sources``: the configured sources and their settings, for the SQL that has to know them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import duckdb

from csm_core.sources.settings_base import SourceSettings

TABLE = "run.sources"


def settings_text(settings: SourceSettings) -> str:
    """What a source is told by its configuration, as JSON text; the same for the same settings."""
    return json.dumps(settings.model_dump(mode="json", by_alias=True), sort_keys=True)


def write_source_settings(
    connection: duckdb.DuckDBPyConnection, system: str, sources: Sequence[SourceSettings]
) -> None:
    """Write a system's sources: ``system``, ``_source`` (the name that its records carry), ``settings`` (JSON)."""
    connection.execute(f"delete from {TABLE} where system = ?", [system])
    for source in sources:
        connection.execute(f"insert into {TABLE} values (?, ?, ?)", [system, source.label, settings_text(source)])
