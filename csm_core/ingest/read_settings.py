"""Settings for reading the files of a source: names of columns, separators, formats."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from csm_core.errors import SourceError
from csm_core.ingest.column_names import by_key, column_key, stored_name

NULL_VALUES = ("\\N", "NULL")
"""Texts that mean null in a text file when they are not quoted, as MySQL, PostgreSQL and Hive write them."""


@dataclass(frozen=True)
class Reading:
    """How a file is read; the default has no settings.

    ``columns`` maps columns of the raw table to their names in the file. ``dates`` are formats of strptime: the first
    that parses a text of ``time_columns`` turns it into an ISO time. With ``decimal``, texts of ``number_columns`` may
    have thousands separators, a currency and a sign after the number. Without ``delimiter`` the name of the file
    decides, without ``null_values`` the raw table.
    """

    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    dates: tuple[str, ...] = ()
    decimal: str | None = None
    delimiter: str | None = None
    null_values: tuple[str, ...] | None = None
    time_columns: tuple[str, ...] = ()
    number_columns: tuple[str, ...] = ()

    def delimiter_of(self, path: Path) -> str:
        """The character that separates values: the setting, else a tab for ``.tsv`` and a comma for all others."""
        return self.delimiter or delimiter_of(path)

    def relevant(self, *, to_csv: bool) -> Reading:
        """The settings that can make a difference for a file: one that is CSV, or one of another format."""
        return replace(
            self,
            dates=self.dates if self.time_columns else (),
            decimal=self.decimal if self.number_columns else None,
            delimiter=self.delimiter if to_csv else None,
            null_values=self.null_values if to_csv else None,
        )

    def placed(self, where: str, names: Sequence[str], known: Collection[str] = ()) -> dict[str, list[str]]:
        """The columns of the raw table, each with its names in the file: one, except in JSON lines.

        ``known`` are the columns that the raw table always has: a column of the file with such a name that is mapped to
        another column is stored under both. Raises SourceError for a mapped column that the file lacks.
        """
        found: dict[str, list[str]] = {}
        spelt: dict[str, list[str]] = {}
        for name in names:
            spelt.setdefault(column_key(name), []).append(name)
        for column, name in self.columns.items():
            if column_key(name) not in spelt:
                raise SourceError(_not_there(where, name, column, names))
            found[column] = spelt[column_key(name)]
        used = {column_key(name) for name in self.columns.values()} - set(known)
        for name in names:
            stored = stored_name(name)
            if stored in self.columns:
                # Another column of the file is mapped to this name.
                stored = f"{stored}__original"
            if column_key(name) not in used and name not in found.get(stored, ()):
                found.setdefault(stored, []).append(name)
        return found

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that identify the settings; empty for the defaults."""
        if not (self.columns or self.dates or self.decimal or self.delimiter or self.null_values is not None):
            return ""
        said = json.dumps(
            [dict(self.columns), self.dates, self.decimal, self.delimiter, self.null_values], sort_keys=True
        )
        return hashlib.sha256(said.encode()).hexdigest()[:16]


def _not_there(where: str, name: str, column: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(column_key(name), by_key(names), n=1, cutoff=0.6)
    hint = f" Is it {by_key(names)[near[0]]!r}?" if near else ""
    found = ", ".join(names[:20]) + (f", and {len(names) - 20} more" if len(names) > 20 else "")
    return (
        f"{where}: no column {name!r}, which `columns` in csm.yaml maps to {column}.{hint} "
        f"Found: {found or 'no column'}."
    )


def delimiter_of(path: Path) -> str:
    """The character that separates the values of a text file, by its name."""
    name = path.name.lower()
    return "\t" if any(name.endswith(f".tsv{packed}") for packed in ("", ".gz", ".zst")) else ","


AS_USUAL = Reading()
