"""The built-in source system ``files``: a folder with one file, or one folder of files, per entity of the contract.

``accounts.csv``, ``usage_events.parquet``, ``usage_events/2026-06-01.jsonl``: CSV, JSON lines (``.jsonl``,
``.ndjson``, ``.json``) or Parquet, text also with ``.gz``. Hidden files and files of other kinds are left alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import duckdb

from csm_core.contract import ENTITIES, UPDATED
from csm_core.errors import SourceError
from csm_core.sources.loading import load_tables
from csm_core.sources.raw_tables import LoadResult, Log, RawTable
from csm_core.sources.settings import FilesSettings
from csm_core.sources.source_files import SUFFIXES, form_of

SYSTEM = "files"


class FilesSource:
    """Reads the staged contract as files."""

    name = SYSTEM

    @property
    def raw_tables(self) -> tuple[RawTable, ...]:
        """One raw table per entity of the contract."""
        return contract_tables(SYSTEM)

    def check(self, settings: FilesSettings) -> str:
        """Say which entities the folder has files for. Raises SourceError for a folder or entity that is not there."""
        folder = source_folder(settings.path, SYSTEM)
        found = _find(folder)
        _require(folder, found, settings.entities)
        return f"{folder}: " + ", ".join(f"{name} ({len(found[name])})" for name in ENTITIES if found[name])

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

        Raises SourceError for a folder or mandatory entity that is not there, and for what ``load_tables`` refuses.
        """
        found: dict[str, list[Path]] = {name: [] for name in ENTITIES}
        for settings in sources:
            here = _find(source_folder(settings.path, SYSTEM), log)
            _require(settings.path, here, settings.entities)
            for name, paths in here.items():
                found[name] += paths
        return load_tables(
            connection,
            [(table, found[table.entity]) for table in self.raw_tables],
            loaded_at=loaded_at,
            log=log,
        )


def contract_tables(system: str, suffix: str = "", *, snapshot: bool = False) -> tuple[RawTable, ...]:
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
        )
        for entity in ENTITIES.values()
    )


def source_folder(path: Path, system: str) -> Path:
    """``path`` if it is a folder that can be read. Raises SourceError if it is not."""
    try:
        if path.is_dir():
            return path
        state = "is a file, not a folder" if path.exists() else "is not there"
    except OSError as error:
        state = f"cannot be read: {error.strerror or error}"
    message = f"the folder of source {system} {state}: {path}. Set `path` under `sources:` in csm.yaml."
    raise SourceError(message)


def readable_files(folder: Path, log: Log | None = None) -> list[Path]:
    """The files below a folder that have a readable format, in the order of their names."""
    found: list[Path] = []
    for base, folders, names in os.walk(folder, onerror=_unreadable):
        folders[:] = sorted(name for name in folders if not _hidden(name))
        for name in sorted(names):
            path = Path(base) / name
            if _hidden(name) or form_of(path) is None or not path.is_file():
                _say_ignored(path, log)
            else:
                found.append(path)
    return found


def _find(folder: Path, log: Log | None = None) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {name: [] for name in ENTITIES}
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        message = f"{folder}: cannot be read: {error.strerror or error}"
        raise SourceError(message) from None
    for entry in entries:
        if entry.is_dir() and entry.name in found:
            found[entry.name] += readable_files(entry, log)
            continue
        entity = entry.name.split(".", 1)[0]
        if entity in found and form_of(entry) and entry.is_file() and entry.name.count(".") <= 2:
            found[entity].append(entry)
        else:
            _say_ignored(entry, log)
    return found


def _require(folder: Path, found: Mapping[str, Sequence[Path]], entities: Sequence[str]) -> None:
    for name in entities:
        if not found[name]:
            raise SourceError(_nothing_for(folder, name))


def _nothing_for(folder: Path, entity: str) -> str:
    entries = sorted(entry.name for entry in folder.iterdir() if not _hidden(entry.name))
    near: Sequence[str] = [name for name in entries if name.split(".")[0].lower() == entity] or entries
    shown = ", ".join(near[:10]) + (f", and {len(near) - 10} more" if len(near) > 10 else "")
    wanted = ", ".join(f"{entity}{suffix}" for suffix in sorted(SUFFIXES))
    return (
        f"{folder}: no records for {entity}, which are required. Expected one of {wanted}, or a folder {entity}/ of "
        f"such files. Found: {shown or 'nothing'}."
    )


def _unreadable(error: OSError) -> None:
    message = f"{error.filename}: cannot be read: {error.strerror}"
    raise SourceError(message)


def _hidden(name: str) -> bool:
    return name.startswith((".", "~$"))


def _say_ignored(path: Path, log: Log | None) -> None:
    if log is None:
        return
    # Records under a name that means nothing are worth a line; a README or .DS_Store is not.
    if form_of(path) and not _hidden(path.name):
        log.info("file ignored: its name is not that of an entity, or it cannot be opened", file=str(path))
    else:
        log.debug("file ignored", file=str(path))
