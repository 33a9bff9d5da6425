"""Dagster's history in SQLite, in the files where Dagster keeps it by default, with connections that stay open.

Dagster opens an engine and a connection for each event that it stores or reads, and closes both. A run of a few seconds
has hundreds of events and a backfill thousands, so that most of their time would go there. Named as the storage in
dagster.yaml; a home without it, or with another one, works as well, and may change over at any time.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

from dagster import StringSource
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine

# The index and the runs that are under way; the UI reads others as well.
_OPEN_SHARDS = 8


class EventLog(SqliteEventLogStorage):
    """Dagster's event log: a file for the index and one for each run, the latest used of them kept open."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        super().__init__(base_dir, inst_data)

    def store_event(self, event: Any) -> None:
        """Store an event, and let those who watch the run's file know: it may be in the file beside it still."""
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


class _Settings(TypedDict):
    base_dir: str


class History(DagsterStorage[Any], ConfigurableClass):
    """Runs, events and schedules below ``base_dir``, as Dagster's own storage lays them out there."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__()
        self._inst_data = inst_data
        base = Path(base_dir)
        self._runs = RunHistory.from_local(str(base / "history"))
        self._events = EventLog(str(base / "history" / "runs"))
        self._schedules = SqliteScheduleStorage.from_local(str(base / "schedules"))

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """Where Dagster found this class named, and with what settings."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> Any:
        """The settings in dagster.yaml."""
        return {"base_dir": StringSource}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: _Settings) -> History:
        """The storage with settings from dagster.yaml."""
        return cls(config_value["base_dir"], inst_data)

    @property
    def event_log_storage(self) -> EventLog:
        """The events."""
        return self._events

    @property
    def run_storage(self) -> RunHistory:
        """The runs."""
        return self._runs

    @property
    def schedule_storage(self) -> SqliteScheduleStorage:
        """The state of schedules and sensors."""
        return self._schedules

    def register_instance(self, instance: Any) -> None:
        """Tell the parts whose they are."""
        super().register_instance(instance)
        for part in (self._runs, self._events, self._schedules):
            if not part.has_instance:
                part.register_instance(instance)


def _engine(address: str) -> Engine:
    return create_engine(address, pool_size=1, max_overflow=-1, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})
