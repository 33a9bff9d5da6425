"""The DuckDB file: opened by one writer at a time, filled model by model, published as a read-only copy.

Every table is replaced by the days of a run, or whole, in one transaction: killed at any instant, the file holds what
it held before, and the same run again ends as if undisturbed.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import duckdb
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from csm_core.errors import WarehouseError, WarehouseInputError
from csm_core.logging import get_logger
from csm_core.system.file_access import give_group, make_folder
from csm_core.system.folder_lock import folder_lock, folder_lock_if_free
from csm_core.warehouse import restore_swap
from csm_core.warehouse.catalog import table_exists as table_exists
from csm_core.warehouse.catalog import transaction as transaction
from csm_core.warehouse.column_upgrade import show_previous_names, upgrade_columns
from csm_core.warehouse.copy_state import COPIED_LAYER, note_uncopied
from csm_core.warehouse.day_status import prepare as prepare_days
from csm_core.warehouse.late_changes import mark_built
from csm_core.warehouse.models import Incremental, SqlModel, literal, parse_select
from csm_core.warehouse.text_macros import create_macros

SCHEMAS = ("raw", "staging", "quarantine", "intermediate", "marts", "sync", "run")
PUBLISHED_FOLDER = "published"
PUBLISHED_FILE = "csm_analytics.duckdb"
LOCK_PATIENCE = timedelta(minutes=30)

# Bounds of an empty range: the days of a roll-up without queued days.
_NO_DAY = date(1970, 1, 1)
# How DuckDB begins the message of an IOException for a file that another process has open.
_LOCKED = "IO Error: Could not set lock on file "
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*\Z")


@dataclass(frozen=True)
class ModelResult:
    """What building a model did: rows that its days (or the whole table) now hold, and seconds taken.

    ``queued_days`` are the days that were waiting for an incremental model, and have been replaced.
    """

    table: str
    rows: int
    seconds: float
    queued_days: tuple[date, ...] = ()


class WarehouseSettings(Protocol):
    """What a configuration states about its warehouse: the path of the file, and DuckDB's memory limit and threads."""

    @property
    def warehouse(self) -> Path:
        """The DuckDB file."""
        ...

    @property
    def memory_limit(self) -> str | None:
        """Such as 4GB; without one, DuckDB's default."""
        ...

    @property
    def threads(self) -> int | None:
        """Without a number, DuckDB's default."""
        ...


class Warehouse:
    """One DuckDB file and how it is opened: memory limit, threads, session in UTC, schemas present."""

    def __init__(self, path: Path, *, memory_limit: str | None = None, threads: int | None = None) -> None:
        self.path = path
        self._memory_limit = memory_limit
        self._threads = threads

    @classmethod
    def from_config(cls, config: WarehouseSettings) -> Warehouse:
        """The warehouse that the configuration names."""
        return cls(config.warehouse, memory_limit=config.memory_limit, threads=config.threads)

    @property
    def published_path(self) -> Path:
        """The read-only copy for analysts, beside the warehouse."""
        return self.path.parent / PUBLISHED_FOLDER / PUBLISHED_FILE

    @contextmanager
    def connect(self) -> Generator[duckdb.DuckDBPyConnection]:
        """Open the file for writing, creating it if it is not there, and close it whatever happens.

        Waits, with a message, while another process holds the file. Raises WarehouseInputError for a path that is no
        DuckDB file or cannot be written, WarehouseError when the other process does not let go.
        """
        connection = self._open()
        try:
            _prepare(connection)
            yield connection
        finally:
            connection.close()

    @contextmanager
    def reserved(self) -> Generator[None]:
        """Keep other runs away for as long as a whole run takes; waits, with a message, for one that is going on.

        A run opens the file anew at every step. Between two steps of it another run would find half a day, and publish
        it. The reservation is on the warehouse's folder: it leaves no file behind, and ends with the process.
        """
        with ExitStack() as stack:
            try:
                self._make_folder()
                waiting = WaitingMessage(self.path, "another run is going on")
                stack.enter_context(folder_lock(self.path.parent, waiting))
            except (WarehouseInputError, OSError):
                # Opening the file gives the error of its folder.
                pass
            else:
                if restore_swap.in_progress(self.path.parent):
                    restore_swap.complete(self.path.parent)
            yield

    def complete_restore(self) -> None:
        """Complete a restore that was interrupted, or wait for the one that is in progress.

        Raises WarehouseError if it cannot be completed.
        """
        home = self.path.parent
        waiting = WaitingMessage(self.path, "a restore is in progress")
        while restore_swap.in_progress(home):
            with folder_lock_if_free(home) as held:
                if held and restore_swap.in_progress(home):
                    restore_swap.complete(home)
                    return
            waiting()
            time.sleep(0.05)

    def at(self, path: Path) -> Warehouse:
        """Another file, opened with the same limits."""
        return Warehouse(path, memory_limit=self._memory_limit, threads=self._threads)

    @contextmanager
    def look(self) -> Generator[duckdb.DuckDBPyConnection | None]:
        """Open the file for reading, without waiting: None where there is none yet, or a run is writing to it."""
        connection = None
        self.complete_restore()
        if self.path.is_file():
            with suppress(duckdb.IOException, duckdb.ConnectionException):
                connection = duckdb.connect(str(self.path), read_only=True)
        try:
            yield connection
        finally:
            if connection is not None:
                connection.close()

    def _open(self) -> duckdb.DuckDBPyConnection:
        self._make_folder()
        self.complete_restore()
        spill = self.path.parent / f"{self.path.name}.tmp"
        options: dict[str, str | bool | int | float | list[str]] = {"temp_directory": str(spill)}
        if self._memory_limit:
            options["memory_limit"] = self._memory_limit
        if self._threads:
            options["threads"] = self._threads
        try:
            for attempt in Retrying(
                retry=retry_if_exception(_is_locked),
                wait=wait_fixed(0.25),
                stop=stop_after_delay(LOCK_PATIENCE.total_seconds()),
                before_sleep=WaitingMessage(self.path, "another process is writing to it"),
                reraise=True,
            ):
                with attempt:
                    created = not self.path.exists()
                    connection = duckdb.connect(str(self.path), config=options)
                    if created:
                        give_group(self.path)
                    # What a killed process spilled: nobody but the writer, which is us now, has anything there.
                    shutil.rmtree(spill, ignore_errors=True)
                    return connection
        except duckdb.Error as error:
            if _is_locked(error):
                message = (
                    f"the warehouse {self.path} is still in use by another process after "
                    f"{LOCK_PATIENCE.total_seconds() / 60:.0f} minutes. End that process, or wait, and run again."
                )
                raise WarehouseError(message) from None
            first_line = str(error).splitlines()[0]
            message = (
                f"the warehouse {self.path} cannot be opened: {first_line}. "
                "Give another path under `warehouse:` in csm.yaml, or restore the file from a backup."
            )
            raise WarehouseInputError(message) from None
        raise AssertionError(self.path)  # Retrying either returns from its body or raises

    def _make_folder(self) -> None:
        try:
            make_folder(self.path.parent)
        except OSError as error:
            message = f"the warehouse folder {self.path.parent} cannot be made: {error.strerror}"
            raise WarehouseInputError(message) from None


def identifier(name: str) -> str:
    """``name`` if it is one of our plain lower-case identifiers; refuses anything that could be more than a name."""
    if not _IDENTIFIER.match(name):
        message = f"not a table or column name: {name!r}"
        raise WarehouseError(message)
    return name


def set_run_days(connection: duckdb.DuckDBPyConnection, first: date, last: date) -> None:
    """State the days that partitioned models are to materialise: ``first`` to ``last``, both included."""
    if last < first:
        message = f"the first day, {first}, is after the last, {last}"
        raise WarehouseError(message)
    connection.execute("create or replace table run.days (as_of_date date not null)")
    connection.execute(
        "insert into run.days select cast(range as date) from range(?::date, ?::date + interval 1 day, interval 1 day)",
        [first, last],
    )


def build_model(
    connection: duckdb.DuckDBPyConnection,
    model: SqlModel,
    parameters: Mapping[str, Any],
    days: tuple[date, date] | None = None,
) -> ModelResult:
    """Materialise a model: the given days of it, its queued days, or the whole table, in one transaction.

    A partitioned model needs ``days``; its rows of exactly those days are replaced. Raises WarehouseError with the
    file's name when the SQL fails.
    """
    return build_table(connection, model, model.sql, parameters, days)


def build_table(
    connection: duckdb.DuckDBPyConnection,
    model: SqlModel,
    sql: str,
    parameters: Mapping[str, Any],
    days: tuple[date, date] | None = None,
) -> ModelResult:
    """As ``build_model``, with the SELECT given apart from the model that describes its table."""
    started = time.perf_counter()
    if model.partitioned and days is None:
        message = f"{model.table} is partitioned: the days to materialise have to be given"
        raise WarehouseError(message)
    values = dict(parameters)
    queued: tuple[date, ...] = ()
    if model.layer == "staging":
        create_macros(connection)
    try:
        with transaction(connection):
            if days:
                set_run_days(connection, *days)
                values.update(first_date=days[0], last_date=days[1])
            if model.incremental:
                values.update(first_date=_NO_DAY, last_date=_NO_DAY)
                if _ensure_table(connection, model, sql, _bound(model, sql, values)):
                    _queue_all_days(connection, model, model.incremental)
                queued = _queued_days(connection, model.incremental)
                if queued:
                    values.update(first_date=queued[0], last_date=queued[-1])
            rows = _replace(connection, model, sql, values)
            comment(connection, model)
            if model.layer == COPIED_LAYER:
                show_previous_names(connection, model)
            inputs = parse_select(sql, model.path)[0]
            built = days if model.partitioned else None
            mark_built(connection, model.table, inputs, built)
            if model.layer == COPIED_LAYER:
                note_uncopied(connection, model.table, built)
    except duckdb.Error as error:
        message = f"{model.path}: building {model.table} failed: {str(error).splitlines()[0]}"
        raise WarehouseError(message) from error
    return ModelResult(model.table, rows, time.perf_counter() - started, queued)


def comment(connection: duckdb.DuckDBPyConnection, model: SqlModel) -> None:
    """Store the yml's descriptions as comments of the table and its columns (a replaced table has lost them)."""
    connection.execute(f"comment on table {model.table} is {literal(model.description)}")
    for column, description in model.columns.items():
        connection.execute(f"comment on column {model.table}.{identifier(column)} is {literal(description)}")


def has_rows(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether a table, or a table with a condition behind it (``t where ...``), has any row."""
    return connection.execute(f"select 1 from {table} limit 1").fetchone() is not None


def columns_of(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """The table's columns, in order."""
    schema, _, name = table.partition(".")
    found = connection.execute(
        "select column_name from duckdb_columns() where database_name = current_database() "
        "and schema_name = ? and table_name = ? order by column_index",
        [schema, name],
    ).fetchall()
    return [column for (column,) in found]


def _replace(
    connection: duckdb.DuckDBPyConnection,
    model: SqlModel,
    sql: str,
    values: Mapping[str, Any],
) -> int:
    bound = _bound(model, sql, values)
    if not model.partitioned and not model.incremental:
        connection.execute(f"create or replace table {model.table} as {sql}", bound)
        return _count(connection, model.table)
    _ensure_table(connection, model, sql, bound)
    if model.incremental:
        column, queue = identifier(model.incremental.column), model.incremental.queue
        affected = f"{column} in (select {column} from {queue})"
        connection.execute(f"delete from {model.table} where {affected}")
        connection.execute(f"insert into {model.table} by name {sql}", bound)
        rows = _count(connection, f"{model.table} where {affected}")
        if model.incremental.feeds:
            connection.execute(
                f"insert into {model.incremental.feeds} select {column} from {queue} "
                f"where {column} not in (select {column} from {model.incremental.feeds})"
            )
        connection.execute(f"delete from {queue}")
        return rows
    within = "as_of_date between $first_date and $last_date"
    span = {"first_date": values["first_date"], "last_date": values["last_date"]}
    connection.execute(f"delete from {model.table} where {within}", span)
    connection.execute(f"insert into {model.table} by name {sql}", bound)
    return _count(connection, f"{model.table} where {within}", span)


def _ensure_table(connection: duckdb.DuckDBPyConnection, model: SqlModel, sql: str, bound: Mapping[str, Any]) -> bool:
    """Give the table the columns and types of the SELECT; returns whether a column was added to an existing table."""
    wanted = connection.execute(f"describe ({_without_trailing_semicolon(sql)})", bound).fetchall()
    if not table_exists(connection, model.table):
        # Not "as select ... limit 0": DuckDB 2.0 remembers that the columns have no values, and joins find none of what
        # is inserted next until the file is opened again.
        columns = ", ".join(f"{identifier(name)} {kind}" for name, kind, *_ in wanted)
        connection.execute(f"create table {model.table} ({columns})")
        return False
    stored: dict[str, str] = {name: kind for name, kind, *_ in connection.execute(f"describe {model.table}").fetchall()}
    for name, kind, *_ in wanted:
        if name not in stored:
            # A newer version of the model has a further column: the days of the past hold null until rebuilt.
            connection.execute(f"alter table {model.table} add column {identifier(name)} {kind}")
        elif kind != stored[name]:
            # A newer version of the model may have another type, such as a wider one; earlier rows keep their values.
            connection.execute(f"alter table {model.table} alter column {identifier(name)} set data type {kind}")
    for name in stored.keys() - {row[0] for row in wanted}:
        connection.execute(f"alter table {model.table} drop column {identifier(name)}")
    return any(name not in stored for name, *_ in wanted)


def _queue_all_days(connection: duckdb.DuckDBPyConnection, model: SqlModel, incremental: Incremental) -> None:
    """Queue every day of a roll-up, since models read its new column over the whole history."""
    column, queue = identifier(incremental.column), incremental.queue
    connection.execute(
        f"insert into {queue} select distinct {column} from {model.table} "
        f"where {column} not in (select {column} from {queue}) order by {column}"
    )


def _without_trailing_semicolon(sql: str) -> str:
    return sql.rstrip().rstrip(";")


def _bound(model: SqlModel, sql: str, values: Mapping[str, Any]) -> dict[str, Any]:
    used = parse_select(sql, model.path)[1]
    missing = sorted(used - values.keys())
    if missing:
        message = f"{model.path}: no value for parameter {', '.join(f'${name}' for name in missing)}"
        raise WarehouseError(message)
    return {name: values[name] for name in used}


def _queued_days(connection: duckdb.DuckDBPyConnection, incremental: Incremental) -> tuple[date, ...]:
    column = identifier(incremental.column)
    found = connection.execute(f"select distinct {column} from {incremental.queue} order by 1").fetchall()
    return tuple(day for (day,) in found)


def _count(connection: duckdb.DuckDBPyConnection, relation: str, values: Mapping[str, Any] | None = None) -> int:
    row = connection.execute(f"select count(*) from {relation}", values or None).fetchone()
    return int(row[0]) if row else 0


def _prepare(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("set timezone = 'UTC'")
    # Its progress bar would mix with ours.
    connection.execute("set enable_progress_bar = false")
    for schema in SCHEMAS:
        connection.execute(f"create schema if not exists {schema}")
    for queue in ("run.pending_usage_days", "run.pending_account_usage_days"):
        connection.execute(f"create table if not exists {queue} (usage_date date not null)")
    prepare_days(connection)
    upgrade_columns(connection)


def _is_locked(error: BaseException) -> bool:
    # The beginning only: the rest of the message quotes the path, which may contain any word.
    return isinstance(error, duckdb.IOException) and str(error).startswith(_LOCKED)


class WaitingMessage:
    """Logs once, and then every ten seconds, that the process waits for another one."""

    def __init__(self, path: Path, why: str) -> None:
        self._path = path
        self._why = why
        self._said: datetime | None = None

    def __call__(self, _state: object = None) -> None:
        """Log the message, unless it was logged within the last ten seconds."""
        now = datetime.now(UTC)
        if self._said is None or now - self._said > timedelta(seconds=10):
            self._said = now
            get_logger(__name__).warning(f"waiting for the warehouse: {self._why}", warehouse=str(self._path))
