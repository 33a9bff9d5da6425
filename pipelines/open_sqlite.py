"""Dagster's SQLite storage with connections that stay open: subclasses of private parts of Dagster.

Dagster opens and closes an engine and a connection for each event that it stores or reads, and commits up to three
times. A run of a few seconds has hundreds of events and a backfill has thousands, so most of their time would be spent
on connections and commits. The files do not change. ``pipelines.history`` uses these classes if ``difference`` finds
none, and Dagster's own classes otherwise.
"""

import atexit
import inspect
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from dagster import DagsterEventType
from dagster._core.events import EVENT_TYPE_TO_PIPELINE_RUN_STATUS
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine

# The index and the runs in progress; the UI also reads other runs.
_OPEN_SHARDS = 8
# Events are stored together, at the end of a step or of this time: a process that is killed loses no ended step.
_SECONDS_TOGETHER = 0.2
_MOST_TOGETHER = 200
_STORED_AT_ONCE = frozenset(
    {DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_FAILURE, *EVENT_TYPE_TO_PIPELINE_RUN_STATUS}
)

# The methods of Dagster's classes that this module calls or overrides, with their parameters.
_EXPECTED: tuple[tuple[Callable[..., Any], str], ...] = (
    (SqliteEventLogStorage.__init__, "self base_dir inst_data"),
    (SqliteEventLogStorage.store_event, "self event"),
    (SqliteEventLogStorage.has_table, "self table_name"),
    (SqliteEventLogStorage.has_secondary_index, "self name"),
    (SqliteEventLogStorage.has_asset_key_col, "self column_name"),
    (SqliteEventLogStorage.wipe, "self"),
    (SqliteEventLogStorage.dispose, "self"),
    (SqliteEventLogStorage._connect, "self shard"),
    (SqliteEventLogStorage._initdb, "self engine for_index_shard"),
    (SqliteEventLogStorage.path_for_shard, "self run_id"),
    (SqliteEventLogStorage.conn_string_for_shard, "self shard_name"),
    (SqliteRunStorage.__init__, "self conn_string inst_data"),
    (SqliteRunStorage.connect, "self"),
    (SqliteRunStorage.dispose, "self"),
)
_ATTRIBUTES = ("_base_dir", "_db_lock", "_initialized_dbs")


def difference() -> str | None:
    """Describe the first method of Dagster's storage that has unexpected parameters; None if there is none."""
    for method, parameters in _EXPECTED:
        actual = " ".join(inspect.signature(method).parameters)
        if actual != parameters:
            return f"{method.__qualname__} has the parameters {actual!r}, expected {parameters!r}"
    return None


class EventLog(SqliteEventLogStorage):
    """Dagster's event log: a file for the index and one for each run. Recently used files stay open.

    Raises AttributeError if Dagster's class lacks an attribute that this class uses.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._found: set[tuple[str, str]] = set()
        self._waiting: list[Any] = []
        self._timer: threading.Timer | None = None
        self._failure: Exception | None = None
        # One thread at a time adds or stores events; it may read while it does.
        self._storing = threading.RLock()
        self._together: tuple[ExitStack, dict[str, Connection]] | None = None
        super().__init__(base_dir, inst_data)
        for name in _ATTRIBUTES:
            getattr(self, name)
        atexit.register(_store_waiting, weakref.ref(self))

    def store_event(self, event: Any) -> None:
        """Store an event, together with those before and after it; whoever reads here reads it.

        Raises the error of an earlier event that could not be stored, if it is not raised yet.
        """
        with self._storing:
            self._waiting.append(event)
            kind = event.dagster_event_type if event.is_dagster_event else None
            if self._failure or kind in _STORED_AT_ONCE or len(self._waiting) >= _MOST_TOGETHER:
                self.store_waiting()
            elif self._timer is None:
                self._timer = threading.Timer(_SECONDS_TOGETHER, self._store_in_time)
                self._timer.daemon = True
                self._timer.start()

    def store_waiting(self) -> None:
        """Store the events that wait, and notify readers of the runs' files: they may be in the write-ahead log."""
        with self._storing:
            if self._timer:
                self._timer.cancel()
                self._timer = None
            events, self._waiting = self._waiting, []
            if events:
                self._store(events)
            failure, self._failure = self._failure, None
            if failure:
                raise failure

    def _store(self, events: list[Any]) -> None:
        are_written = False
        try:
            with self._one_transaction():
                for event in events:
                    super().store_event(event)
                are_written = True
        except Exception as error:  # noqa: BLE001 - raised below, or by the caller
            if are_written:
                self._failure = error
                return
            # An event that cannot be stored must not take the others with it.
            for event in events:
                try:
                    super().store_event(event)
                except Exception as failure:  # noqa: BLE001 - raised by the caller
                    self._failure = failure
        for run_id in dict.fromkeys(event.run_id for event in events):
            with suppress(FileNotFoundError):
                os.utime(self.path_for_shard(run_id))

    def _store_in_time(self) -> None:
        try:
            self.store_waiting()
        except Exception as failure:  # noqa: BLE001 - raised by the next event
            # Raised where the next event is stored: this thread has no caller.
            self._failure = failure

    def has_table(self, table_name: str) -> bool:
        """Whether the index has a table; Dagster asks for each event of a check, and tables are never dropped."""
        return self._once(("table", table_name), super().has_table)

    def has_secondary_index(self, name: str) -> bool:
        """Whether a migration of the index was completed; Dagster asks for each asset, and none is undone."""
        return self._once(("migration", name), super().has_secondary_index)

    def has_asset_key_col(self, column_name: str) -> bool:
        """Whether the table of assets has a column; columns are never dropped."""
        return self._once(("column", column_name), super().has_asset_key_col)

    def _once(self, name: tuple[str, str], ask: Callable[[str], bool]) -> bool:
        if name not in self._found and ask(name[1]):
            self._found.add(name)
        return name in self._found

    def wipe(self) -> None:
        """Delete all events."""
        self._found.clear()
        self._close()
        super().wipe()

    def dispose(self) -> None:
        """Store the events that wait, and close all open connections."""
        self.store_waiting()
        super().dispose()
        self._close()

    @contextmanager
    def _one_transaction(self) -> Generator[None]:
        """Let ``_connect`` use one transaction for each file until the end of the block."""
        with self._db_lock, ExitStack() as stack:
            self._together = stack, {}
            try:
                yield
            finally:
                self._together = None

    @contextmanager
    def _connect(self, shard: str) -> Generator[Connection]:
        with self._storing:
            if self._together:
                stack, connections = self._together
                if shard not in connections:
                    connections[shard] = stack.enter_context(self._initialised(shard).begin())
                yield connections[shard]
                return
            if self._waiting:
                self.store_waiting()
        with self._db_lock, self._initialised(shard).begin() as connection:
            yield connection

    def _initialised(self, shard: str) -> Engine:
        engine = self._engine(shard)
        if shard not in self._initialized_dbs:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        return engine

    def _engine(self, shard: str) -> Engine:
        if shard not in self._engines:
            self._engines[shard] = _engine(self.conn_string_for_shard(shard))
        self._engines.move_to_end(shard)
        if len(self._engines) > _OPEN_SHARDS:
            _, longest_unused = self._engines.popitem(last=False)
            longest_unused.dispose()
        return self._engines[shard]

    def _close(self) -> None:
        with self._db_lock:
            while self._engines:
                self._engines.popitem()[1].dispose()


class RunHistory(SqliteRunStorage):
    """Dagster's list of runs, with a connection that stays open."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(conn_string, inst_data)
        self._engine = _engine(conn_string)

    @contextmanager
    def connect(self) -> Generator[Connection]:
        """A connection with its own transaction."""
        with self._engine.begin() as connection:
            yield connection

    def dispose(self) -> None:
        """Close all open connections."""
        self._engine.dispose()


def _store_waiting(reference: "weakref.ref[EventLog]") -> None:
    log = reference()
    if log is not None:
        log.store_waiting()


def kept_open(event_storage: Any, run_storage: Any) -> tuple[Any, Any]:
    """The two storages, with connections that stay open if they are SQLite; other storage is not changed."""
    if isinstance(event_storage, SqliteEventLogStorage):
        event_storage = EventLog(event_storage._base_dir, event_storage.inst_data)
    if isinstance(run_storage, SqliteRunStorage):
        run_storage = RunHistory(run_storage._conn_string, run_storage.inst_data)
    return event_storage, run_storage


def _engine(address: str) -> Engine:
    return create_engine(address, pool_size=1, max_overflow=-1, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})
