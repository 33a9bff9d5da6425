"""Files into raw tables: what is new is read, what is broken is kept apart, and a ledger says what was loaded when.

A raw table (``raw.<system>__<name>``) holds the records as they came, text for CSV and JSON lines, native types for
Parquet, every column of every file under its key (``column_names``), then four columns of bookkeeping. ``raw.loads``
has one row per file and load; ``raw.unparseable_rows`` has the lines that cannot be read as records.

Loading is idempotent. A file is known by its path; one of the same size and modification time, or of the same
content, is skipped. A changed file is loaded again under a new load id and the gate lets its records replace earlier
ones with the same key; records that a changed file no longer holds stay (files state what happened, and leaving a
line out is no statement), except those that had been refused, which leave with the version that they came in.
The fingerprint of a file holds how it is read as well: with other settings it is loaded again, and replaces the earlier
load of the same content. Loads of earlier contents stay, as they do when a file changes.

One load is one transaction: killed at any instant, the warehouse holds what it held before.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import duckdb

from csm_core.contract import EXPORT_COLUMNS, MAP_EXPORT_COLUMNS, RECORD, SOURCE, Reason
from csm_core.errors import SourceError
from csm_core.ingest.column_names import column_key, stored_name
from csm_core.ingest.embedded_json import embed
from csm_core.ingest.parquet_files import OPTIONS, ParquetColumn, damage, described, row_number, unused_name
from csm_core.ingest.raw_columns import RawColumns, as_json, converted
from csm_core.ingest.raw_tables import LoadResult, Log, RawTable, opened_columns, prepare
from csm_core.ingest.read_settings import AS_USUAL, Reading
from csm_core.ingest.read_settings_sql import reading_sql
from csm_core.ingest.source_files import (
    CSV,
    JSON_LINES,
    PARQUET,
    SourceFile,
    first_line,
    glob_escaped,
    stated,
)
from csm_core.ingest.text_loader import LINES, IncomingText, json_pointer, require_reading
from csm_core.ingest.text_reader import Refused, fingerprint_of
from csm_core.warehouse.database import transaction
from csm_core.warehouse.models import literal
from csm_core.warehouse.models import quoted as sql_quoted
from csm_core.warehouse.text_macros import create_macros

_BATCH_ROWS = 20_000
_WITH = "+"
_LISTED = 10
_KEPT_OF_VALUE = 1000
# Our own exports put it in front of a value that a spreadsheet would run as a formula.
_WITHOUT_APOSTROPHE = r"(case when regexp_matches({0}, '^''+[=+@\t\r-]') then {0}[2:] else {0} end)"


def load_tables(
    connection: duckdb.DuckDBPyConnection,
    targets: Sequence[tuple[RawTable, Sequence[Path] | Mapping[Path, str]]],
    *,
    loaded_at: datetime,
    log: Log,
    readings: Mapping[tuple[str, Path], Reading] | None = None,
) -> list[LoadResult]:
    """Load what is new in the given files into their raw tables, all of it or nothing.

    A table of records is given its files by path with the name of the source that each belongs to.
    ``readings`` say, by table name and path, which files have settings for reading. ``loaded_at`` is a UTC
    instant. Raises SourceError, naming the file and what was found in it, for a file that is
    not what its name says or lacks a required column; single broken rows are kept apart instead.
    """
    prepare(connection)
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
    """The load of one raw table: text is read into temporary tables first, then everything moves in one transaction."""

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
        self._readings = {path: readings.get((target.name, path), AS_USUAL) for path in self._paths}
        self._text = IncomingText(connection, target, f"incoming_{number}", log)
        self._columns = RawColumns(connection, target)
        self._changed: list[SourceFile] = []
        self._touched: list[SourceFile] = []
        self._unchanged = 0
        self._started = 0.0

    def read(self) -> None:
        """Find what is new; read text files into temporary tables, and the heads of Parquet files."""
        self._started = time.perf_counter()
        self._find_changed()
        parquet = [file for file in self._changed if file.form == PARQUET]
        self._describe_parquet(parquet)
        for file in self._changed:
            if file.form == CSV:
                self._text.read_csv(file)
            elif file.form == JSON_LINES:
                self._text.read_json_lines(file)
        for file in self._changed:
            self._require_unchanged(file)

    def store(self, loaded_at: datetime) -> LoadResult:
        """Move what was read into the raw table and write the ledger; runs inside the caller's transaction."""
        connection, target = self._connection, self._target
        self._columns.ensure_table()
        self._withdraw_vanished()
        for file in self._touched:
            connection.execute(
                "update raw.loads set file_mtime_ns = ? where raw_table = ? and path = ? and status = 'loaded'",
                [file.mtime_ns, target.table, file.name],
            )
        if not self._changed:
            return self._result(None)
        row = connection.execute("select coalesce(max(load_id), 0) + 1 from raw.loads").fetchone()
        load_id = int(row[0]) if row else 1
        self._drop_what_leaves()
        parquet = [file for file in self._changed if file.form == PARQUET]
        self._store_parquet(parquet, load_id, loaded_at)
        for (columns, digest), table in self._text.tables.items():
            self._store_text(columns, self._text.readings[digest], table, load_id, loaded_at)
        self._embed_json(load_id)
        self._write_ledger(load_id, loaded_at)
        return self._result(load_id)

    def discard(self) -> None:
        """Drop the temporary tables."""
        self._text.discard()

    # -- what is new ---------------------------------------------------------------------------------------------

    def _find_changed(self) -> None:
        known = {
            path: (size, mtime, fingerprint)
            for path, size, mtime, fingerprint in self._connection.execute(
                "select path, file_size, file_mtime_ns, fingerprint from raw.loads "
                "where raw_table = ? and status = 'loaded' "
                "qualify row_number() over (partition by path order by load_id desc) = 1",
                [self._target.table],
            ).fetchall()
        }
        for path in self._paths:
            file = stated(path, self._readings[path])
            earlier = known.get(file.name)
            read_alike = earlier is not None and _digest_in(earlier[2]) == file.reading.digest
            if earlier and read_alike and earlier[:2] == (file.size, file.mtime_ns):
                self._unchanged += 1
                continue
            file.fingerprint = f"{fingerprint_of(path)}{_WITH * bool(file.reading.digest)}{file.reading.digest}"
            if earlier and earlier[2] == file.fingerprint:
                self._unchanged += 1
                self._touched.append(file)
            else:
                self._changed.append(file)

    def _require_unchanged(self, file: SourceFile) -> None:
        now = stated(file.path)
        if (now.size, now.mtime_ns) != (file.size, file.mtime_ns):
            message = f"{file.path}: changed while it was read. Run again when it has been written completely."
            raise SourceError(message)

    # -- Parquet -------------------------------------------------------------------------------------------------

    def _describe_parquet(self, files: Sequence[SourceFile]) -> None:
        for file in files:
            columns, file.rows = described(self._connection, file.name)
            file.columns = tuple(column.signature for column in columns)
            require_reading(str(file.path), self._target, file.reading, [column.name for column in columns])

    def _store_parquet(self, files: Sequence[SourceFile], load_id: int, loaded_at: datetime) -> None:
        alike: dict[tuple[tuple[str, ...], str], list[SourceFile]] = {}
        groups: list[list[SourceFile]] = []
        for file in files:
            group = alike.setdefault((file.columns, file.reading.digest), [])
            # A file whose rows the reader does not number is read alone.
            if not group or not row_number(_names(file.columns))[1]:
                alike[file.columns, file.reading.digest] = group = []
                groups.append(group)
            group.append(file)
        for group in groups:
            columns = [ParquetColumn(*signed.split("\0", 1)) for signed in group[0].columns]
            names = _names(group[0].columns)
            line, numbered = row_number(names)
            file_column = unused_name("_csm_file", names)
            # One file is one constant: the name is not looked up row by row.
            name = literal(group[0].name) if len(group) == 1 else file_column
            if self._target.records:
                given = [(column.name, as_json(sql_quoted(column.name), column.kind)) for column in columns]
                values = self._as_record(given, name)
            else:
                typed = {column.name: (column.expression, column.raw_type) for column in columns}
                values = self._values(group[0].reading, typed)
            options = numbered if len(group) == 1 else f"{numbered}, filename = {literal(file_column)}"
            try:
                self._connection.execute(
                    f"insert into {self._target.table} by name select {', '.join(values)}, "
                    f"{name} as _source_file, {line} as _source_line, "
                    f"cast(? as timestamp) as _loaded_at, cast(? as bigint) as _load_id "
                    f"from read_parquet(?, {OPTIONS}{options})",
                    [loaded_at, load_id, [glob_escaped(file.name) for file in group]],
                )
            except duckdb.Error as error:
                raise SourceError(damage(self._connection, group, columns, error)) from None

    # -- storing -------------------------------------------------------------------------------------------------

    def _store_text(
        self, columns: tuple[str, ...], reading: Reading, table: str, load_id: int, loaded_at: datetime
    ) -> None:
        if columns is LINES:
            self._store_json(reading, table, load_id, loaded_at)
            return
        if self._target.records:
            given = [(name, as_json(f"c{position}", "VARCHAR")) for position, name in enumerate(columns)]
            self._insert(self._as_record(given, "_source_file"), f"temp.{table}", load_id, loaded_at)
            return
        names = {column_key(name) for name in columns}
        exported = any(names >= set(own) for own in (EXPORT_COLUMNS, MAP_EXPORT_COLUMNS))
        read = _WITHOUT_APOSTROPHE if exported else "{0}"
        given = {name: (read.format(f"c{position}"), "VARCHAR") for position, name in enumerate(columns)}
        self._insert(self._values(reading, given), f"temp.{table}", load_id, loaded_at)

    def _values(
        self, reading: Reading, given: Mapping[str, tuple[str, str]], json_types: Mapping[str, str] | None = None
    ) -> list[str]:
        """SELECT items for the columns of a file, given as expression and type by their names in the file.

        ``json_types`` are expressions of the JSON type: a JSON number is a plain number already.
        """
        target = self._target
        placed = reading.placed("", list(given), (*target.required, *target.optional))
        stored = self._columns.align([(column, given[names[0]][1]) for column, names in placed.items()])
        values: list[str] = []
        for column, names in placed.items():
            _, kind = given[names[0]]
            value = _first_of([given[name][0] for name in names])
            read = reading_sql(reading, column, value, kind)
            if json_types and read != value:
                text = f"{_first_of([json_types[name] for name in names])} = 'VARCHAR'"
                read = f"case when {text} then {read} else {value} end"
            values.append(f"{converted(read, kind, stored[column])} as {sql_quoted(column)}")
        return values

    def _as_record(self, columns: Sequence[tuple[str, str]], file: str) -> list[str]:
        """The columns as one JSON object, unless one of them holds the complete record already.

        A column is included under its key and, if different, in its own spelling: settings may use that spelling, as do
        the records of some APIs, such as Segment's ``messageId``.
        """
        whole = next((value for name, value in columns if column_key(name) == RECORD), None)
        keyed = dict(columns) | {stored_name(name): value for name, value in columns}
        pairs = ", ".join(f"{literal(name)}, {value}" for name, value in keyed.items())
        return self._record(f"cast({whole or f'json_object({pairs})'} as varchar)", file)

    def _record(self, record: str, file: str) -> list[str]:
        """The columns of a table of records, bookkeeping aside."""
        return [f"{record} as {RECORD}", self._source_of(file), *opened_columns(self._target.opened, record)]

    def _source_of(self, file: str) -> str:
        """The name of the source that a file belongs to."""
        files: dict[str, list[str]] = {}
        for changed in self._changed:
            files.setdefault(self._sources[changed.name], []).append(literal(changed.name))
        if len(files) == 1:
            return f"{literal(next(iter(files)))} as {SOURCE}"
        cases = " ".join(f"when {file} in ({', '.join(names)}) then {literal(one)}" for one, names in files.items())
        return f"case {cases} end as {SOURCE}"

    def _store_json(self, reading: Reading, table: str, load_id: int, loaded_at: datetime) -> None:
        files = [file for file in self._changed if file.form == JSON_LINES and file.reading.digest == reading.digest]
        keys = list(dict.fromkeys(key for file in files for key in file.columns))
        if self._target.records:
            record = self._keyed("c0", keys) if self._target.snapshot else "c0"
            self._insert(self._record(record, "_source_file"), f"temp.{table}", load_id, loaded_at)
            return
        if not keys:
            return
        position = {key: index for index, key in enumerate(keys, start=1)}
        given = {key: (f"json_values[{index}]", "VARCHAR") for key, index in position.items()}
        types = {key: f"json_types[{index}]" for key, index in position.items()} if reading.decimal else {}
        pointers = ", ".join(literal(json_pointer(key)) for key in keys)
        typed = f"json_type(c0, [{pointers}]) as json_types, " if types else ""
        source = (
            f"(select json_extract_string(c0, [{pointers}]) as json_values, {typed}_source_file, _source_line "
            f"from temp.{table})"
        )
        self._insert(self._values(reading, given, types), source, load_id, loaded_at)

    @staticmethod
    def _keyed(record: str, keys: Sequence[str]) -> str:
        """A JSON object with the keys of the columns in addition to its own; values do not change."""
        placed = AS_USUAL.placed("", keys)
        if all(names == [column] for column, names in placed.items()):
            return record
        pairs: list[str] = []
        for column, names in placed.items():
            found = [f"json_extract({record}, {literal(json_pointer(name))})" for name in names]
            pairs.append(f"{literal(column)}, {_first_of(found)}")
            pairs += [
                f"{literal(name)}, {value}" for name, value in zip(names, found, strict=True) if name not in placed
            ]
        return f"cast(json_object({', '.join(pairs)}) as varchar)"

    def _insert(self, values: Sequence[str], source: str, load_id: int, loaded_at: datetime) -> None:
        self._connection.execute(
            f"insert into {self._target.table} by name select {', '.join(values)}, _source_file, _source_line, "
            f"cast(? as timestamp) as _loaded_at, cast(? as bigint) as _load_id from {source}",
            [loaded_at, load_id],
        )

    def _embed_json(self, load_id: int) -> None:
        """Read JSON text in the stored records as objects; records whose text is not JSON are rejected."""
        if not self._target.json_texts:
            return
        create_macros(self._connection)
        files = {file.name: file for file in self._changed}
        for one in embed(self._connection, self._target, load_id):
            file = files[one.file]
            detail = f"{one.path} is not a JSON object: {one.value[:_KEPT_OF_VALUE]}"
            file.refused.append(Refused(one.line, Reason.INVALID_JSON, detail, one.text))
            file.rows -= 1

    def _withdraw_vanished(self) -> None:
        """Take back files that are gone from the source and were never accepted by the gate (or are a snapshot)."""
        pending = self._connection.execute(
            "select distinct path, load_id, fingerprint from raw.loads where raw_table = ? and status = 'loaded' "
            "and (? or load_id not in (select load_id from run.staged_loads))",
            [self._target.table, self._target.snapshot],
        ).fetchall()
        present = {str(path) for path in self._paths}
        for path, load_id, fingerprint in pending:
            # Another source of the same system may have files of its own in this table.
            if path not in present and (self._target.snapshot or not Path(path).is_file()):
                if not self._target.snapshot and self._replaces_accepted(path, load_id, fingerprint):
                    continue
                self._forget(path, load_id, "replaced" if self._target.snapshot else "withdrawn")
                self._log.info("records of a file that is gone withdrawn", file=path)

    def _drop_what_leaves(self) -> None:
        again: list[str] = []
        for file in self._changed:
            earlier = self._connection.execute(
                "select load_id, load_id in (select load_id from run.staged_loads), fingerprint from raw.loads "
                "where raw_table = ? and path = ? and status = 'loaded' order by load_id",
                [self._target.table, file.name],
            ).fetchall()
            read_again = False
            for load_id, staged, fingerprint in earlier:
                # The same content, read with other settings. Other contents of the file are versions of it, and stay.
                same_content = _content_in(fingerprint) == _content_in(file.fingerprint)
                read_otherwise = same_content and _digest_in(fingerprint) != file.reading.digest
                read_again = read_again or read_otherwise
                accepted = staged or self._replaces_accepted(file.name, load_id, fingerprint)
                if self._target.snapshot or read_otherwise or not accepted:
                    self._forget(file.name, load_id, "replaced" if staged else "withdrawn")
            if read_again:
                self._log.info("file read again with other settings", file=file.name)
                again.append(file.name)
            self._connection.execute(
                "delete from raw.unparseable_rows where raw_table = ? and source_file = ?",
                [self._target.table, file.name],
            )
        if again:
            shown = ", ".join(again[:_LISTED]) + (f", and {len(again) - _LISTED} more" if len(again) > _LISTED else "")
            self._log.warning("files read again with other settings", entity=self._target.entity, files=shown)

    def _replaces_accepted(self, path: str, load_id: int, fingerprint: str) -> bool:
        """Whether a load took the place of an accepted load of the same content, read with other settings."""
        found = self._connection.execute(
            "select 1 from raw.loads where raw_table = ? and path = ? and status = 'replaced' and load_id < ? "
            "and starts_with(fingerprint, ?) limit 1",
            [self._target.table, path, load_id, _content_in(fingerprint)],
        ).fetchone()
        return found is not None

    def _forget(self, path: str, load_id: int, status: str) -> None:
        self._connection.execute(
            f"delete from {self._target.table} where _load_id = ? and _source_file = ?", [load_id, path]
        )
        self._connection.execute(
            "delete from raw.unparseable_rows where load_id = ? and source_file = ? and raw_table = ?",
            [load_id, path, self._target.table],
        )
        self._connection.execute(
            "update raw.loads set status = ? where load_id = ? and path = ? and raw_table = ?",
            [status, load_id, path, self._target.table],
        )

    def _write_ledger(self, load_id: int, loaded_at: datetime) -> None:
        import numpy as np

        target = self._target
        self._connection.executemany(
            "insert into raw.loads values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'loaded')",
            [
                [
                    *(load_id, target.system, target.entity, target.table),
                    *(file.name, file.size, file.mtime_ns, file.fingerprint),
                    *(file.rows + len(file.refused), file.rows, len(file.refused), loaded_at),
                ]
                for file in self._changed
            ],
        )
        refused = [(file, line) for file in self._changed for line in file.refused]
        for start in range(0, len(refused), _BATCH_ROWS):
            part = refused[start : start + _BATCH_ROWS]
            self._connection.register(
                "incoming_batch",
                {
                    "file": np.array([file.name for file, _ in part], dtype=object),
                    "line": np.array([line.line for _, line in part], dtype=np.int64),
                    "reason": np.array([str(line.reason) for _, line in part], dtype=object),
                    "detail": np.array([line.detail for _, line in part], dtype=object),
                    "raw_text": np.array([line.text for _, line in part], dtype=object),
                },
            )
            try:
                self._connection.execute(
                    "insert into raw.unparseable_rows select ?, ?, ?, ?, file, line, reason, detail, raw_text, ? "
                    "from incoming_batch",
                    [load_id, target.system, target.entity, target.table, loaded_at],
                )
            finally:
                self._connection.unregister("incoming_batch")

    def _result(self, load_id: int | None) -> LoadResult:
        target = self._target
        loaded = sum(file.rows for file in self._changed)
        unparseable = sum(len(file.refused) for file in self._changed)
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


def _first_of(expressions: Sequence[str]) -> str:
    return f"coalesce({', '.join(expressions)})" if len(expressions) > 1 else expressions[0]


def _names(signatures: Sequence[str]) -> list[str]:
    """The names in the signatures of the columns of a Parquet file."""
    return [signature.partition("\0")[0] for signature in signatures]


def _content_in(fingerprint: str) -> str:
    """The digest of the content of the file of a fingerprint, however the file was read."""
    return fingerprint.partition(_WITH)[0]


def _digest_in(fingerprint: str) -> str:
    """The digest of the settings that a file was read with, from its fingerprint; empty for the defaults."""
    return fingerprint.partition(_WITH)[2]
