"""``run.sources``: the configured sources and their settings, for SQL models that use them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import duckdb

from csm_core.sources.settings_base import SourceSettings

TABLE = "run.sources"


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
