"""DuckDB's CSV reader for text files whose format is known: its options, and the statements that read one or many."""

from __future__ import annotations

from dataclasses import dataclass

from csm_core.warehouse.models import literal
from csm_core.warehouse.text_macros import BLANKS

FAST_LINE_BYTES = 32 * 1024 * 1024
"""The longest line; a file with a longer one is read by the strict parser."""
_FILE = "_csm_file"


@dataclass(frozen=True)
class FastSelect:
    """How the rows of files that are alike are read into a temporary table.

    ``values`` are the columns as SQL, ``options`` the named parameters of ``read_csv``, and ``line`` is the number of
    lines before the first row. ``ambiguous`` is a condition for rows that only the strict parser can read.
    """

    table: str
    values: str
    options: str
    line: int = 0
    ambiguous: str = ""

    def insert_of_one(self) -> str:
        """Return the statement that reads a file; its parameters are the name of the file, and its pattern."""
        return (
            f"insert into temp.{self.table} select {self.values}, ?, row_number() over () + {self.line} "
            f"from read_csv(?, {self.options})"
        )

    def insert_of_many(self) -> str:
        """Return the statement that reads files; its parameters are lists: patterns, names and rows before each."""
        return (
            f"insert into temp.{self.table} select {self.values}, files.name, rows.number - files.start + {self.line} "
            f"from (select *, row_number() over () as number from read_csv(?, {self.options}, filename = '{_FILE}')) "
            f"as rows inner join (select unnest(?) as name, unnest(?) as start) as files on rows.{_FILE} = files.name"
        )

    def lines(self, rows: int) -> tuple[int | None, int | None]:
        """Return the first and the last line of a file with this number of rows."""
        return (self.line + 1, self.line + rows) if rows else (None, None)


@dataclass(frozen=True)
class FastCsv:
    """The options of DuckDB's reader for a CSV file with the text columns ``c0``, ``c1``, ...

    ``nulls`` are the null values that occur in the file.
    ``skip`` is the number of lines before the header line.
    """

    width: int
    delimiter: str
    nulls: tuple[str, ...] = ()
    skip: int = 0

    def options(self) -> str:
        """Return the named parameters of ``read_csv``."""
        columns = ", ".join(f"'c{position}': 'varchar'" for position in range(self.width))
        nulls = ""
        if self.nulls:
            nulls = (
                f", nullstr = [{', '.join(literal(text) for text in ('', *self.nulls))}], allow_quoted_nulls = false"
            )
        return (
            f"auto_detect = false, header = true, delim = {literal(self.delimiter)}, quote = '\"', escape = '\"', "
            f"columns = {{{columns}}}, strict_mode = true, null_padding = false, max_line_size = {FAST_LINE_BYTES}, "
            f"encoding = 'utf-8', skip = {self.skip}{nulls}"
        )

    def values(self, *, empty_quotes: bool) -> str:
        """Return the columns as SQL. With null values, an empty value in quotes becomes null here."""
        strip = bool(self.nulls) and empty_quotes
        names = (f"c{position}" for position in range(self.width))
        return ", ".join(f"nullif({name}, '')" if strip else name for name in names)

    def ambiguous(self) -> str:
        """Return a condition for rows with a null value between blanks; empty if the file has no null value.

        Only the strict parser can determine whether such a value is in quotes, and therefore text.
        """
        if not self.nulls:
            return ""
        nulls = ", ".join(literal(text) for text in self.nulls)
        names = (f"c{position}" for position in range(self.width))
        stripped = ((name, f"trim({name}, {literal(BLANKS)})") for name in names)
        return " or ".join(f"({value} <> {name} and {value} in ({nulls}))" for name, value in stripped)
