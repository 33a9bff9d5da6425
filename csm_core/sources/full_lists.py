"""Files that hold the full list of an entity: the gate closes records that are no longer in the list.

``raw.full_files`` has one row per file of such a list: whether it still exists, and, for a file of a dated series
(``accounts/2026-06-01.csv``, ``accounts/2026-06-02.csv``: each is the full list of its day), the time from which the
next file of the series replaces it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, time
from pathlib import Path

import duckdb

from csm_core.warehouse import transaction

FULL_FILES = "raw.full_files"
_DATE = re.compile(r"(?<![0-9])([0-9]{4})[-_]?([0-9]{2})[-_]?([0-9]{2})(?![0-9])")


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the table of full lists if it does not exist."""
    connection.execute(
        f"create table if not exists {FULL_FILES} (raw_table varchar not null, path varchar not null, "
        "is_present boolean not null, replaced_at timestamp)"
    )


def note_full_files(connection: duckdb.DuckDBPyConnection, raw_table: str, present: Sequence[Path] | None) -> None:
    """Record the files of the full list of a raw table; mark files recorded earlier and not given now as removed.

    None: the raw table does not hold a full list.
    """
    prepare(connection)
    if present is None:
        connection.execute(f"delete from {FULL_FILES} where raw_table = ?", [raw_table])
        return
    replaced = replaced_at(present)
    with transaction(connection):
        connection.execute(f"update {FULL_FILES} set is_present = false where raw_table = ?", [raw_table])
        for path in present:
            connection.execute(f"delete from {FULL_FILES} where raw_table = ? and path = ?", [raw_table, str(path)])
            connection.execute(
                f"insert into {FULL_FILES} values (?, ?, true, ?)", [raw_table, str(path), replaced.get(path)]
            )


def replaced_at(paths: Sequence[Path]) -> dict[Path, datetime]:
    """The time from which the next file of a dated series replaces each file: the start of the next file's day, UTC."""
    series: dict[str, list[tuple[date, Path]]] = {}
    for path in paths:
        found = _DATE.search(path.name)
        if not found:
            continue
        try:
            day = date(*(int(part) for part in found.groups()))
        except ValueError:
            continue
        named = f"{path.parent}/{path.name[: found.start()]}*{path.name[found.end() :]}"
        series.setdefault(named, []).append((day, path))
    replaced: dict[Path, datetime] = {}
    for dated in series.values():
        days = sorted({day for day, _ in dated})
        for day, path in dated:
            later = [other for other in days if other > day]
            if later:
                replaced[path] = datetime.combine(later[0], time())
    return replaced
