"""Loads text files into temporary tables with DuckDB's CSV reader, and falls back to a strict parser if necessary.

Files are read outside the transaction that stores the records, since an error of the fast reader would abort the
transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Protocol

import duckdb

from csm_core.contract import Reason
from csm_core.errors import SourceError
from csm_core.ingest.column_names import same_column, shown, stored_name
from csm_core.ingest.raw_tables import Log, RawTable
from csm_core.ingest.read_settings import DEFAULT_READING, Reading
from csm_core.ingest.source_files import SourceFile, compression_of, first_line, glob_escaped, require_columns
from csm_core.ingest.text_files import line_count, scanned
from csm_core.ingest.text_reader import RejectedLine, Row, read_header, read_lines, read_rows
from csm_core.warehouse.models import literal
from csm_core.warehouse.text_macros import BLANKS

if TYPE_CHECKING:
    import numpy as np

LINES: tuple[str, ...] = ("the text of a line",)
"""The columns of JSON lines: a single one, the line."""
MAX_COLUMNS = 2000

_FAST_LINE_BYTES = 32 * 1024 * 1024
_BATCH_ROWS = 20_000
_BATCH_BYTES = 64 * 1024 * 1024
_SEPARATOR = "\x01"
_EMPTY_QUOTES = '""'
SETTING = "for the source in csm.yaml"


def require_reading(where: str, target: RawTable, reading: Reading, found: Sequence[str]) -> None:
    """Raise SourceError unless all mapped columns, and all other required columns, are present."""
    reading.placed(where, found)
    # A column that is mapped to another column is not read under its own name.
    require_columns(where, [name for name in target.required if name not in reading.columns], found)


def json_pointer(key: str) -> str:
    """Return a JSON pointer to a key of an object, for DuckDB's JSON functions."""
    return "/" + key.replace("~", "~0").replace("/", "~1")


class TextLoader:
    """Loads text files into temporary tables of ``c0``, ``c1``, ..., ``_source_file`` and ``_source_line``.

    ``tables`` has the table of each combination of columns (``LINES`` for JSON lines) and read settings.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, target: RawTable, prefix: str, log: Log | None = None
    ) -> None:
        self._connection = connection
        self._target = target
        self._prefix = prefix
        self._log = log
        self.tables: dict[tuple[tuple[str, ...], str], str] = {}
        self.readings: dict[str, Reading] = {}

    def read_csv(self, file: SourceFile) -> None:
        """Read a CSV file. Raises SourceError for a file that is not CSV or lacks a required column."""
        path, reading = file.path, file.reading
        header = read_header(path, reading.delimiter, setting=SETTING if self._target.adjustable else "")
        require_reading(str(path), self._target, reading, header.names)
        file.columns = tuple(header.names)
        nulls = self._target.null_values if reading.null_values is None else reading.null_values
        scan = scanned(path, (*nulls, _EMPTY_QUOTES) if nulls else ())
        width, delimiter, line = len(header.names), header.delimiter, header.line
        fast = FastCsv(width, delimiter, tuple(text for text in nulls if text in scan.texts), skip=line - 1)
        self._read_fast_or_strict(
            file,
            self._incoming(file.columns, reading),
            f"select {fast.values(empty_quotes=_EMPTY_QUOTES in scan.texts)}, ?, row_number() over () + {line} "
            f"from read_csv(?, {fast.options()}, compression = {literal(compression_of(path))})",
            expected=scan.lines - line,
            ambiguous=fast.ambiguous(),
            records=lambda: read_rows(path, width, delimiter=delimiter, null_values=nulls, header_line=line),
        )

    def read_json_lines(self, file: SourceFile) -> None:
        """Read a file with one JSON object per line. Raises SourceError like ``read_csv``."""
        if file.size == 0:
            message = f"{file.path}: the file is empty. Remove it, or export it again."
            raise SourceError(message)
        lines = self._incoming(LINES, file.reading)
        self._read_fast_or_strict(
            file,
            lines,
            "select c0, ?, row_number() over () from read_csv(?, auto_detect = false, header = false, "
            f"delim = {literal(_SEPARATOR)}, quote = '', escape = '', columns = {{'c0': 'varchar'}}, "
            f"strict_mode = true, null_padding = false, max_line_size = {_FAST_LINE_BYTES}, encoding = 'utf-8', "
            f"compression = {literal(compression_of(file.path))})",
            expected=line_count(file.path),
            records=lambda: read_lines(file.path),
        )
        self._reject_invalid_json(file, lines)

    def discard(self) -> None:
        """Drop the temporary tables."""
        for table in self.tables.values():
            self._connection.execute(f"drop table if exists temp.{table}")

    def _read_fast_or_strict(
        self,
        file: SourceFile,
        table: str,
        fast: str,
        *,
        expected: int,
        records: _Records,
        ambiguous: str = "",
    ) -> None:
        # With an unclosed quote, the fast reader drops rows silently. Its result is used only if it has exactly one row
        # per physical line, and no row that matches the condition ``ambiguous``.
        try:
            inserted = self._connection.execute(
                f"insert into temp.{table} {fast}", [file.name, glob_escaped(file.name)]
            ).fetchone()
            file.rows = int(inserted[0]) if inserted else 0
            if file.rows == expected and not (ambiguous and self._any_row(file, table, ambiguous)):
                return
            self._connection.execute(f"delete from temp.{table} where _source_file = ?", [file.name])
        except (duckdb.InvalidInputException, duckdb.IOException, duckdb.ConversionException) as error:
            if self._log:
                self._log.info("CSV fast path failed, using strict parser", file=file.name, reason=first_line(error))
        file.rows = 0
        for batch in _batches(records(), file.rejected):
            self._insert_batch(file, table, batch)

    def _any_row(self, file: SourceFile, table: str, condition: str) -> bool:
        found = self._connection.execute(
            f"select 1 from temp.{table} where _source_file = ? and ({condition}) limit 1", [file.name]
        ).fetchone()
        return found is not None

    def _insert_batch(self, file: SourceFile, table: str, batch: Sequence[Row]) -> None:
        import numpy as np

        width = len(batch[0].values)
        columns: dict[str, np.ndarray] = {"line": np.array([row.line for row in batch], dtype=np.int64)}
        for position in range(width):
            columns[f"c{position}"] = np.array([row.values[position] for row in batch], dtype=object)
        self._connection.register("incoming_batch", columns)
        try:
            values = ", ".join(f"cast(c{position} as varchar)" for position in range(width))
            self._connection.execute(
                f"insert into temp.{table} select {values}, ?, line from incoming_batch", [file.name]
            )
        finally:
            self._connection.unregister("incoming_batch")
        file.rows += len(batch)

    def _reject_invalid_json(self, file: SourceFile, lines: str) -> None:
        own = f"from temp.{lines} where _source_file = ?"
        broken = "case when json_valid(c0) then json_type(c0) <> 'OBJECT' else true end"
        invalid = self._connection.execute(
            f"select _source_line, c0 {own} and {broken} order by _source_line", [file.name]
        ).fetchall()
        if invalid:
            self._connection.execute(f"delete {own} and {broken}", [file.name])
            file.rows -= len(invalid)
            rejected = [(line, text) for line, text in invalid if text and text.strip()]
            # A file that is one JSON array is a common mistake.
            if rejected and not file.rows and str(rejected[0][1]).lstrip("\ufeff \t").startswith("["):
                message = f"{file.path}: a JSON array; expected JSON lines, one object on each line"
                raise SourceError(message)
            file.rejected += [
                RejectedLine(line, Reason.UNPARSEABLE_ROW, "not a JSON object", text) for line, text in rejected
            ]
        if not self._target.records:
            self._reject_duplicate_keys(own, file)
        if self._target.records and not self._target.snapshot and self._has_required(own, file):
            return
        keys = [
            str(key)
            for (key,) in self._connection.execute(
                f"select distinct unnest(json_keys(c0)) as json_key {own} order by json_key", [file.name]
            ).fetchall()
        ]
        if len(keys) > MAX_COLUMNS:
            message = (
                f"{file.path}: {len(keys):,} different keys; the limit is {MAX_COLUMNS:,}. "
                "Split the file by kind of record."
            )
            raise SourceError(message)
        file.columns = tuple(keys)
        if self._target.records and not self._target.snapshot:
            # Records of an API are stored unchanged, with their keys.
            if file.rows:
                require_columns(str(file.path), self._target.required, keys, exactly=True)
            return
        if file.rows:
            require_reading(str(file.path), self._target, file.reading, keys)
            self._require_one_spelling(own, file)

    def _reject_duplicate_keys(self, own: str, file: SourceFile) -> None:
        """Reject records with a duplicate key, since the correct value is unknown."""
        twice = "len(json_keys(c0)) <> len(list_distinct(json_keys(c0)))"
        rejected = self._connection.execute(
            f"select _source_line, c0, json_keys(c0) {own} and {twice}", [file.name]
        ).fetchall()
        if rejected:
            for line, text, keys in rejected:
                detail = f"the key {shown(next(key for key in keys if keys.count(key) > 1))} appears twice"
                file.rejected.append(RejectedLine(line, Reason.UNPARSEABLE_ROW, detail, text))
            self._connection.execute(f"delete {own} and {twice}", [file.name])
            file.rows -= len(rejected)

    def _require_one_spelling(self, own: str, file: SourceFile) -> None:
        """Raise SourceError for a record with two keys for the same column."""
        spelt: dict[str, list[str]] = {}
        for name in file.columns:
            spelt.setdefault(stored_name(name), []).append(name)
        for names in spelt.values():
            for first, second in combinations(names, 2):
                both = self._connection.execute(
                    f"select _source_line {own} and json_exists(c0, ?) and json_exists(c0, ?) order by 1 limit 1",
                    [file.name, json_pointer(first), json_pointer(second)],
                ).fetchone()
                if both:
                    raise same_column(f"{file.path}: line {both[0]}", [first, second])

    def _has_required(self, own: str, file: SourceFile) -> bool:
        """Whether every required key occurs in some record, usually in the first."""
        return all(
            self._connection.execute(
                f"select 1 {own} and json_exists(c0, ?) limit 1", [file.name, json_pointer(name)]
            ).fetchone()
            for name in self._target.required
        )

    def _incoming(self, columns: tuple[str, ...], reading: Reading = DEFAULT_READING) -> str:
        table_key = (columns, reading.digest)
        if table_key not in self.tables:
            table = f"{self._prefix}_{len(self.tables)}"
            width = 1 if columns is LINES else len(columns)
            definition = ", ".join(f"c{position} varchar" for position in range(width))
            self._connection.execute(
                f"create or replace temp table {table} ({definition}, _source_file varchar, _source_line bigint)"
            )
            self.tables[table_key] = table
            self.readings[reading.digest] = reading
        return self.tables[table_key]


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
            f"columns = {{{columns}}}, strict_mode = true, null_padding = false, max_line_size = {_FAST_LINE_BYTES}, "
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


class _Records(Protocol):
    """Parses a file from the start."""

    def __call__(self) -> Iterator[Row | RejectedLine]:
        """Return the records and the rejected lines, in the order of the file."""
        ...


def _batches(records: Iterator[Row | RejectedLine], rejected: list[RejectedLine]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for record in records:
        if isinstance(record, RejectedLine):
            rejected.append(record)
            continue
        batch.append(record)
        size += sum(len(value) for value in record.values if value)
        if len(batch) >= _BATCH_ROWS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
