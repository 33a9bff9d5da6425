"""Finds the files of the sources that are new or changed since they were loaded, without loading them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from csm_core.errors import SourceError
from csm_core.sources.files import readable_files
from csm_core.sources.settings_base import LandingPlace, SourceSettings
from csm_core.warehouse.catalog import table_exists

LEDGER = "raw.loads"


@dataclass(frozen=True)
class PendingFiles:
    """Files that are new or changed since they were loaded: path, size in bytes, modification time in nanoseconds."""

    files: tuple[tuple[str, int, int], ...] = ()

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that identify this set of files and their state."""
        return hashlib.sha256(repr(self.files).encode()).hexdigest()[:12]

    @property
    def changed_at(self) -> datetime | None:
        """The latest modification time, in UTC; None without files."""
        newest = max((mtime for _, _, mtime in self.files), default=None)
        return None if newest is None else datetime.fromtimestamp(newest / 1e9, UTC)

    def __bool__(self) -> bool:
        return bool(self.files)


def pending_files(connection: duckdb.DuckDBPyConnection, sources: Iterable[SourceSettings]) -> PendingFiles:
    """The files of the sources that ``raw.loads`` does not have in their current state.

    A source that is read over an API has no files. A missing folder has none either; a run reports it. Files that no
    source reads are included, because only loading determines them; their fingerprint does not change.
    """
    loaded: set[tuple[str, int, int]] = set()
    if table_exists(connection, LEDGER):
        loaded = set(
            connection.execute(
                f"select path, file_size, file_mtime_ns from {LEDGER} where status = 'loaded' "
                "qualify row_number() over (partition by raw_table, path order by load_id desc) = 1"
            ).fetchall()
        )
    present = {state for source in sources for path in _watched(source) if (state := _state_of(path)) is not None}
    return PendingFiles(tuple(sorted(present - loaded)))


def _watched(source: SourceSettings) -> list[Path]:
    landed = getattr(source, "tables", None)
    path = landed.path if isinstance(landed, LandingPlace) else getattr(source, "path", None)
    if not isinstance(path, Path):
        return []
    if not path.is_dir():
        return [path]
    try:
        return readable_files(path)
    except SourceError:
        return []


def _state_of(path: Path) -> tuple[str, int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return (str(path), state.st_size, state.st_mtime_ns)
