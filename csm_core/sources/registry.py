"""The source systems by name. A new vendor is a module here, its settings, and a folder under ``sql/staging``.

How to add one: docs/sources/writing-a-source.md.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import duckdb

from csm_core.errors import ConfigError
from csm_core.ingest.raw_tables import LoadResult, Log, RawTable
from csm_core.ingest.record_kinds import RecordKind
from csm_core.sources.delighted import DELIGHTED
from csm_core.sources.files import FilesSource
from csm_core.sources.hubspot import HUBSPOT
from csm_core.sources.postgres import PostgresSource
from csm_core.sources.ravenstack import RavenStackSource
from csm_core.sources.segment import SEGMENT
from csm_core.sources.spark import SparkSource
from csm_core.sources.stripe import STRIPE
from csm_core.sources.zendesk import ZENDESK
from csm_core.warehouse.remote_session import RemoteSession


class SourceSystem(Protocol):
    """A source system: loads the records of one vendor into raw tables."""

    @property
    def name(self) -> str:
        """The name of the system under ``sources:`` and of its folder of staging models."""
        ...

    @property
    def raw_tables(self) -> tuple[RawTable, ...]:
        """The raw tables that the system fills."""
        ...

    def check(self, settings: Any) -> str:
        """Check that a source can be read, without loading it; return one line for `csm doctor`.

        Raises ConfigError or SourceError for problems that must be fixed, SourceUnavailableError for temporary ones.
        """
        ...

    def load(
        self,
        connection: duckdb.DuckDBPyConnection,
        sources: Sequence[Any],
        *,
        loaded_at: datetime,
        folder: Path,
        log: Log,
    ) -> list[LoadResult]:
        """Load the new records of all sources of the system into the raw tables, all or none.

        ``sources`` are settings of the system. ``folder`` is for fetched files; it is kept between runs. Returns one
        result per raw table.
        """
        ...


_SYSTEMS: dict[str, SourceSystem] = {
    system.name: system
    for system in (
        FilesSource(),
        RavenStackSource(),
        PostgresSource(),
        SparkSource(),
        STRIPE,
        ZENDESK,
        SEGMENT,
        HUBSPOT,
        DELIGHTED,
    )
}


def record_kinds(name: str) -> tuple[RecordKind, ...]:
    """The kinds of records of a system; empty if its models read the columns of its raw tables."""
    return tuple(getattr(_SYSTEMS.get(name), "kinds", ()))


def system_names() -> tuple[str, ...]:
    """The names of all systems."""
    return tuple(_SYSTEMS)


def get_system(name: str, open_session: Callable[[], RemoteSession] | None = None) -> SourceSystem:
    """The system with this name. Raises ConfigError, with the most similar name, for an unknown one.

    ``open_session`` returns the session of the engine, for a system that reads with it.
    """
    if name in _SYSTEMS:
        system = _SYSTEMS[name]
        return SparkSource(open_session) if open_session and isinstance(system, SparkSource) else system
    near = difflib.get_close_matches(name, _SYSTEMS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known systems: {', '.join(_SYSTEMS)}"
    message = f"sources: unknown system {name!r}; {hint}"
    raise ConfigError(message)
