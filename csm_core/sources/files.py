"""The built-in source system ``files``: a folder with one file, or one folder of files, per entity of the contract.

``accounts.csv``, ``usage_events.parquet``, ``usage_events/2026-06-01.jsonl``, ``invoices-2026-06.csv``: CSV (``.tsv``
with tabs), JSON lines (``.jsonl``, ``.ndjson``, ``.json``) or Parquet, text also with ``.gz`` or ``.zst``. Which files
belong to which entity, and what is not read: ``csm_core.ingest.found_files``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import duckdb

from csm_core.contract import ENTITIES, UPDATED, Kind
from csm_core.errors import SourceError
from csm_core.ingest.column_names import column_key
from csm_core.ingest.file_columns import require_files
from csm_core.ingest.found_files import FoundFiles, files_below, find_files, never_data
from csm_core.ingest.full_lists import mixed, record_full_files
from csm_core.ingest.loader import load_tables
from csm_core.ingest.raw_tables import LoadResult, Log, RawTable
from csm_core.ingest.read_settings import NULL_VALUES, Reading
from csm_core.ingest.source_files import SUFFIXES, name_without_form
from csm_core.sources.settings import FilesSettings

SYSTEM = "files"


class FilesSource:
    """Reads the staged contract as files."""

    name = SYSTEM

    @property
    def raw_tables(self) -> tuple[RawTable, ...]:
        """One raw table per entity of the contract."""
        return contract_tables(SYSTEM, adjustable=True)

    def check(self, settings: FilesSettings) -> str:
        """Report the entities that the folder has files for.

        Raises SourceError for a missing folder or entity, and for a file without the columns of its entity.
        """
        folder = source_folder(settings.path, SYSTEM)
        files = entity_files(settings).read
        _require(folder, files, settings.entities)
        tables = {table.name: table for table in self.raw_tables}
        require_files([(tables[name], path) for name, paths in files.items() for path in paths], readings_of(settings))
        return f"{folder}: " + ", ".join(f"{name} ({len(files[name])})" for name in ENTITIES if files[name])

    def load(
        self,
        connection: duckdb.DuckDBPyConnection,
        sources: Sequence[FilesSettings],
        *,
        loaded_at: datetime,
        folder: Path,  # noqa: ARG002  # nothing is fetched
        log: Log,
    ) -> list[LoadResult]:
        """Load every new or changed file of the folders into ``raw.files__<entity>``, all of them or none.

        Raises SourceError for a missing folder, a missing required entity, and a file that cannot be loaded.
        """
        files: dict[str, list[Path]] = {name: [] for name in ENTITIES}
        full: dict[str, dict[Path, list[Path]]] = {name: {} for name in ENTITIES}
        readings: dict[tuple[str, Path], Reading] = {}
        for settings in sources:
            here = entity_files(settings).read
            _require(settings.path, here, settings.entities)
            for name, paths in here.items():
                files[name] += paths
                if name in settings.full_entities:
                    full[name].setdefault(settings.path, []).extend(paths)
                    _warn_of_mixed(log, name, paths, settings.path)
                readings |= dict.fromkeys([(name, path) for path in paths], reading_of(settings, name))
        results = load_tables(
            connection,
            [(table, files[table.entity]) for table in self.raw_tables],
            loaded_at=loaded_at,
            log=log,
            readings=readings,
        )
        for table in self.raw_tables:
            record_full_files(connection, table.table, full[table.entity] or None, loaded_at)
        return results


def reading_of(settings: FilesSettings, entity: str) -> Reading:
    """How the files of an entity are read."""
    columns = ENTITIES[entity].columns
    return Reading(
        columns=settings.columns.get(entity, {}),
        dates=settings.dates,
        decimal=settings.decimal,
        delimiter=settings.delimiter,
        null_values=settings.null_values,
        time_columns=(*(column.name for column in columns if column.kind is Kind.TIMESTAMP), UPDATED),
        number_columns=tuple(column.name for column in columns if column.kind in (Kind.INTEGER, Kind.DECIMAL)),
    )


def mixed_lists(settings: FilesSettings) -> dict[str, tuple[Path, Path]]:
    """The full lists of which only some files have a date: the file with the latest date, and one without a date.

    Raises SourceError for a folder that cannot be read.
    """
    read = entity_files(settings).read
    mixed_files = {name: mixed(read[name], settings.path) for name in settings.full_entities}
    return {name: files for name, files in mixed_files.items() if files}


def readings_of(settings: FilesSettings) -> Mapping[str, Reading]:
    """How the files of each entity are read."""
    return {name: reading_of(settings, name) for name in ENTITIES}


def contract_tables(
    system: str,
    suffix: str = "",
    *,
    snapshot: bool = False,
    null_values: tuple[str, ...] = NULL_VALUES,
    adjustable: bool = False,
) -> tuple[RawTable, ...]:
    """One raw table per entity, named after it and ``suffix``, for records that have the contract's own columns."""
    return tuple(
        RawTable(
            system,
            f"{entity.name}{suffix}",
            entity.name,
            entity.required_columns,
            (*(column.name for column in entity.columns if not column.required), UPDATED),
            snapshot=snapshot,
            mostly_distinct=tuple(column.name for column in entity.columns if column.mostly_distinct),
            null_values=null_values,
            adjustable=adjustable,
        )
        for entity in ENTITIES.values()
    )


def source_folder(path: Path, system: str) -> Path:
    """``path`` if it is a readable folder. Raises SourceError otherwise."""
    try:
        if path.is_dir():
            return path
        state = "is a file, not a folder" if path.exists() else "does not exist"
    except OSError as error:
        state = f"cannot be read: {error.strerror or error}"
    message = f"the folder of source {system} {state}: {path}. Set `path` under `sources:` in csm.yaml."
    raise SourceError(message)


def readable_files(folder: Path) -> list[Path]:
    """The files below a folder that have a supported format, in the order of their names."""
    return files_below(folder).read[""]


def entity_files(settings: FilesSettings) -> FoundFiles:
    """The files of each entity in the folder, and what is not read. Raises SourceError if the folder is missing."""
    folder = source_folder(settings.path, SYSTEM)
    return find_files(folder, ENTITIES, called="an entity", numbered=True)


def _require(folder: Path, files: Mapping[str, Sequence[Path]], entities: Sequence[str]) -> None:
    for name in entities:
        if not files[name]:
            raise SourceError(_nothing_for(folder, name))


def _warn_of_mixed(log: Log, entity: str, paths: Sequence[Path], folder: Path) -> None:
    found = mixed(paths, folder)
    if found:
        dated, undated = found
        log.warning(
            "files without a date in their names are one full list with the latest dated ones",
            entity=entity,
            without_date=str(undated),
            latest_dated=str(dated),
            help="Name all files of the list by its date, or remove the others.",
        )


def _nothing_for(folder: Path, entity: str) -> str:
    entries = sorted(entry for entry in folder.iterdir() if not never_data(entry.name))
    names = [entry.name for entry in entries if column_key(name_without_form(entry)) == entity]
    names = names or [entry.name for entry in entries]
    shown = ", ".join(names[:10]) + (f", and {len(names) - 10} more" if len(names) > 10 else "")
    wanted = ", ".join(f"{entity}{suffix}" for suffix in sorted(SUFFIXES))
    return (
        f"{folder}: no records for {entity}, which are required. Expected one of {wanted}, or a folder {entity}/ of "
        f"such files. Found: {shown or 'nothing'}."
    )
