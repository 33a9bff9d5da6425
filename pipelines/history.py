"""Dagster's history in SQLite, in the files where Dagster keeps it by default, with connections that stay open.

Dagster opens an engine and a connection for each event that it stores or reads, and closes both. A run of a few seconds
has hundreds of events and a backfill thousands, so that most of their time would go there. The instance is named in
dagster.yaml; a home that does not name it works as well, and may change over at any time.
"""

import logging
import os
from collections import OrderedDict
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from dagster import DagsterEvent, DagsterEventType, DagsterInstance, EventLogEntry
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.event_log.base import EventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.runs.base import RunStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData, pack_value, serialize_value, unpack_value
from sqlalchemy import Connection, Engine, create_engine

from csm_core.system.redaction import without_secrets, without_secrets_inside

# The index and the runs that are under way; the UI reads others as well.
_OPEN_SHARDS = 8


class EventLog(SqliteEventLogStorage):
    """Dagster's event log: a file for the index and one for each run, the latest used of them kept open."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        super().__init__(base_dir, inst_data)

    def store_event(self, event: Any) -> None:
        """Store an event without secrets, and notify readers of the run's file: it may be in its log file still."""
        super().store_event(_without_secrets(event))
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


class Instance(DagsterInstance):
    """Dagster's instance; where its history is in SQLite, the connections stay open. Other storage is left as it is."""

    def __init__(self, *, event_storage: EventLogStorage, run_storage: RunStorage, **others: Any) -> None:
        if isinstance(event_storage, SqliteEventLogStorage):
            event_storage = EventLog(event_storage._base_dir, event_storage.inst_data)
        if isinstance(run_storage, SqliteRunStorage):
            run_storage = RunHistory(run_storage._conn_string, run_storage.inst_data)
        super().__init__(event_storage=event_storage, run_storage=run_storage, **others)

    def handle_new_event(self, event: EventLogEntry, **more: Any) -> None:
        """Store an event; that of a failed run says which checks and assets failed, and what to do."""
        if event.dagster_event and event.dagster_event.event_type == DagsterEventType.RUN_FAILURE:
            event = self._explained(event, event.dagster_event)
        super().handle_new_event(event, **more)

    def _explained(self, event: EventLogEntry, failure: DagsterEvent) -> EventLogEntry:
        # The web server and the daemon load this module too, and have no use for the pipeline's.
        from pipelines.failures import failure_text, show_held_partitions

        try:
            run = self.get_run_by_id(event.run_id)
            text = failure_text(self, run) if run else None
            if run is None or text is None:
                return event
            show_held_partitions(self, run)
            return event._replace(dagster_event=failure._replace(message=f"{failure.message}\n{text}"))
        except Exception:  # The failure has to be stored, whatever happens here.
            logging.getLogger(__name__).exception("the failure of run %s is stored without its reasons", event.run_id)
            return event

    @classmethod
    def config_schema(cls) -> dict[str, Any]:
        """No settings of its own in dagster.yaml."""
        return {}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Mapping[str, ConfigurableClassData | None]:
        """Those of Dagster's instance: what dagster.yaml leaves out is in the folder where it lies."""
        return InstanceRef.config_defaults(base_dir)


def _without_secrets(event: Any) -> Any:
    """The event with every secret in it hidden: messages of errors and of their causes, metadata, log lines."""
    text = serialize_value(event)
    if without_secrets(text) == text:
        return event
    return unpack_value(without_secrets_inside(pack_value(event)))


def _engine(address: str) -> Engine:
    return create_engine(address, pool_size=1, max_overflow=-1, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})
