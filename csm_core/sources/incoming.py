"""Text files into temporary tables: fast where the fast reader can be believed, line by line where it cannot.

Reading apart from the transaction that stores is what lets a file that the fast reader refuses be read again with care:
an error inside a transaction would end it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import duckdb

from csm_core.contract import Reason
from csm_core.errors import SourceError
from csm_core.sources.raw_tables import Log, RawTable
from csm_core.sources.source_files import SourceFile, first_line, glob_escaped, require_columns
from csm_core.sources.text_files import Refused, Row, line_count, read_header, read_lines, read_rows
from csm_core.sql_models import literal

if TYPE_CHECKING:
    import numpy as np

LINES: tuple[str, ...] = ("the text of a line",)
"""Stands for the columns of JSON lines: one, the whole line."""
MAX_COLUMNS = 2000

_FAST_LINE_BYTES = 32 * 1024 * 1024
_BATCH_ROWS = 20_000
_BATCH_BYTES = 64 * 1024 * 1024
_SEPARATOR = "\x01"


class IncomingText:
    """The text files of one load, in temporary tables of ``c0``, ``c1``, ..., ``_source_file`` and ``_source_line``.

    ``tables`` names the table of each set of columns; ``LINES`` for JSON lines.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, target: RawTable, prefix: str, log: Log) -> None:
        self._connection = connection
        self._target = target
        self._prefix = prefix
        self._log = log
        self.tables: dict[tuple[str, ...], str] = {}

    def read_csv(self, file: SourceFile) -> None:
        """Read a CSV file. Raises SourceError for one that is not one, or lacks a required column."""
        header = read_header(file.path)
        require_columns(str(file.path), self._target.required, header)
        file.columns = tuple(header)
        table = self._incoming(file.columns)
        columns = ", ".join(f"'c{position}': 'varchar'" for position in range(len(header)))
        values = ", ".join(f"c{position}" for position in range(len(header)))
        self._read_fast_or_carefully(
            file,
            table,
            f"select {values}, ?, row_number() over () + 1 from read_csv(?, auto_detect = false, header = true, "
            f"delim = ',', quote = '\"', escape = '\"', columns = {{{columns}}}, strict_mode = true, "
            f"null_padding = false, max_line_size = {_FAST_LINE_BYTES}, encoding = 'utf-8')",
            lines_without_row=1,
            records=lambda: read_rows(file.path, len(header)),
        )

    def read_json_lines(self, file: SourceFile) -> None:
        """Read a file of JSON objects, one a line. Raises SourceError as ``read_csv`` does."""
        if file.size == 0:
            message = f"{file.path}: the file is empty. Remove it, or write it again."
            raise SourceError(message)
        lines = self._incoming(LINES)
        self._read_fast_or_carefully(
            file,
            lines,
            "select c0, ?, row_number() over () from read_csv(?, auto_detect = false, header = false, "
            f"delim = {literal(_SEPARATOR)}, quote = '', escape = '', columns = {{'c0': 'varchar'}}, "
            f"strict_mode = true, null_padding = false, max_line_size = {_FAST_LINE_BYTES}, encoding = 'utf-8')",
            lines_without_row=0,
            records=lambda: read_lines(file.path),
        )
        self._sift_json(file, lines)

    def discard(self) -> None:
        """Drop the temporary tables."""
        for table in self.tables.values():
            self._connection.execute(f"drop table if exists temp.{table}")

    def _read_fast_or_carefully(
        self,
        file: SourceFile,
        table: str,
        fast: str,
        *,
        lines_without_row: int,
        records: _Records,
    ) -> None:
        # A quote that is never closed makes the fast reader swallow rows without a word. It is believed only when it
        # found exactly one row per physical line.
        expected = line_count(file.path) - lines_without_row
        try:
            inserted = self._connection.execute(
                f"insert into temp.{table} {fast}", [file.name, glob_escaped(file.name)]
            ).fetchone()
            file.rows = int(inserted[0]) if inserted else 0
            if file.rows == expected:
                return
            self._connection.execute(f"delete from temp.{table} where _source_file = ?", [file.name])
        except (duckdb.InvalidInputException, duckdb.IOException, duckdb.ConversionException) as error:
            self._log.info("file needs careful reading", file=file.name, because=first_line(error))
        file.rows = 0
        for batch in _batches(records(), file.refused):
            self._insert_batch(file, table, batch)

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

    def _sift_json(self, file: SourceFile, lines: str) -> None:
        own = f"from temp.{lines} where _source_file = ?"
        broken = "case when json_valid(c0) then json_type(c0) <> 'OBJECT' else true end"
        refused = self._connection.execute(f"select _source_line, c0 {own} and {broken}", [file.name]).fetchall()
        if refused:
            # The whole file as one array is the one mistake worth its own message.
            first = str(refused[0][1]).lstrip("\ufeff \t")
            if len(refused) == file.rows and first.startswith("["):
                message = f"{file.path}: a JSON array; expected JSON lines, one object on each line"
                raise SourceError(message)
            file.refused += [Refused(line, Reason.UNPARSEABLE_ROW, "not a JSON object", text) for line, text in refused]
            self._connection.execute(f"delete {own} and {broken}", [file.name])
            file.rows -= len(refused)
        if self._target.records and self._has_required(own, file):
            return
        keys = [
            str(key)
            for (key,) in self._connection.execute(
                f"select distinct unnest(json_keys(c0)) as json_key {own} order by json_key", [file.name]
            ).fetchall()
        ]
        if len(keys) > MAX_COLUMNS:
            message = f"{file.path}: {len(keys)} different keys; more than {MAX_COLUMNS} is no table of records"
            raise SourceError(message)
        file.columns = tuple(keys)
        if file.rows:
            require_columns(str(file.path), self._target.required, keys)

    def _has_required(self, own: str, file: SourceFile) -> bool:
        """Whether every required key is in some record: as a rule in the first, so that no other is looked at."""
        return all(
            self._connection.execute(
                f"select 1 {own} and json_exists(c0, ?) limit 1", [file.name, f"/{name}"]
            ).fetchone()
            for name in self._target.required
        )

    def _incoming(self, columns: tuple[str, ...]) -> str:
        if columns not in self.tables:
            table = f"{self._prefix}_{len(self.tables)}"
            width = 1 if columns is LINES else len(columns)
            definition = ", ".join(f"c{position} varchar" for position in range(width))
            self._connection.execute(
                f"create or replace temp table {table} ({definition}, _source_file varchar, _source_line bigint)"
            )
            self.tables[columns] = table
        return self.tables[columns]


class _Records(Protocol):
    """Reads a file's records with care, from the start."""

    def __call__(self) -> Iterator[Row | Refused]:
        """The records and the refused lines, in the file's order."""
        ...


def _batches(records: Iterator[Row | Refused], refused: list[Refused]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for record in records:
        if isinstance(record, Refused):
            refused.append(record)
            continue
        batch.append(record)
        size += sum(len(value) for value in record.values if value)
        if len(batch) >= _BATCH_ROWS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
