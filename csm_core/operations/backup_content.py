"""The content of a backup (a manifest with checksums, the warehouse, files of sources) and its validation."""

from __future__ import annotations

import json
import os
import re
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, cast

import duckdb

from csm_core.errors import InputError
from csm_core.system.checksums import copy_file, write_through
from csm_core.warehouse.day_status import SCORES_TABLE, newest_counted_day
from csm_core.warehouse.models import quoted

PREFIX = "csm-backup-"
MANIFEST = "backup.json"
WAREHOUSE = "csm.duckdb"
# The folder for fetched records of sources, beside the warehouse.
SOURCES = "sources"
STAMP = "%Y%m%dT%H%M%SZ"

_FORMAT = "csm-health backup"
_VERSION = 1
_NAME = re.compile(rf"{PREFIX}\d{{8}}T\d{{6}}Z\Z")
_DUCKDB = b"DUCK"
_DUCKDB_AT = 8
_OWN_SCHEMAS = ("raw", "staging", "marts", "run")


def copy_sources(origin: Path, target: Path) -> dict[str, str]:
    """Copy the files of sources from one folder to another; returns checksums by relative path."""
    checksums: dict[str, str] = {}
    for folder, _, names in os.walk(origin / SOURCES, followlinks=True):
        place = target / Path(folder).relative_to(origin)
        place.mkdir(parents=True, exist_ok=True)
        for name in names:
            copied = place / name
            checksums[copied.relative_to(target).as_posix()] = copy_file(Path(folder) / name, copied)
            write_through(copied)
    return checksums


def write_manifest(folder: Path, checksums: dict[str, str], made_at: datetime) -> None:
    """Write the manifest, which makes the folder a backup."""
    files = {name: {"bytes": (folder / name).stat().st_size, "sha256": digest} for name, digest in checksums.items()}
    manifest = {"format": _FORMAT, "version": _VERSION, "made_at": made_at.isoformat(), "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    write_through(folder / MANIFEST)
    write_through(folder)


def is_backup(folder: Path) -> bool:
    """Whether `csm backup` created this folder, determined from its name and content."""
    if not _NAME.match(folder.name) or folder.is_symlink() or not folder.is_dir():
        return False
    if (folder / MANIFEST).exists():
        try:
            _read_manifest(folder)
        except InputError:
            return False
        return True
    # Older versions without a manifest wrote only these files.
    try:
        if not {entry.name for entry in folder.iterdir()} <= {WAREHOUSE, SOURCES}:
            return False
        with (folder / WAREHOUSE).open("rb") as file:
            return file.read(_DUCKDB_AT + len(_DUCKDB))[_DUCKDB_AT:] == _DUCKDB
    except OSError:
        return False


def copy_backup(backup: Path, target: Path) -> bool:
    """Copy a backup to an empty folder; returns whether it contains files of sources.

    Raises InputError if the folder is not a backup, or if a file is missing or its checksum differs from the manifest.
    """
    if not (backup / WAREHOUSE).is_file():
        message = f"{backup} is not a backup: it does not contain {WAREHOUSE}. `csm backup` creates folders {PREFIX}…"
        raise InputError(message)
    if not (backup / MANIFEST).exists():
        copy_file(backup / WAREHOUSE, target / WAREHOUSE)
        copy_sources(backup, target)
    else:
        for name, (size, digest) in _read_manifest(backup).items():
            origin, place = backup / name, target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if not origin.is_file():
                message = f"{backup} is not complete: {name} is missing. Restore another backup."
                raise InputError(message)
            if copy_file(origin, place) != digest:
                message = (
                    f"{origin} is damaged: it does not have the checksum of {MANIFEST} "
                    f"({origin.stat().st_size:,} bytes, expected {size:,}). Restore another backup."
                )
                raise InputError(message)
            write_through(place)
    write_through(target / WAREHOUSE)
    return (target / SOURCES).is_dir()


def _read_manifest(folder: Path) -> dict[str, tuple[int, str]]:
    """The size and checksum of each file by name. Raises InputError for an invalid manifest."""
    file = folder / MANIFEST
    try:
        read: Any = json.loads(file.read_bytes())
        if read["format"] != _FORMAT or read["version"] != _VERSION:
            message = f"format {read['format']!r}, version {read['version']!r}"
            raise ValueError(message)
        files = cast("dict[str, dict[str, Any]]", read["files"])
        files_by_name = {str(name): (int(one["bytes"]), str(one["sha256"])) for name, one in files.items()}
        outside = [name for name in files_by_name if name != WAREHOUSE and not _within_sources(name)]
        if WAREHOUSE not in files_by_name or outside:
            message = f"it lists {', '.join(outside) or 'no warehouse'}"
            raise ValueError(message)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{file} is not the manifest of a backup: {error}. Restore another backup."
        raise InputError(message) from None
    return files_by_name


def _within_sources(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return len(parts) > 1 and parts[0] == SOURCES and ".." not in parts and "\0" not in name


def read_completely(file: Path, origin: Path | None = None) -> str | None:
    """Read every table of a warehouse; returns its newest complete or accepted day, if there is one.

    Raises InputError if the file is not a warehouse of csm-health, or if a table cannot be read. The message names
    ``origin`` if ``file`` is a copy of it.
    """
    named = origin or file
    table = ""
    try:
        with duckdb.connect(str(file), read_only=True) as connection:
            connection.execute("set enable_progress_bar = false")
            schemas = {name for (name,) in connection.execute("select schema_name from duckdb_schemas()").fetchall()}
            if not schemas.issuperset(_OWN_SCHEMAS):
                message = f"{named} is not a warehouse of csm-health: it has no schemas {', '.join(_OWN_SCHEMAS)}"
                raise InputError(message)
            for schema, name in connection.execute(
                "select schema_name, table_name from duckdb_tables() where not internal order by all"
            ).fetchall():
                table = f"{quoted(schema)}.{quoted(name)}"
                connection.execute(f"select bit_xor(hash(every)) from {table} as every").fetchall()
            table = SCORES_TABLE
            day = newest_counted_day(connection)
    except (duckdb.Error, RuntimeError) as error:
        where = f"{named}, table {table}" if table else f"{named}"
        message = f"{where}: cannot be read: {str(error).splitlines()[0].replace(str(file), str(named))}"
        raise InputError(message) from None
    return day.isoformat() if day else None
