"""The source system ``postgres``: writes the rows of queries that have the columns of the staged contract to files.

A query that is read completely has one file, which the next pull replaces. An incremental query is read in the order of
its column and written to files of a fixed size; its position is saved after each file. Rows that are not in a file yet
are read again, an interrupted pull resumes after its last file, and every load reads all files that are new.
"""

from __future__ import annotations

import csv
import filecmp
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from csm_core.contract import ENTITIES
from csm_core.errors import SourceError, SourceUnavailableError
from csm_core.ingest.column_names import by_key, column_key, require_distinct
from csm_core.ingest.loader import load_tables
from csm_core.ingest.raw_tables import LoadResult, Log, RawTable
from csm_core.ingest.source_files import require_columns
from csm_core.sources.files import contract_tables
from csm_core.sources.postgres_database import Database, opened
from csm_core.sources.pull import ProgressLog
from csm_core.sources.settings import PostgresQuery, PostgresSettings

SYSTEM = "postgres"
WHOLE = "_whole"
PACKAGE_BYTES = 64 * 1024 * 1024
_TIMES = {"timestamptz", "timestamp", "date"}
_NUMBERS = {"int2", "int4", "int8"}


class PostgresSource:
    """Reads PostgreSQL."""

    name = SYSTEM

    @property
    def raw_tables(self) -> tuple[RawTable, ...]:
        """Two raw tables per entity: for incremental queries, and for queries that are read completely."""
        # PostgreSQL writes null as an empty value, so NULL is ordinary text.
        return (
            *contract_tables(SYSTEM, null_values=()),
            *contract_tables(SYSTEM, WHOLE, snapshot=True, null_values=()),
        )

    def check(self, settings: PostgresSettings) -> str:
        """Connect and check the columns of every query. Raises as ``load``."""
        with opened(settings) as database:
            server = database.described()
            for entity, query in settings.queries.items():
                _Pull(database, settings, entity, query, Path()).columns()
        return f"{server}; the queries for {', '.join(settings.queries)} have the required columns"

    def load(
        self,
        connection: duckdb.DuckDBPyConnection,
        sources: Sequence[PostgresSettings],
        *,
        loaded_at: datetime,
        folder: Path,
        log: Log,
    ) -> list[LoadResult]:
        """Run the queries and load their rows, all or none; files that are already written are kept after an error.

        Raises ConfigError without address or library, SourceError for a query that fails or lacks a column, and
        SourceUnavailableError for a server that cannot be reached.
        """
        files: dict[str, list[Path]] = {table.name: [] for table in self.raw_tables}
        for settings in sources:
            for table, paths in _pulled(settings, folder / settings.label / "queries", log).items():
                files[table] += paths
        targets = [(table, files[table.name]) for table in self.raw_tables]
        return load_tables(connection, targets, loaded_at=loaded_at, log=log)


def _pulled(settings: PostgresSettings, folder: Path, log: Log) -> dict[str, list[Path]]:
    """The files of each raw table, from this pull and earlier pulls of the same queries."""
    folder.mkdir(parents=True, exist_ok=True)
    done: dict[str, list[Path]] = {}
    progress = ProgressLog(settings.label, log)
    for attempt in Retrying(
        retry=retry_if_exception_type(SourceUnavailableError),
        wait=wait_exponential(max=30),
        stop=stop_after_attempt(settings.attempts),
        reraise=True,
    ):
        with attempt, opened(settings) as database:
            for entity, query in settings.queries.items():
                table = entity if query.incremental_by else f"{entity}{WHOLE}"
                if table not in done:
                    done[table] = _Pull(database, settings, entity, query, folder).run(progress)
    progress.end()
    return done


@dataclass(frozen=True)
class _Mark:
    """The position of a query: number of files, the maximum of its column, and the time of the last pull."""

    packages: int = 0
    newest: str | None = None
    seen_at: str | None = None


class _Pull:
    """One query of a source."""

    def __init__(
        self, database: Database, settings: PostgresSettings, entity: str, query: PostgresQuery, folder: Path
    ) -> None:
        self._database = database
        self._name = f"query {entity}"
        self._where = f"{settings.label}: {self._name}"
        self._entity = ENTITIES[entity]
        self._query = query
        self._sql = query.sql.strip().rstrip(";")
        self._folder = folder
        # If the text or the column changes, it is another query, which is read from the beginning.
        identity = json.dumps([self._sql, query.incremental_by])
        self._stem = f"{entity}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"

    def columns(self) -> Mapping[str, str]:
        """The types of the result's columns. Raises SourceError if it lacks a column that the entity requires."""
        described = self._database.columns(self._name, self._sql)
        names = [name for name, _ in described]
        require_distinct(self._where, names)
        require_columns(self._where, self._entity.required_columns, names)
        types = dict(described)
        column = self._incremental_by(types)
        if self._query.incremental_by and column is None:
            message = (
                f"{self._where}: incremental_by: no column {self._query.incremental_by!r} in the result. "
                f"Found: {', '.join(names)}."
            )
            raise SourceError(message)
        if column and types[column] not in _TIMES | _NUMBERS:
            message = (
                f"{self._where}: incremental_by: {column!r} has the type {types[column]}; expected a timestamp, a date "
                "or an integer that is greater for new and changed rows"
            )
            raise SourceError(message)
        return types

    def run(self, progress: ProgressLog) -> list[Path]:
        """Write new rows to files; return all files of the query."""
        types = self.columns()
        column = self._incremental_by(types)
        if column is None:
            return [self._whole(progress)]
        self._increments(column, types[column], progress)
        return sorted(self._folder.glob(f"{self._stem}-*.csv"))

    def _incremental_by(self, names: Iterable[str]) -> str | None:
        """The column of the result named by ``incremental_by``, in its own spelling."""
        configured = self._query.incremental_by
        if configured is None:
            return None
        return configured if configured in set(names) else by_key(names).get(column_key(configured))

    def _whole(self, progress: ProgressLog) -> Path:
        path = self._folder / f"{self._stem}.csv"
        rows = self._database.rows(self._name, f"select * from (\n{self._sql}\n) as query")
        header = next(rows)
        written = _Package(self._folder, header)
        for row in rows:
            written.add(row)
        if not written.rows and not self._query.may_be_empty and path.is_file() and path.stat().st_size > len(header):
            written.discard()
            message = (
                f"{self._where}: returned no rows, but had rows before. Nothing was loaded. If this is correct, set "
                "`may_be_empty: true` for the query; otherwise check the query and the permissions of its user."
            )
            raise SourceError(message)
        progress.add(self._entity.name, written.rows)
        written.keep(path)
        return path

    def _increments(self, column: str, kind: str, progress: ProgressLog) -> None:
        before = self._mark()
        mark = _Mark(before.packages, before.newest, self._database.now())
        rows = self._database.rows(self._name, self._select(column, kind, before))
        header = next(rows)
        position = next(csv.reader([header.decode()])).index(column)
        for package in self._packages(header, rows):
            progress.add(self._entity.name, package.rows)
            path, last = self._path(mark.packages), self._path(mark.packages - 1)
            newest = next(csv.reader([package.last.decode()]))[position] or mark.newest
            if package.same_as(last):
                # Only the rows of the overlap: there are no new rows.
                package.discard()
                mark = _Mark(mark.packages, newest, mark.seen_at)
            else:
                package.keep(path)
                mark = _Mark(mark.packages + 1, newest, mark.seen_at)
            # The mark covers the rows up to the last one in a file, as of the time of this transaction.
            self._write_mark(mark)

    def _packages(self, header: bytes, rows: Iterator[bytes]) -> Iterator[_Package]:
        package = _Package(self._folder, header)
        for row in rows:
            package.add(row)
            if package.size >= PACKAGE_BYTES:
                yield package
                package = _Package(self._folder, header)
        if package.rows:
            yield package
        else:
            package.discard()

    def _select(self, column: str, kind: str, mark: _Mark) -> str:
        name = '"' + column.replace('"', '""') + '"'
        where = ""
        if mark.newest is not None:
            # A row without a value may be new, so such rows are read by every pull.
            where = f" where {name} >= {self._bound(kind, mark)} or {name} is null"
        # Nulls first, so that the last row of every file has its maximum.
        return f"select * from (\n{self._sql}\n) as query{where} order by {name} nulls first"

    def _bound(self, kind: str, mark: _Mark) -> str:
        if kind in _NUMBERS:
            return f"{int(mark.newest or 0)} - {self._query.lookback}"
        # A time in the future must not move the position beyond the time of the transaction.
        newest = f"least(cast({_text(mark.newest)} as timestamptz), cast({_text(mark.seen_at)} as timestamptz))"
        return f"cast({newest} - {self._query.lookback} * interval '1 second' as {kind})"

    def _path(self, place: int) -> Path:
        return self._folder / f"{self._stem}-{place:06}.csv"

    def _mark(self) -> _Mark:
        try:
            return _Mark(**json.loads((self._folder / f"{self._stem}.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return _Mark()
        except (ValueError, TypeError):
            # Without a valid mark, all rows are read again; they replace the rows that were loaded before.
            return _Mark()

    def _write_mark(self, mark: _Mark) -> None:
        written = _Package(self._folder, json.dumps(mark.__dict__).encode())
        written.keep(self._folder / f"{self._stem}.json")


class _Package:
    """A file that gets its final name only when it is complete."""

    def __init__(self, folder: Path, header: bytes) -> None:
        self._path = folder / ".package.new"
        self._file = self._path.open("wb")
        self._file.write(header)
        self.size = len(header)
        self.rows = 0
        self.last = b""

    def add(self, row: bytes) -> None:
        """Write a row."""
        self._file.write(row)
        self.size += len(row)
        self.rows += 1
        self.last = row

    def same_as(self, path: Path) -> bool:
        """Whether a file has the same content."""
        self._file.flush()
        return path.is_file() and filecmp.cmp(self._path, path, shallow=False)

    def keep(self, path: Path) -> None:
        """Flush the file to disk and give it its final name."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._path.replace(path)

    def discard(self) -> None:
        """Delete the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def _text(value: str | None) -> str:
    return "'" + (value or "").replace("'", "''") + "'"
