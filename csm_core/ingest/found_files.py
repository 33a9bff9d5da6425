"""Finds the files of each table in a folder, and lists the files that are not read, with the reason.

A file belongs to a table if it has the table's name (``invoices.csv``, ``Invoices.CSV.gz``), if only numbers follow the
name (``invoices-2026-06.csv``, ``invoices.2026-06.v2.csv``; not for tables that are read as a whole), or if it is at
any depth in a folder of that name (``invoices/2026/06.parquet``). The folder name may include a format, as Spark writes
it (``invoices.parquet/part-0.parquet``). Names are compared by ``column_key``. Files that begin with ``_``, ``.`` or
``~$`` are never data: Spark's ``_temporary`` and ``_SUCCESS``, hidden files, lock files.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from csm_core.errors import SourceError
from csm_core.ingest.column_names import column_key
from csm_core.ingest.source_files import form_of, name_without_form, not_readable
from csm_core.system.text_table import counted

DELTA_LOG = "_delta_log"
_DELTA = (
    "a Delta table: all its Parquet files are read, deleted ones included. Export the table to Parquet and load that"
)
# Dates, times, part numbers and versions: 2026, 06, 2026-06-30T10, q2, v2, part3.
_NUMBERING = re.compile(r"(\d+(t\d+)?z?|v\d+|q[1-4]|h[12]|w\d+|part\d*)", re.ASCII)
_BETWEEN = re.compile(r"[._]+")


@dataclass(frozen=True)
class UnreadFile:
    """A file or folder that no source reads, and the reason."""

    path: Path
    why: str

    def __str__(self) -> str:
        """Return path and reason on one line."""
        return f"{self.path}: {self.why}"


@dataclass
class FoundFiles:
    """The files of each name, sorted by path, and the files that are not read."""

    read: dict[str, list[Path]]
    unread: list[UnreadFile] = field(default_factory=list[UnreadFile])


def find_files(
    folder: Path, names: Iterable[str], *, called: str = "a table", numbered: bool, others: bool = True
) -> FoundFiles:
    """Find the files of each name in a folder.

    ``called`` is the term for a name in messages. With ``numbered``, numbers may follow a name. Without ``others``,
    folders with other names are not listed. Raises SourceError for a folder that cannot be read.
    """
    names_by_key = {column_key(name): name for name in names}
    found = FoundFiles({name: [] for name in names_by_key.values()})
    for entry in _entries(folder):
        if never_data(entry.name):
            if entry.name == DELTA_LOG:
                found.unread.append(UnreadFile(entry, _DELTA))
        elif entry.is_dir():
            if others or _folder_key(entry) in names_by_key:
                _add_folder(found, entry, names_by_key, called)
        elif reason := _not_readable(entry):
            found.unread.append(UnreadFile(entry, reason))
        else:
            name, reason = _belongs_to(entry, names_by_key, called, numbered=numbered)
            if name is None:
                found.unread.append(UnreadFile(entry, reason))
            else:
                found.read[name].append(entry)
    return found


def files_below(folder: Path) -> FoundFiles:
    """Return the files at any depth of a folder, all under the empty name."""
    found = FoundFiles({"": []})
    _walk(folder, found.read[""], found.unread)
    return found


def never_data(name: str) -> bool:
    """Whether a file with this name never contains data."""
    return name.startswith((".", "_", "~$"))


def _add_folder(found: FoundFiles, folder: Path, names_by_key: Mapping[str, str], called: str) -> None:
    name = names_by_key.get(_folder_key(folder))
    if name is not None:
        _walk(folder, found.read[name], found.unread)
        return
    inside = FoundFiles({})
    files: list[Path] = []
    _walk(folder, files, inside.unread)
    count = len(files) + len(inside.unread)
    if count:
        content = f"a folder with {counted(count, 'file')}"
        found.unread.append(
            UnreadFile(folder, f"{content}; its name does not match {called}{_hint(folder.name, names_by_key)}")
        )


def _folder_key(folder: Path) -> str:
    """Return the key of a folder's name, without a format as Spark adds it: ``invoices.parquet/``."""
    return column_key(name_without_form(folder) if form_of(folder) else folder.name)


def _belongs_to(path: Path, names_by_key: Mapping[str, str], called: str, *, numbered: bool) -> tuple[str | None, str]:
    """Return the name that a file belongs to, or None and the reason."""
    stem = name_without_form(path)
    key = column_key(stem)
    if key in names_by_key:
        return names_by_key[key], ""
    whole = _BETWEEN.sub("_", key)
    prefixes = [one for one in names_by_key if whole.startswith(f"{one}_")]
    if not prefixes:
        return None, f"its name does not match {called}{_hint(stem, names_by_key)}"
    longest = max(prefixes, key=len)
    rest = whole.removeprefix(f"{longest}_")
    if numbered and all(_NUMBERING.fullmatch(part) for part in rest.split("_")):
        return names_by_key[longest], ""
    name = names_by_key[longest]
    return None, f"its name does not match {called}. If it contains {name}, move it to a folder {name}/"


def _hint(name: str, names_by_key: Mapping[str, str]) -> str:
    near = difflib.get_close_matches(column_key(name), names_by_key, n=1, cutoff=0.75)
    return f". Is it {names_by_key[near[0]]}?" if near else ""


def _walk(folder: Path, files: list[Path], unread: list[UnreadFile]) -> None:
    for base, folders, names in os.walk(folder, onerror=_unreadable):
        if DELTA_LOG in folders:
            unread.append(UnreadFile(Path(base) / DELTA_LOG, _DELTA))
        folders[:] = sorted(name for name in folders if not never_data(name))
        here = Path(base)
        links = [link for name in folders if (link := here / name).is_symlink()]
        unread.extend(
            UnreadFile(link, "a symbolic link to a folder, which is not followed. Copy the files") for link in links
        )
        for name in sorted(names):
            if never_data(name):
                continue
            path = here / name
            if reason := _not_readable(path):
                unread.append(UnreadFile(path, reason))
            else:
                files.append(path)


def _not_readable(path: Path) -> str:
    """Return the reason why a file is not readable; empty for a readable file."""
    if not path.is_file():
        return "cannot be opened, or is not a regular file"
    return "" if form_of(path) else not_readable(path)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        message = f"{folder}: cannot be read: {error.strerror or error}"
        raise SourceError(message) from None


def _unreadable(error: OSError) -> None:
    message = f"{error.filename}: cannot be read: {error.strerror}"
    raise SourceError(message)
