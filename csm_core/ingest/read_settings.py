"""Read settings for the files of a source: column names, separators, formats."""

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
    """The read settings of a file; the default has none.

    ``columns`` maps columns of the raw table to their names in the file. ``dates`` are strptime formats: the first one
    that parses a text in ``time_columns`` converts it to an ISO time. With ``decimal``, text in ``number_columns`` may
    have thousands separators, a currency and a trailing sign. The default of ``delimiter`` depends on the name of the
    file, the default of ``null_values`` on the raw table.
    """

    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    dates: tuple[str, ...] = ()
    decimal: str | None = None
    delimiter: str | None = None
    null_values: tuple[str, ...] | None = None
    time_columns: tuple[str, ...] = ()
    number_columns: tuple[str, ...] = ()

    def delimiter_of(self, path: Path) -> str:
        """Return the separator: the setting, else a tab for ``.tsv`` and a comma for other files."""
        return self.delimiter or delimiter_of(path)

    def relevant(self, *, to_csv: bool) -> Reading:
        """Return only the settings that affect a file of this format."""
        return replace(
            self,
            dates=self.dates if self.time_columns else (),
            decimal=self.decimal if self.number_columns else None,
            delimiter=self.delimiter if to_csv else None,
            null_values=self.null_values if to_csv else None,
        )

    def placed(self, where: str, names: Sequence[str], fixed: Collection[str] = ()) -> dict[str, list[str]]:
        """Return the columns of the raw table, each with its names in the file: one, except in JSON lines.

        ``fixed`` are the columns that the raw table always has: if the file has a column of such a name and it is
        mapped to another column, it is stored under both. Raises SourceError for a mapped column that the file lacks.
        """
        placed: dict[str, list[str]] = {}
        spelt: dict[str, list[str]] = {}
        for name in names:
            spelt.setdefault(column_key(name), []).append(name)
        for column, name in self.columns.items():
            if column_key(name) not in spelt:
                raise SourceError(_missing_column(where, name, column, names))
            placed[column] = spelt[column_key(name)]
        used = {column_key(name) for name in self.columns.values()} - set(fixed)
        for name in names:
            stored = stored_name(name)
            if stored in self.columns:
                # Another column of the file is mapped to this name.
                stored = f"{stored}__original"
            if column_key(name) not in used and name not in placed.get(stored, ()):
                placed.setdefault(stored, []).append(name)
        return placed

    @property
    def digest(self) -> str:
        """A hash of 16 hexadecimal digits of the settings; empty for the defaults."""
        if not (self.columns or self.dates or self.decimal or self.delimiter or self.null_values is not None):
            return ""
        canonical = json.dumps(
            [dict(self.columns), self.dates, self.decimal, self.delimiter, self.null_values], sort_keys=True
        )
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _missing_column(where: str, name: str, column: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(column_key(name), by_key(names), n=1, cutoff=0.6)
    hint = f" Is it {by_key(names)[near[0]]!r}?" if near else ""
    found = ", ".join(names[:20]) + (f", and {len(names) - 20} more" if len(names) > 20 else "")
    return (
        f"{where}: there is no column {name!r}, which `columns` in csm.yaml maps to {column}.{hint} "
        f"Found: {found or 'no column'}."
    )


def delimiter_of(path: Path) -> str:
    """Return the separator of a text file by its name."""
    name = path.name.lower()
    return "\t" if any(name.endswith(f".tsv{packed}") for packed in ("", ".gz", ".zst")) else ","


DEFAULT_READING = Reading()
