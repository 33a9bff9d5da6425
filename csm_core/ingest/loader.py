"""Loads new and changed files into raw tables, stores unparseable lines separately, and records every load.

A raw table (``raw.<system>__<name>``) has the records of the source without changes: text for CSV and JSON lines,
native types for Parquet, all columns of all files under their keys (``column_names``), then four bookkeeping columns.
``raw.loads`` has one row per file and load; ``raw.unparseable_rows`` has the lines that cannot be read as records.

Loading is idempotent. A file is identified by its path; a file with the same size and modification time, or the same
content, is skipped. A changed file is loaded again under a new load id, and the gate replaces earlier records with the
same key. Records that a changed file no longer contains stay, since a missing line does not delete a record; rejected
records of the earlier version are removed. The fingerprint of a file includes its read settings: with other settings
the file is loaded again, and replaces the earlier load of the same content. Loads of earlier contents stay, as they do
when a file changes.

A load is one transaction: if the process is killed, the warehouse keeps its previous state.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import duckdb

from csm_core.contract import EXPORT_COLUMNS, MAP_EXPORT_COLUMNS, Reason
from csm_core.errors import SourceError
from csm_core.ingest.column_names import column_key
from csm_core.ingest.embedded_json import embed
from csm_core.ingest.load_ledger import LoadLedger, digest_in, file_fingerprint
from csm_core.ingest.parquet_files import OPTIONS, ParquetColumn, damage, described, row_number, unused_name
from csm_core.ingest.raw_columns import RawColumns, as_json
from csm_core.ingest.raw_tables import LoadResult, Log, RawTable
from csm_core.ingest.read_settings import DEFAULT_READING, Reading
from csm_core.ingest.row_values import RowValues, keyed
from csm_core.ingest.source_files import (
    CSV,
    JSON_LINES,
    PARQUET,
    SourceFile,
    describe_file,
    first_line,
    glob_escaped,
)
from csm_core.ingest.text_loader import LINES, TextLoader, json_pointer, require_reading
from csm_core.ingest.text_reader import RejectedLine
from csm_core.warehouse.catalog import transaction
from csm_core.warehouse.models import literal
from csm_core.warehouse.models import quoted as sql_quoted
from csm_core.warehouse.spreadsheet_text import unescaped_sql
from csm_core.warehouse.text_macros import create_macros

_KEPT_OF_VALUE = 1000


def load_tables(
    connection: duckdb.DuckDBPyConnection,
    targets: Sequence[tuple[RawTable, Sequence[Path] | Mapping[Path, str]]],
    *,
    loaded_at: datetime,
    log: Log,
    readings: Mapping[tuple[str, Path], Reading] | None = None,
) -> list[LoadResult]:
    """Load new and changed files into their raw tables, in one transaction.

    For a table of records, the files are a mapping from path to the name of the source. ``readings`` are the read
    settings of files, by table name and path. ``loaded_at`` is a UTC time. Raises SourceError, with the file and its
    content, for a file that does not match the format in its name or lacks a required column. Unparseable rows do not
    raise; they are stored separately.
    """
    at = loaded_at.replace(tzinfo=None)
    loads: list[_Load] = []
    try:
        for number, (target, paths) in enumerate(targets):
            load = _Load(connection, target, paths, number, log, readings or {})
            loads.append(load)
            load.read()
        with transaction(connection):
            return [load.store(at) for load in loads]
    except duckdb.Error as error:
        message = f"loading failed: {first_line(error)}"
        raise SourceError(message) from error
    finally:
        for load in loads:
            load.discard()


class _Load:
    """The load of one raw table: text is first read into temporary tables, then moved in one transaction."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        target: RawTable,
        paths: Sequence[Path] | Mapping[Path, str],
        number: int,
        log: Log,
        readings: Mapping[tuple[str, Path], Reading],
    ) -> None:
        self._connection = connection
        self._target = target
        self._paths = tuple(paths)
        self._sources = {str(path): source for path, source in paths.items()} if isinstance(paths, Mapping) else {}
        self._log = log
        self._readings = {path: readings.get((target.name, path), DEFAULT_READING) for path in self._paths}
        self._text = TextLoader(connection, target, f"incoming_{number}", log)
        self._columns = RawColumns(connection, target)
        self._ledger = LoadLedger(connection, target, log)
        self._changed: list[SourceFile] = []
        self._touched: list[SourceFile] = []
        self._unchanged = 0
        self._started = 0.0

    def read(self) -> None:
        """Find new and changed files; read text files into temporary tables, and the schemas of Parquet files."""
        self._started = time.perf_counter()
        self._find_changed()
        parquet = [file for file in self._changed if file.form == PARQUET]
        self._describe_parquet(parquet)
        self._text.read([file for file in self._changed if file.form in (CSV, JSON_LINES)])
        for file in self._changed:
            self._require_unchanged(file)

    def store(self, loaded_at: datetime) -> LoadResult:
        """Move the records into the raw table and record the load; runs in the caller's transaction."""
        self._columns.ensure_table()
        for file in self._touched:
            self._ledger.touch(file)
        if not self._changed:
            self._ledger.withdraw_removed_files(self._paths, loaded_at)
            return self._result(None)
        load_id = self._ledger.next_load_id()
        sources = {file.name: self._sources[file.name] for file in self._changed} if self._target.records else {}
        values = RowValues(self._target, self._columns, sources)
        parquet = [file for file in self._changed if file.form == PARQUET]
        self._store_parquet(parquet, values, load_id, loaded_at)
        for (columns, digest), table in self._text.tables.items():
            self._store_text(columns, self._text.readings[digest], table, values, load_id, loaded_at)
        self._embed_json(load_id)
        # After the new rows are stored: of the rows that they repeat, only their place is kept.
        self._ledger.withdraw_removed_files(self._paths, loaded_at)
        self._ledger.drop_replaced(self._changed, loaded_at)
        self._ledger.record(self._changed, load_id, loaded_at)
        return self._result(load_id)

    def discard(self) -> None:
        """Drop the temporary tables."""
        self._text.discard()

    # -- new and changed files
    # ---------------------------------------------------------------------------------------------

    def _find_changed(self) -> None:
        loaded = self._ledger.latest()
        for path in self._paths:
            file = describe_file(path, self._readings[path])
            earlier = loaded.get(file.name)
            same_settings = earlier is not None and digest_in(earlier[2]) == file.reading.digest
            if earlier and same_settings and earlier[:2] == (file.size, file.mtime_ns):
                self._unchanged += 1
                continue
            file.fingerprint = file_fingerprint(path, file.reading.digest)
            if earlier and earlier[2] == file.fingerprint:
                self._unchanged += 1
                self._touched.append(file)
            else:
                self._changed.append(file)

    def _require_unchanged(self, file: SourceFile) -> None:
        now = describe_file(file.path)
        if (now.size, now.mtime_ns) != (file.size, file.mtime_ns):
            message = f"{file.path}: the file changed while it was read. Run again when the file is complete."
            raise SourceError(message)

    # -- Parquet -------------------------------------------------------------------------------------------------

    def _describe_parquet(self, files: Sequence[SourceFile]) -> None:
        for file in files:
            columns, file.rows = described(self._connection, file.name)
            file.columns = tuple(column.signature for column in columns)
            require_reading(str(file.path), self._target, file.reading, [column.name for column in columns])

    def _store_parquet(self, files: Sequence[SourceFile], values: RowValues, load_id: int, loaded_at: datetime) -> None:
        same_columns: dict[tuple[tuple[str, ...], str], list[SourceFile]] = {}
        groups: list[list[SourceFile]] = []
        for file in files:
            group = same_columns.setdefault((file.columns, file.reading.digest), [])
            # A file with rows that the reader cannot number is read separately.
            if not group or not row_number(_names(file.columns))[1]:
                same_columns[file.columns, file.reading.digest] = group = []
                groups.append(group)
            group.append(file)
        for group in groups:
            columns = [ParquetColumn(*signed.split("\0", 1)) for signed in group[0].columns]
            names = _names(group[0].columns)
            line, numbered = row_number(names)
            file_column = unused_name("_csm_file", names)
            # For a single file, the name is a constant instead of a column.
            name = literal(group[0].name) if len(group) == 1 else file_column
            if self._target.records:
                expressions = [(column.name, as_json(sql_quoted(column.name), column.kind)) for column in columns]
                items = values.as_record(expressions, name)
            else:
                typed = {column.name: (column.expression, column.raw_type) for column in columns}
                items = values.values(group[0].reading, typed)
            options = numbered if len(group) == 1 else f"{numbered}, filename = {literal(file_column)}"
            try:
                self._connection.execute(
                    f"insert into {self._target.table} by name select {', '.join(items)}, "
                    f"{name} as _source_file, {line} as _source_line, "
                    f"cast(? as timestamp) as _loaded_at, cast(? as bigint) as _load_id "
                    f"from read_parquet(?, {OPTIONS}{options})",
                    [loaded_at, load_id, [glob_escaped(file.name) for file in group]],
                )
            except duckdb.Error as error:
                raise SourceError(damage(self._connection, group, columns, error)) from None

    # -- storing -------------------------------------------------------------------------------------------------

    def _store_text(
        self,
        columns: tuple[str, ...],
        reading: Reading,
        table: str,
        values: RowValues,
        load_id: int,
        loaded_at: datetime,
    ) -> None:
        if columns is LINES:
            self._store_json(reading, table, values, load_id, loaded_at)
            return
        if self._target.records:
            expressions = [(name, as_json(f"c{position}", "VARCHAR")) for position, name in enumerate(columns)]
            self._insert(values.as_record(expressions, "_source_file"), f"temp.{table}", load_id, loaded_at)
            return
        names = {column_key(name) for name in columns}
        exported = any(names >= set(own) for own in (EXPORT_COLUMNS, MAP_EXPORT_COLUMNS))
        texts = [f"c{position}" for position in range(len(columns))]
        if exported:
            texts = [unescaped_sql(text) for text in texts]
        expressions = {name: (text, "VARCHAR") for name, text in zip(columns, texts, strict=True)}
        self._insert(values.values(reading, expressions), f"temp.{table}", load_id, loaded_at)

    def _store_json(self, reading: Reading, table: str, values: RowValues, load_id: int, loaded_at: datetime) -> None:
        files = [file for file in self._changed if file.form == JSON_LINES and file.reading.digest == reading.digest]
        keys = list(dict.fromkeys(key for file in files for key in file.columns))
        if self._target.records:
            record = keyed("c0", keys) if self._target.snapshot else "c0"
            self._insert(values.record(record, "_source_file"), f"temp.{table}", load_id, loaded_at)
            return
        if not keys:
            return
        position = {key: index for index, key in enumerate(keys, start=1)}
        expressions = {key: (f"json_values[{index}]", "VARCHAR") for key, index in position.items()}
        types = {key: f"json_types[{index}]" for key, index in position.items()} if reading.decimal else {}
        pointers = ", ".join(literal(json_pointer(key)) for key in keys)
        typed = f"json_type(c0, [{pointers}]) as json_types, " if types else ""
        source = (
            f"(select json_extract_string(c0, [{pointers}]) as json_values, {typed}_source_file, _source_line "
            f"from temp.{table})"
        )
        self._insert(values.values(reading, expressions, types), source, load_id, loaded_at)

    def _insert(self, values: Sequence[str], source: str, load_id: int, loaded_at: datetime) -> None:
        self._connection.execute(
            f"insert into {self._target.table} by name select {', '.join(values)}, _source_file, _source_line, "
            f"cast(? as timestamp) as _loaded_at, cast(? as bigint) as _load_id from {source}",
            [loaded_at, load_id],
        )

    def _embed_json(self, load_id: int) -> None:
        """Parse JSON text in the stored records; records with invalid JSON are rejected."""
        if not self._target.json_texts:
            return
        create_macros(self._connection)
        files = {file.name: file for file in self._changed}
        for one in embed(self._connection, self._target, load_id):
            file = files[one.file]
            detail = f"{one.path} is not a JSON object: {one.value[:_KEPT_OF_VALUE]}"
            file.rejected.append(RejectedLine(one.line, Reason.INVALID_JSON, detail, one.text))
            file.rows -= 1

    def _result(self, load_id: int | None) -> LoadResult:
        target = self._target
        loaded = sum(file.rows for file in self._changed)
        unparseable = sum(len(file.rejected) for file in self._changed)
        return LoadResult(
            system=target.system,
            entity=target.entity,
            table=target.table,
            load_id=load_id,
            files=tuple(file.name for file in self._changed),
            files_unchanged=self._unchanged,
            read=loaded + unparseable,
            loaded=loaded,
            unparseable=unparseable,
            seconds=time.perf_counter() - self._started,
        )


def _names(signatures: Sequence[str]) -> list[str]:
    """Return the names from the column signatures of a Parquet file."""
    return [signature.partition("\0")[0] for signature in signatures]
