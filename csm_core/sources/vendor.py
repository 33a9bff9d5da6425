"""The source class of most vendors: files of records, tables that another tool lands in a warehouse, or an API.

It loads records into raw tables: records of files and of the API by their kind, landed tables as snapshots. The models
in ``sql/staging/<system>`` map the records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import duckdb

from csm_core.errors import SourceError
from csm_core.ingest.file_columns import require_files
from csm_core.ingest.loader import load_tables
from csm_core.ingest.raw_tables import JsonText, LoadResult, Log, Opened, RawTable
from csm_core.ingest.record_kinds import RecordKind
from csm_core.sources.files import source_folder
from csm_core.sources.landed_tables import files_of, found_tables, landed_files, require_landed
from csm_core.sources.pull import Stream, pull, pulled_files
from csm_core.sources.settings import SegmentTables
from csm_core.sources.settings_base import LandedTables


class Derived(Protocol):
    """Records that Python code derives from a vendor's records, once, and that are then loaded like them."""

    @property
    def table(self) -> RawTable:
        """The raw table of the derived records."""
        ...

    def check(self, settings: Any) -> None:
        """Raise ConfigError if the settings cannot be applied."""
        ...

    def files(self, connection: duckdb.DuckDBPyConnection, settings: Any, folder: Path, log: Log) -> list[Path]:
        """Process new raw records of a source; return all files of derived records below ``folder``."""
        ...


@dataclass(frozen=True)
class VendorSource:
    """One source system.

    ``records``, ``airbyte``, ``fivetran`` and ``own`` (tables that the vendor itself lands) map table names to the
    entity for which unparseable lines are counted. At least one table of ``needed`` must exist.

    ``reach`` checks the API with the settings of a source; ``stream`` creates the stream of a pull, with ``pages``
    pages per package. ``required`` and ``opened`` apply to the raw tables; ``landed_required`` has the required columns
    of a landed table by its raw table, if they differ from those of its kind. ``json_texts`` lists objects that may be
    JSON text, by raw table. ``derived`` is computed from raw records. ``kinds`` declare the parts of records that
    staging models read.
    """

    name: str
    records: Mapping[str, str]
    needed: tuple[str, ...]
    reach: Callable[[Any], str] | None = None
    stream: Callable[[Any], Stream] | None = None
    airbyte: Mapping[str, str] = field(default_factory=dict[str, str])
    fivetran: Mapping[str, str] = field(default_factory=dict[str, str])
    own: Mapping[str, str] = field(default_factory=dict[str, str])
    pages: int | None = None
    required: tuple[str, ...] = ("id",)
    landed_required: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    opened: Opened = ()
    json_texts: Mapping[str, tuple[JsonText, ...]] = field(default_factory=dict[str, tuple[JsonText, ...]])
    derived: Derived | None = None
    kinds: tuple[RecordKind, ...] = ()

    @property
    def raw_tables(self) -> tuple[RawTable, ...]:
        """The raw tables for records of files and the API, for landed tables, and for derived records."""
        landed = [
            (f"{by}_{name}", entity, self._landed_required(f"{by}_{name}"))
            for by, tables in (("airbyte", self.airbyte), ("fivetran", self.fivetran), (self.name, self.own))
            for name, entity in tables.items()
        ]
        table = partial(RawTable, self.name, records=True, opened=self.opened)
        texts = self.json_texts
        return (
            *(
                table(name, entity, self.required, json_texts=texts.get(name, ()))
                for name, entity in self.records.items()
            ),
            *(
                table(name, entity, required, snapshot=True, json_texts=texts.get(name, ()))
                for name, entity, required in landed
            ),
            *([self.derived.table] if self.derived else []),
        )

    def check(self, settings: Any) -> str:
        """Report the tables or files that exist. Raises SourceError if none of ``needed`` exists; else as ``reach``."""
        if self.derived:
            self.derived.check(settings)
        if settings.tables:
            names = found_tables(settings.tables, self._landed(settings.tables))
            self._require(settings.tables.path, names)
            required = {table.name: table for table in self.raw_tables}
            by = settings.tables.by
            require_landed(settings.tables, {name: required[f"{by}_{name}"] for name in names})
            return f"{settings.tables.path}: tables {', '.join(names)}"
        if settings.path:
            folder = source_folder(settings.path, self.name)
            names = [name for name in self.records if files_of(folder, name)]
            self._require(folder, names)
            require_files([(table, path) for table in self.raw_tables for path in files_of(folder, table.name)])
            return f"{folder}: {', '.join(names)}"
        if self.reach is None:
            raise AssertionError(self.name)  # the settings require one of the inputs that the system has
        return self.reach(settings)

    def load(
        self,
        connection: duckdb.DuckDBPyConnection,
        sources: Sequence[Any],
        *,
        loaded_at: datetime,
        folder: Path,
        log: Log,
    ) -> list[LoadResult]:
        """Load the new records of all sources of the system, all or none.

        Raises SourceError for a missing or invalid folder, table or file, and ConfigError and SourceUnavailableError as
        the API client; files that are already fetched are kept.
        """
        tables = [table for table in self.raw_tables if not self.derived or table != self.derived.table]
        if self.derived:
            for source in sources:
                self.derived.check(source)
        files: dict[str, dict[Path, str]] = {table.name: {} for table in tables}
        for source in sources:
            label = str(source.label)
            for name, paths in self._files(source, folder / label, log).items():
                files[name] |= dict.fromkeys(paths, label)
        results = load_tables(
            connection, [(table, files[table.name]) for table in tables], loaded_at=loaded_at, log=log
        )
        if self.derived:
            derived = {
                path: str(source.label)
                for source in sources
                for path in self.derived.files(connection, source, folder / source.label / "derived", log)
            }
            results += load_tables(connection, [(self.derived.table, derived)], loaded_at=loaded_at, log=log)
        return results

    def _files(self, source: Any, kept: Path, log: Log) -> dict[str, list[Path]]:
        """The files of a source by raw table."""
        if source.tables:
            found = landed_files(source.tables, self._landed(source.tables), kept / "tables")
            self._require(source.tables.path, list(found))
            return {f"{source.tables.by}_{name}": paths for name, paths in found.items()}
        if source.path:
            folder = source_folder(source.path, self.name)
            found = {name: files_of(folder, name) for name in self.records}
            self._require(folder, [name for name, paths in found.items() if paths])
            return found
        if self.stream is None:
            raise AssertionError(self.name)
        pull(self.name, source.label, self.stream(source), kept / "api", log, pages=self.pages)
        return {name: pulled_files(kept / "api", name) for name in self.records}

    def _landed_required(self, table: str) -> tuple[str, ...]:
        """The columns that a landed table must have, alternatives separated by ``|``."""
        kind = next((kind for kind in self.kinds if table in kind.tables), None)
        if kind is None or table in self.landed_required:
            return self.landed_required.get(table, ("id",))
        return (*(["|".join(kind.key)] if kind.key else []), *kind.columns)

    def file_names(self, settings: Any) -> Sequence[str]:
        """The names that files of a source may have."""
        return tuple(self._landed(settings.tables) if settings.tables else self.records)

    def _landed(self, landed: LandedTables | SegmentTables) -> Mapping[str, str]:
        return {"airbyte": self.airbyte, "fivetran": self.fivetran}.get(landed.by, self.own)

    def _require(self, place: Path, names: Sequence[str]) -> None:
        if not set(names) & set(self.needed):
            message = (
                f"{place}: no {self.name} records found; expected a file or table with one of these "
                f"names: {', '.join(self.needed)}. Found: {', '.join(names) or 'nothing'}."
            )
            raise SourceError(message)
