"""Loads text files into temporary tables with DuckDB's CSV reader, and falls back to a strict parser if necessary.

Files are read outside the transaction that stores the records, since an error of the fast reader would abort the
transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations
from typing import TYPE_CHECKING, Protocol

import duckdb

from csm_core.contract import Reason
from csm_core.errors import SourceError
from csm_core.ingest.column_names import same_column, shown, stored_name
from csm_core.ingest.fast_reader import FAST_LINE_BYTES, FastCsv, FastSelect
from csm_core.ingest.raw_tables import Log, RawTable
from csm_core.ingest.read_settings import DEFAULT_READING, Reading
from csm_core.ingest.source_files import (
    CSV,
    JSON_LINES,
    SourceFile,
    compression_of,
    first_line,
    glob_escaped,
    require_columns,
)
from csm_core.ingest.text_files import line_count, scanned
from csm_core.ingest.text_reader import RejectedLine, Row, read_header, read_lines, read_rows
from csm_core.warehouse.models import literal

if TYPE_CHECKING:
    import numpy as np

LINES: tuple[str, ...] = ("the text of a line",)
"""The columns of JSON lines: a single one, the line."""
MAX_COLUMNS = 2000

_BATCH_ROWS = 20_000
_BATCH_BYTES = 64 * 1024 * 1024
_SEPARATOR = "\x01"
_EMPTY_QUOTES = '""'
_NOT_FAST = (duckdb.InvalidInputException, duckdb.IOException, duckdb.ConversionException)
# Files up to this size are read in one statement, at most this number at a time: one of its own takes milliseconds.
_SMALL_BYTES = 256 * 1024
_TOGETHER = 250
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

    def read(self, files: Sequence[SourceFile]) -> None:
        """Read CSV files and files with one JSON object per line; small files that are alike are read together.

        Raises SourceError for a file that is not what its name says, or lacks a required column.
        """
        alike: dict[tuple[object, ...], list[_FastRead]] = {}
        for file in files:
            read = self._csv(file) if file.form == CSV else self._json_lines(file)
            is_small = file.size <= _SMALL_BYTES
            alike.setdefault((read.select, *(() if is_small else (file.name,))), []).append(read)
        for reads in alike.values():
            for start in range(0, len(reads), _TOGETHER):
                some = reads[start : start + _TOGETHER]
                if len(some) == 1 or not self._read_together(some):
                    for read in some:
                        self._read_fast_or_strict(read)
        for reads in alike.values():
            for read in reads:
                if read.file.form == JSON_LINES:
                    self._reject_invalid_json(read.file, read.select.table)

    def _csv(self, file: SourceFile) -> _FastRead:
        path, reading = file.path, file.reading
        header = read_header(path, reading.delimiter, setting=SETTING if self._target.adjustable else "")
        require_reading(str(path), self._target, reading, header.names)
        file.columns = tuple(header.names)
        nulls = self._target.null_values if reading.null_values is None else reading.null_values
        scan = scanned(path, (*nulls, _EMPTY_QUOTES) if nulls else ())
        width, delimiter, line = len(header.names), header.delimiter, header.line
        fast = FastCsv(width, delimiter, tuple(text for text in nulls if text in scan.texts), skip=line - 1)
        return _FastRead(
            file,
            FastSelect(
                self._incoming(file.columns, reading),
                fast.values(empty_quotes=_EMPTY_QUOTES in scan.texts),
                f"{fast.options()}, compression = {literal(compression_of(path))}",
                line,
                fast.ambiguous(),
            ),
            expected=scan.lines - line,
            records=lambda: read_rows(path, width, delimiter=delimiter, null_values=nulls, header_line=line),
        )

    def _json_lines(self, file: SourceFile) -> _FastRead:
        if file.size == 0:
            message = f"{file.path}: the file is empty. Remove it, or export it again."
            raise SourceError(message)
        options = (
            f"auto_detect = false, header = false, delim = {literal(_SEPARATOR)}, quote = '', escape = '', "
            f"columns = {{'c0': 'varchar'}}, strict_mode = true, null_padding = false, "
            f"max_line_size = {FAST_LINE_BYTES}, encoding = 'utf-8', compression = {literal(compression_of(file.path))}"
        )
        return _FastRead(
            file,
            FastSelect(self._incoming(LINES, file.reading), "c0", options),
            expected=line_count(file.path),
            records=lambda: read_lines(file.path),
        )

    def discard(self) -> None:
        """Drop the temporary tables."""
        for table in self.tables.values():
            self._connection.execute(f"drop table if exists temp.{table}")

    def _read_together(self, reads: Sequence[_FastRead]) -> bool:
        """Read files that are alike in one statement; returns whether each has its rows, and none is ambiguous."""
        select = reads[0].select
        expected = {read.file.name: read.expected for read in reads}
        try:
            self._connection.execute(
                select.insert_of_many(),
                [
                    [glob_escaped(name) for name in expected],
                    list(expected),
                    list(accumulate(expected.values(), initial=0))[:-1],
                ],
            )
        except _NOT_FAST as error:
            self._report_strict(f"{len(reads)} files", error)
            return False
        found = self._connection.execute(
            "select _source_file, count(*), min(_source_line), max(_source_line), "
            f"count(*) filter (where {select.ambiguous or 'false'}) from temp.{select.table} "
            "where _source_file in (select unnest($names)) group by all",
            {"names": list(expected)},
        ).fetchall()
        counted = {name: tuple(more) for name, *more in found}
        if all(
            counted.get(name, (0, *select.lines(0), 0)) == (rows, *select.lines(rows), 0)
            for name, rows in expected.items()
        ):
            for read in reads:
                read.file.rows = read.expected
            return True
        self._connection.execute(
            f"delete from temp.{select.table} where _source_file in (select unnest($names))", {"names": list(expected)}
        )
        return False

    def _read_fast_or_strict(self, read: _FastRead) -> None:
        # With an unclosed quote, the fast reader drops rows silently. Its result is used only if it has exactly one row
        # per physical line, and no row that matches the condition ``ambiguous``.
        file, select = read.file, read.select
        try:
            inserted = self._connection.execute(select.insert_of_one(), [file.name, glob_escaped(file.name)]).fetchone()
            file.rows = int(inserted[0]) if inserted else 0
            if file.rows == read.expected and not (
                select.ambiguous and self._any_row(file, select.table, select.ambiguous)
            ):
                return
            self._connection.execute(f"delete from temp.{select.table} where _source_file = ?", [file.name])
        except _NOT_FAST as error:
            self._report_strict(file.name, error)
        file.rows = 0
        for batch in _batches(read.records(), file.rejected):
            self._insert_batch(file, select.table, batch)

    def _report_strict(self, file: str, error: duckdb.Error) -> None:
        if self._log:
            self._log.info("CSV fast path failed, using strict parser", file=file, reason=first_line(error))

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


class _Records(Protocol):
    """Parses a file from the start."""

    def __call__(self) -> Iterator[Row | RejectedLine]:
        """Return the records and the rejected lines, in the order of the file."""
        ...


@dataclass(frozen=True)
class _FastRead:
    """How the fast reader reads a file, the rows that it has then, and the strict parser."""

    file: SourceFile
    select: FastSelect
    expected: int
    records: _Records


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
