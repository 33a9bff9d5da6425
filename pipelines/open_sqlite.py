"""Dagster's SQLite storage with connections that stay open: subclasses of parts that Dagster does not publish.

Dagster opens an engine and a connection for each event that it stores or reads, and closes both. A run of a few seconds
has hundreds of events and a backfill thousands, so that most of their time would go there. The files are Dagster's own.
``pipelines.history`` uses these classes where ``difference`` finds none, and Dagster's own classes otherwise.
"""

import inspect
import os
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine

# The index and the runs in progress; the UI reads others as well.
_OPEN_SHARDS = 8

# The methods of Dagster's classes that are called or replaced here, with their parameters.
_EXPECTED: tuple[tuple[Callable[..., Any], str], ...] = (
    (SqliteEventLogStorage.__init__, "self base_dir inst_data"),
    (SqliteEventLogStorage.store_event, "self event"),
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
    """The first method of Dagster's storage whose parameters are not the expected ones; None if all are."""
    for method, parameters in _EXPECTED:
        found = " ".join(inspect.signature(method).parameters)
        if found != parameters:
            return f"{method.__qualname__} has the parameters {found!r}, expected {parameters!r}"
    return None


class EventLog(SqliteEventLogStorage):
    """Dagster's event log: a file for the index and one for each run, the latest used of them kept open.

    Raises AttributeError where Dagster's class lacks an attribute that is used here.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        super().__init__(base_dir, inst_data)
        for name in _ATTRIBUTES:
            getattr(self, name)

    def store_event(self, event: Any) -> None:
        """Store an event, and notify readers of the run's file: it may be in its log file still."""
        super().store_event(event)
        os.utime(self.path_for_shard(event.run_id))

    def wipe(self) -> None:
        """Delete all events."""
        self._close()
        super().wipe()

    def dispose(self) -> None:
        """Close what is open."""
        super().dispose()
        self._close()

    @contextmanager
    def _connect(self, shard: str) -> Generator[Connection]:
        with self._db_lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                yield connection

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
    """Dagster's list of runs, kept open."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(conn_string, inst_data)
        self._engine = _engine(conn_string)

    @contextmanager
    def connect(self) -> Generator[Connection]:
        """A connection in a transaction of its own."""
        with self._engine.begin() as connection:
            yield connection

    def dispose(self) -> None:
        """Close what is open."""
        self._engine.dispose()


def kept_open(event_storage: Any, run_storage: Any) -> tuple[Any, Any]:
    """The two storages with connections that stay open, where they are SQLite; other storage as it is."""
    if isinstance(event_storage, SqliteEventLogStorage):
        event_storage = EventLog(event_storage._base_dir, event_storage.inst_data)
    if isinstance(run_storage, SqliteRunStorage):
        run_storage = RunHistory(run_storage._conn_string, run_storage.inst_data)
    return event_storage, run_storage


def _engine(address: str) -> Engine:
    return create_engine(address, pool_size=1, max_overflow=-1, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})
