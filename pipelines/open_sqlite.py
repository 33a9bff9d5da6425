"""Dagster's SQLite storage with connections that stay open: subclasses of private parts of Dagster.

Dagster opens and closes an engine and a connection for each event that it stores or reads. A run of a few seconds has
hundreds of events and a backfill has thousands, so most of their time would be spent on connections. The files do not
change. ``pipelines.history`` uses these classes if ``difference`` finds none, and Dagster's own classes otherwise.
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

# The index and the runs in progress; the UI also reads other runs.
_OPEN_SHARDS = 8

# The methods of Dagster's classes that this module calls or overrides, with their parameters.
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
        super().__init__(base_dir, inst_data)
        for name in _ATTRIBUTES:
            getattr(self, name)

    def store_event(self, event: Any) -> None:
        """Store an event, and notify readers of the run's file: the event may still be in the write-ahead log."""
        super().store_event(event)
        os.utime(self.path_for_shard(event.run_id))

    def wipe(self) -> None:
        """Delete all events."""
        self._close()
        super().wipe()

    def dispose(self) -> None:
        """Close all open connections."""
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


def kept_open(event_storage: Any, run_storage: Any) -> tuple[Any, Any]:
    """The two storages, with connections that stay open if they are SQLite; other storage is not changed."""
    if isinstance(event_storage, SqliteEventLogStorage):
        event_storage = EventLog(event_storage._base_dir, event_storage.inst_data)
    if isinstance(run_storage, SqliteRunStorage):
        run_storage = RunHistory(run_storage._conn_string, run_storage.inst_data)
    return event_storage, run_storage


def _engine(address: str) -> Engine:
    return create_engine(address, pool_size=1, max_overflow=-1, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})
