"""Files into raw tables: what is new is read, what is broken is kept apart, and a ledger says what was loaded when.

A raw table (``raw.<system>__<name>``) holds the records as they came, text for CSV and JSON lines, native types for
Parquet, every column of every file, then four columns of bookkeeping. ``raw.loads`` has one row per file and load;
``raw.unparseable_rows`` the lines that are no record of their file.

Loading is idempotent. A file is known by its path; one of the same size and modification time, or of the same
content, is skipped. A changed file is loaded again under a new load id and the gate lets its records replace earlier
ones with the same key; records that a changed file no longer holds stay (files state what happened, and leaving a
line out is no statement), except those that had been refused, which leave with the version that they came in.

One load is one transaction: killed at any instant, the warehouse holds what it held before.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import duckdb

from csm_core.contract import BOOKKEEPING, EXPORT_COLUMNS, MAP_EXPORT_COLUMNS, RECORD, SOURCE, Reason, storage_of
from csm_core.errors import SourceError
from csm_core.sources.text_files import (
    Refused,
    Row,
    fingerprint_of,
    line_count,
    read_header,
    read_lines,
    read_rows,
)
from csm_core.sql_models import literal
from csm_core.sql_models import quoted as sql_quoted
from csm_core.warehouse import table_exists, transaction

if TYPE_CHECKING:
    import numpy as np

CSV, JSON_LINES, PARQUET = "csv", "json lines", "parquet"
SUFFIXES = {".csv": CSV, ".jsonl": JSON_LINES, ".ndjson": JSON_LINES, ".json": JSON_LINES, ".parquet": PARQUET}
MAX_COLUMNS = 2000

_FAST_LINE_BYTES = 32 * 1024 * 1024
_BATCH_ROWS = 20_000
_BATCH_BYTES = 64 * 1024 * 1024
_SEPARATOR = "\x01"
# Our own exports put it in front of a value that a spreadsheet would run as a formula.
_WITHOUT_APOSTROPHE = r"(case when regexp_matches({0}, '^''+[=+@\t\r-]') then {0}[2:] else {0} end)"
_INTEGERS = frozenset(
    ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
)
_FLOATS = frozenset(("FLOAT", "DOUBLE"))
_NESTED = ("STRUCT", "MAP", "UNION", "VARIANT", "JSON", "GEOMETRY")


class Log(Protocol):
    """Where the loader says what it does: a structlog logger, or anything with these methods."""

    def debug(self, event: str, **fields: object) -> object:
        """Something that only matters when looking for a fault."""
        ...

    def info(self, event: str, **fields: object) -> object:
        """Something that a person may want to know."""
        ...

    def warning(self, event: str, **fields: object) -> object:
        """Something that a person should look at."""
        ...


Opened = tuple[tuple[str, tuple[str, ...]], ...]
"""Columns beside a record, each with the JSON paths of which the first that is there, and not empty, fills it."""


@dataclass(frozen=True)
class RawTable:
    """A raw table and what is asked of the files that fill it.

    ``required`` columns have to be in every file that has records; ``optional`` ones are added as nulls, so that the
    staging model may name them whether or not a file has them. In a ``snapshot`` table a file is the whole state, not
    a batch of records: a changed file takes the place of its earlier version, row for row.

    A table of ``records`` keeps each record whole instead, as JSON text in ``record``, with the name of its source in
    ``_source``: for vendors' records, whose keys are many and change. ``opened`` are columns that it has beside, for
    records of which there are too many to look into each again and again.
    """

    system: str
    name: str
    entity: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    snapshot: bool = False
    mostly_distinct: tuple[str, ...] = ()
    records: bool = False
    opened: Opened = ()

    @property
    def table(self) -> str:
        """The schema-qualified table."""
        return f"raw.{self.system}__{self.name}"


def opened_columns(opened: Opened, record: str) -> list[str]:
    """SELECT items that open a record, given as an expression of JSON text, into columns of text."""
    paths = [path for _, candidates in opened for path in candidates]
    # The same expression each time: DuckDB reads the record once for all of them.
    found = f"json_extract_string({record}, [{', '.join(literal(path) for path in paths)}])"
    columns: list[str] = []
    for name, candidates in opened:
        values = ", ".join(f"nullif({found}[{paths.index(path) + 1}], '')" for path in candidates)
        columns.append(f"coalesce({values}) as {name}")
    return columns


@dataclass(frozen=True)
class LoadResult:
    """What a load did to one raw table; ``read`` = ``loaded`` + ``unparseable``. Nothing new: ``load_id`` is None."""

    system: str
    entity: str
    table: str
    load_id: int | None
    files: tuple[str, ...]
    files_unchanged: int
    read: int
    loaded: int
    unparseable: int
    seconds: float


@dataclass
class _File:
    path: Path
    form: str
    size: int
    mtime_ns: int
    fingerprint: str = ""
    rows: int = 0
    refused: list[Refused] = field(default_factory=list)
    columns: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return str(self.path)


def form_of(path: Path) -> str | None:
    """The format that a file's name states, ``.gz`` aside; None for one that is not read."""
    name = path.name.lower()
    suffix = Path(name.removesuffix(".gz")).suffix
    form = SUFFIXES.get(suffix)
    return None if form == PARQUET and name.endswith(".gz") else form


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the ledger and the table of unparseable rows where they are not there yet."""
    connection.execute(
        """
        create table if not exists raw.loads (
            load_id bigint not null, system varchar not null, entity varchar not null, raw_table varchar not null,
            path varchar not null, file_size bigint not null, file_mtime_ns bigint not null,
            fingerprint varchar not null, rows_read bigint not null, loaded bigint not null, rejected bigint not null,
            loaded_at timestamp not null, status varchar not null
        );
        create table if not exists raw.unparseable_rows (
            load_id bigint not null, system varchar not null, entity varchar not null, raw_table varchar not null,
            source_file varchar not null, source_line bigint not null, reason varchar not null, detail varchar,
            raw_text varchar, loaded_at timestamp not null
        );
        create table if not exists run.staged_loads (
            entity varchar not null, system varchar not null, load_id bigint not null, model_hash varchar not null,
            staged_at timestamp not null
        )
        """
    )


def load_tables(
    connection: duckdb.DuckDBPyConnection,
    targets: Sequence[tuple[RawTable, Sequence[Path] | Mapping[Path, str]]],
    *,
    loaded_at: datetime,
    log: Log,
) -> list[LoadResult]:
    """Load what is new in the given files into their raw tables, all of it or nothing.

    A table of records is given its files by path with the name of the source that each belongs to.
    ``loaded_at`` is a UTC instant. Raises SourceError, naming the file and what was found in it, for a file that is
    not what its name says or lacks a required column; single broken rows are kept apart instead.
    """
    prepare(connection)
    at = loaded_at.replace(tzinfo=None)
    loads: list[_Load] = []
    try:
        for number, (target, paths) in enumerate(targets):
            load = _Load(connection, target, paths, number, log)
            loads.append(load)
            load.read()
        with transaction(connection):
            return [load.store(at) for load in loads]
    except duckdb.Error as error:
        message = f"loading failed: {_first_line(error)}"
        raise SourceError(message) from error
    finally:
        for load in loads:
            load.discard()


class _Load:
    """The load of one raw table: text is read into temporary tables first, then everything moves in one transaction.

    Reading text apart from the transaction is what lets a file that the fast reader refuses be read again with care:
    an error inside a transaction would end it.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        target: RawTable,
        paths: Sequence[Path] | Mapping[Path, str],
        number: int,
        log: Log,
    ) -> None:
        self._connection = connection
        self._target = target
        self._paths = tuple(paths)
        self._sources = {str(path): source for path, source in paths.items()} if isinstance(paths, Mapping) else {}
        self._log = log
        self._prefix = f"incoming_{number}"
        self._tables: dict[tuple[str, ...], str] = {}
        self._changed: list[_File] = []
        self._touched: list[_File] = []
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
                self._read_csv(file)
            elif file.form == JSON_LINES:
                self._read_json_lines(file)
        for file in self._changed:
            self._require_unchanged(file)

    def store(self, loaded_at: datetime) -> LoadResult:
        """Move what was read into the raw table and write the ledger; runs inside the caller's transaction."""
        connection, target = self._connection, self._target
        self._ensure_table()
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
        for columns, table in self._tables.items():
            self._store_text(columns, table, load_id, loaded_at)
        self._write_ledger(load_id, loaded_at)
        return self._result(load_id)

    def discard(self) -> None:
        """Drop the temporary tables."""
        for table in self._tables.values():
            self._connection.execute(f"drop table if exists temp.{table}")

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
            file = _stated(path)
            earlier = known.get(file.name)
            if earlier and earlier[:2] == (file.size, file.mtime_ns):
                self._unchanged += 1
                continue
            file.fingerprint = fingerprint_of(path)
            if earlier and earlier[2] == file.fingerprint:
                self._unchanged += 1
                self._touched.append(file)
            else:
                self._changed.append(file)

    def _require_unchanged(self, file: _File) -> None:
        now = _stated(file.path)
        if (now.size, now.mtime_ns) != (file.size, file.mtime_ns):
            message = f"{file.path}: changed while it was read. Run again when it has been written completely."
            raise SourceError(message)

    # -- reading text --------------------------------------------------------------------------------------------

    def _read_csv(self, file: _File) -> None:
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

    def _read_json_lines(self, file: _File) -> None:
        if file.size == 0:
            message = f"{file.path}: the file is empty. Remove it, or write it again."
            raise SourceError(message)
        lines = self._incoming(_LINES)
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

    def _read_fast_or_carefully(
        self,
        file: _File,
        table: str,
        fast: str,
        *,
        lines_without_row: int,
        records: Records,
    ) -> None:
        # A quote that is never closed makes the fast reader swallow rows without a word. It is believed only when it
        # found exactly one row per physical line.
        expected = line_count(file.path) - lines_without_row
        try:
            inserted = self._connection.execute(
                f"insert into temp.{table} {fast}", [file.name, _glob_escaped(file.name)]
            ).fetchone()
            file.rows = int(inserted[0]) if inserted else 0
            if file.rows == expected:
                return
            self._connection.execute(f"delete from temp.{table} where _source_file = ?", [file.name])
        except (duckdb.InvalidInputException, duckdb.IOException, duckdb.ConversionException) as error:
            self._log.info("file needs careful reading", file=file.name, because=_first_line(error))
        file.rows = 0
        for batch in _batches(records(), file.refused):
            self._insert_batch(file, table, batch)

    def _insert_batch(self, file: _File, table: str, batch: Sequence[Row]) -> None:
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

    def _sift_json(self, file: _File, lines: str) -> None:
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

    def _has_required(self, own: str, file: _File) -> bool:
        """Whether every required key is in some record: as a rule in the first, so that no other is looked at."""
        return all(
            self._connection.execute(
                f"select 1 {own} and json_exists(c0, ?) limit 1", [file.name, f"/{name}"]
            ).fetchone()
            for name in self._target.required
        )

    def _incoming(self, columns: tuple[str, ...]) -> str:
        if columns not in self._tables:
            table = f"{self._prefix}_{len(self._tables)}"
            width = 1 if columns is _LINES else len(columns)
            definition = ", ".join(f"c{position} varchar" for position in range(width))
            self._connection.execute(
                f"create or replace temp table {table} ({definition}, _source_file varchar, _source_line bigint)"
            )
            self._tables[columns] = table
        return self._tables[columns]

    # -- Parquet -------------------------------------------------------------------------------------------------

    def _describe_parquet(self, files: Sequence[_File]) -> None:
        for file in files:
            try:
                described = self._connection.execute(
                    "describe select * from read_parquet(?, hive_partitioning = false, binary_as_string = true)",
                    [_glob_escaped(file.name)],
                ).fetchall()
                counted = self._connection.execute(
                    "select sum(num_rows) from parquet_file_metadata(?)", [_glob_escaped(file.name)]
                ).fetchone()
            except duckdb.Error as error:
                message = f"{file.path}: not a readable Parquet file: {_first_line(error)}"
                raise SourceError(message) from None
            file.rows = int(counted[0]) if counted else 0
            file.columns = tuple(f"{name}\0{kind}" for name, kind, *_ in described)
            names = [name for name, *_ in described]
            require_columns(str(file.path), self._target.required, names)

    def _store_parquet(self, files: Sequence[_File], load_id: int, loaded_at: datetime) -> None:
        alike: dict[tuple[str, ...], list[_File]] = {}
        for file in files:
            alike.setdefault(file.columns, []).append(file)
        for signature, group in alike.items():
            columns = [_ParquetColumn(*signed.split("\0", 1)) for signed in signature]
            # One file is one constant: the name is not looked up row by row.
            name = literal(group[0].name) if len(group) == 1 else "filename"
            if self._target.records:
                values = self._as_record([(column.name, sql_quoted(column.name)) for column in columns], name)
            else:
                stored = self._align([(column.name, column.raw_type) for column in columns])
                values = [
                    f"{_converted(column.expression, column.raw_type, stored[column.stored.lower()])} "
                    f"as {sql_quoted(column.stored)}"
                    for column in columns
                ]
            options = "" if len(group) == 1 else ", filename = true"
            try:
                self._connection.execute(
                    f"insert into {self._target.table} by name select {', '.join(values)}, "
                    f"{name} as _source_file, file_row_number + 1 as _source_line, "
                    f"cast(? as timestamp) as _loaded_at, cast(? as bigint) as _load_id "
                    f"from read_parquet(?, hive_partitioning = false, binary_as_string = true, "
                    f"file_row_number = true{options})",
                    [loaded_at, load_id, [_glob_escaped(file.name) for file in group]],
                )
            except duckdb.Error as error:
                message = f"{', '.join(file.name for file in group[:3])}: reading failed: {_first_line(error)}"
                raise SourceError(message) from None

    # -- storing -------------------------------------------------------------------------------------------------

    def _store_text(self, columns: tuple[str, ...], table: str, load_id: int, loaded_at: datetime) -> None:
        if columns is _LINES:
            self._store_json(table, load_id, loaded_at)
            return
        if self._target.records:
            given = [(name, f"c{position}") for position, name in enumerate(columns)]
            self._insert(self._as_record(given, "_source_file"), f"temp.{table}", load_id, loaded_at)
            return
        stored = self._align([(name, "VARCHAR") for name in columns])
        names = {name.lower() for name in columns}
        exported = any(names >= set(own) for own in (EXPORT_COLUMNS, MAP_EXPORT_COLUMNS))
        read = _WITHOUT_APOSTROPHE if exported else "{0}"
        values = [
            f"{_converted(read.format(f'c{position}'), 'VARCHAR', stored[_storable(name).lower()])} "
            f"as {sql_quoted(_storable(name))}"
            for position, name in enumerate(columns)
        ]
        self._insert(values, f"temp.{table}", load_id, loaded_at)

    def _as_record(self, columns: Sequence[tuple[str, str]], file: str) -> list[str]:
        """Columns put together to one JSON object, unless one of them is a whole record already."""
        whole = next((value for name, value in columns if name.lower() == RECORD), None)
        pairs = ", ".join(f"{literal(name)}, {value}" for name, value in columns)
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

    def _store_json(self, table: str, load_id: int, loaded_at: datetime) -> None:
        if self._target.records:
            values = self._record("c0", "_source_file")
            self._insert(values, f"temp.{table}", load_id, loaded_at)
            return
        spellings: dict[str, list[str]] = {}
        for file in self._changed:
            if file.form == JSON_LINES:
                for key in file.columns:
                    names = spellings.setdefault(_storable(key).lower(), [])
                    if key not in names:
                        names.append(key)
        keys = [key for names in spellings.values() for key in names]
        if not keys:
            return
        stored = self._align([(names[0], "VARCHAR") for names in spellings.values()])
        position = {key: index for index, key in enumerate(keys, start=1)}
        values: list[str] = []
        for folded, names in spellings.items():
            found = ", ".join(f"json_values[{position[key]}]" for key in names)
            value = f"coalesce({found})" if len(names) > 1 else found
            values.append(f"{_converted(value, 'VARCHAR', stored[folded])} as {sql_quoted(_storable(names[0]))}")
        pointers = ", ".join(literal("/" + key.replace("~", "~0").replace("/", "~1")) for key in keys)
        source = (
            f"(select json_extract_string(c0, [{pointers}]) as json_values, _source_file, _source_line "
            f"from temp.{table})"
        )
        self._insert(values, source, load_id, loaded_at)

    def _insert(self, values: Sequence[str], source: str, load_id: int, loaded_at: datetime) -> None:
        self._connection.execute(
            f"insert into {self._target.table} by name select {', '.join(values)}, _source_file, _source_line, "
            f"cast(? as timestamp) as _loaded_at, cast(? as bigint) as _load_id from {source}",
            [loaded_at, load_id],
        )

    def _ensure_table(self) -> None:
        if table_exists(self._connection, self._target.table):
            return
        target = self._target
        columns = [
            f"{sql_quoted(name)} varchar{' using compression uncompressed' * (name in target.mostly_distinct)}"
            for name in (*target.required, *target.optional)
        ]
        if target.records:
            columns = [f"{RECORD} varchar using compression zstd", f"{SOURCE} varchar"]
            columns += [f"{name} varchar" for name, _ in target.opened]
        columns += [f"{name} {storage_of(kind)}" for name, kind in BOOKKEEPING.items()]
        self._connection.execute(f"create table {self._target.table} ({', '.join(columns)})")

    def _align(self, incoming: Iterable[tuple[str, str]]) -> dict[str, str]:
        """Make room for the incoming columns; returns the type of every stored column by its lower-case name.

        A column that so far only holds nulls takes the incoming type; two number types meet in the wider one; any
        other difference makes the column text.
        """
        table = self._target.table
        stored = self._stored_types()
        empty = not _has_rows(self._connection, table)
        for name, kind in incoming:
            column = _storable(name)
            folded = column.lower()
            if folded not in stored:
                self._connection.execute(f"alter table {table} add column {sql_quoted(column)} {kind}")
                stored[folded] = kind
            elif stored[folded] != kind:
                vacant = empty or self._only_nulls(column)
                wider = kind if vacant else _wider(stored[folded], kind)
                if wider != stored[folded]:
                    self._change_type(column, stored[folded], wider, vacant=vacant)
                    stored[folded] = wider
        return stored

    def _change_type(self, column: str, kind: str, wider: str, *, vacant: bool) -> None:
        table, quoted = self._target.table, sql_quoted(column)
        if vacant and column.lower() in self._target.mostly_distinct:
            # The compression of text does not fit another type, and cannot be taken back.
            self._connection.execute(f"alter table {table} drop column {quoted}")
            self._connection.execute(f"alter table {table} add column {quoted} {wider}")
            return
        using = _converted(quoted, kind, wider)
        self._connection.execute(f"alter table {table} alter column {quoted} set data type {wider} using {using}")

    def _only_nulls(self, column: str) -> bool:
        found = self._connection.execute(
            f"select 1 from {self._target.table} where {sql_quoted(column)} is not null limit 1"
        ).fetchone()
        return found is None

    def _stored_types(self) -> dict[str, str]:
        schema, _, name = self._target.table.partition(".")
        return {
            column.lower(): kind
            for column, kind in self._connection.execute(
                "select column_name, data_type from duckdb_columns() where database_name = current_database() "
                "and schema_name = ? and table_name = ?",
                [schema, name],
            ).fetchall()
        }

    def _withdraw_vanished(self) -> None:
        """Take back files that are gone from the source and were never accepted by the gate (or are a snapshot)."""
        pending = self._connection.execute(
            "select distinct path, load_id from raw.loads where raw_table = ? and status = 'loaded' "
            "and (? or load_id not in (select load_id from run.staged_loads))",
            [self._target.table, self._target.snapshot],
        ).fetchall()
        present = {str(path) for path in self._paths}
        for path, load_id in pending:
            # Another source of the same system may have files of its own in this table.
            if path not in present and (self._target.snapshot or not Path(path).is_file()):
                self._forget(path, load_id, "replaced" if self._target.snapshot else "withdrawn")
                self._log.info("records of a file that is gone withdrawn", file=path)

    def _drop_what_leaves(self) -> None:
        for file in self._changed:
            earlier = self._connection.execute(
                "select load_id, load_id in (select load_id from run.staged_loads) from raw.loads "
                "where raw_table = ? and path = ? and status = 'loaded'",
                [self._target.table, file.name],
            ).fetchall()
            for load_id, staged in earlier:
                if self._target.snapshot or not staged:
                    self._forget(file.name, load_id, "replaced" if staged else "withdrawn")
            self._connection.execute(
                "delete from raw.unparseable_rows where raw_table = ? and source_file = ?",
                [self._target.table, file.name],
            )

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


class Records(Protocol):
    """Reads a file's records with care, from the start."""

    def __call__(self) -> Iterator[Row | Refused]:
        """The records and the refused lines, in the file's order."""
        ...


class _ParquetColumn:
    """One column of a Parquet file: nested values become JSON text, everything else keeps its type."""

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.stored = _storable(name)
        nested = kind.endswith("]") or kind.startswith(_NESTED)
        as_text = nested or kind.startswith("ENUM") or kind in {"NULL", '"NULL"'}
        self.raw_type = "VARCHAR" if as_text else kind
        value = sql_quoted(name)
        self.expression = f"cast(to_json({value}) as varchar)" if nested else value


_LINES: tuple[str, ...] = ("the text of a line",)


def _stated(path: Path) -> _File:
    form = form_of(path)
    if form is None:
        message = f"{path}: not a file that can be read; expected one of {', '.join(sorted(SUFFIXES))}"
        raise SourceError(message)
    try:
        status = path.stat()
        str(path).encode("utf-8")
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror or error}"
        raise SourceError(message) from None
    except UnicodeEncodeError:
        message = f"{str(path)!r}: the file's name is not UTF-8; rename it"
        raise SourceError(message) from None
    return _File(path, form, status.st_size, status.st_mtime_ns)


def require_columns(where: str, required: Sequence[str], found: Sequence[str]) -> None:
    """Raise SourceError saying ``where``, and what was found instead, unless all required columns are there."""
    present = {name.lower() for name in found}
    missing = [name for name in required if name not in present]
    if not missing:
        return
    shown = ", ".join(found[:20]) + (f", and {len(found) - 20} more" if len(found) > 20 else "")
    hints: list[str] = []
    for name in missing:
        near = difflib.get_close_matches(name, [one.lower() for one in found], n=1, cutoff=0.6)
        hints.append(f"{name} (is it {near[0]!r}?)" if near else name)
    called = "column" if len(missing) == 1 else "columns"
    message = f"{where}: required {called} missing: {', '.join(hints)}. Found: {shown or 'no column'}."
    raise SourceError(message)


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


def _has_rows(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    return connection.execute(f"select 1 from {table} limit 1").fetchone() is not None


def _wider(stored: str, incoming: str) -> str:
    if stored in _INTEGERS and incoming in _INTEGERS:
        return "HUGEINT" if "HUGEINT" in {stored, incoming} or "UBIGINT" in {stored, incoming} else "BIGINT"
    if {stored, incoming} <= _INTEGERS | _FLOATS:
        return "DOUBLE"
    return "VARCHAR"


def _converted(expression: str, kind: str, wanted: str) -> str:
    if kind == wanted:
        return expression
    if wanted == "VARCHAR" and (kind in _FLOATS or kind.startswith("DECIMAL")):
        # Pandas writes whole numbers with gaps as floating point; as text they would no longer be whole numbers.
        number = f"cast({expression} as double)"
        whole = f"isfinite({number}) and {number} = floor({number}) and abs({number}) < 1e15"
        digits = f"cast(cast({expression} as bigint) as varchar)"
        return f"case when {whole} then {digits} else cast({expression} as varchar) end"
    return f"cast({expression} as {wanted})"


def _storable(name: str) -> str:
    cleaned = "".join(character if character.isprintable() else "_" for character in name).strip() or "unnamed"
    return f"{cleaned}__original" if cleaned.lower() in BOOKKEEPING else cleaned


def _glob_escaped(path: str) -> str:
    return path.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
