"""Opens the DuckDB file for one writer at a time, applies migrations, and locks the warehouse for a run."""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import duckdb
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from csm_core.errors import WarehouseError, WarehouseInputError
from csm_core.logging import get_logger
from csm_core.system.file_access import give_group, make_folder
from csm_core.system.folder_lock import folder_lock, folder_lock_if_free
from csm_core.warehouse import restore_swap
from csm_core.warehouse.engine import DuckDbSettings, Engine, EngineSettings, open_engine, open_session
from csm_core.warehouse.migrations import require_known_version, upgrade
from csm_core.warehouse.published_settings import PublishedSettings
from csm_core.warehouse.remote_session import RemoteSession

PUBLISHED_FOLDER = "published"
PUBLISHED_FILE = "csm_analytics.duckdb"
LOCK_PATIENCE = timedelta(minutes=30)

# The number of connections to a file that is kept open, after whose changes a checkpoint follows.
_CHECKPOINT_AFTER = 8
# The start of DuckDB's error message for a file that another process has open.
_LOCKED = "IO Error: Could not set lock on file "


class WarehouseSettings(Protocol):
    """The warehouse settings of a configuration: the path of the file, and DuckDB's memory limit and threads."""

    @property
    def warehouse(self) -> Path:
        """The DuckDB file."""
        ...

    @property
    def memory_limit(self) -> str | None:
        """The memory limit, such as 4GB; None for DuckDB's default."""
        ...

    @property
    def threads(self) -> int | None:
        """The number of threads; None for DuckDB's default."""
        ...

    @property
    def engine(self) -> EngineSettings:
        """The engine that builds the models."""
        ...

    @property
    def published(self) -> PublishedSettings:
        """What is written with the published copy."""
        ...


class Warehouse:
    """A DuckDB file and its connection settings: memory limit, threads, and UTC as the time zone."""

    def __init__(
        self,
        path: Path,
        *,
        memory_limit: str | None = None,
        threads: int | None = None,
        engine: EngineSettings | None = None,
        writes_parquet: bool = False,
    ) -> None:
        self.path = path
        self.writes_parquet = writes_parquet
        self.memory_limit = memory_limit
        self.threads = threads
        self._engine = engine or DuckDbSettings()
        self._keeps_open = 0
        self._closed = 0
        self._open_file: duckdb.DuckDBPyConnection | None = None

    @classmethod
    def from_config(cls, config: WarehouseSettings) -> Warehouse:
        """Return the warehouse of a configuration."""
        return cls(
            config.warehouse,
            memory_limit=config.memory_limit,
            threads=config.threads,
            engine=config.engine,
            writes_parquet=config.published.parquet,
        )

    @property
    def published_path(self) -> Path:
        """The read-only copy for analysts, beside the warehouse."""
        return self.path.parent / PUBLISHED_FOLDER / PUBLISHED_FILE

    @contextmanager
    def connect(self) -> Generator[duckdb.DuckDBPyConnection]:
        """Open the file for writing, create it if it is missing, and close it at the end.

        Applies pending migrations. Waits, with a message, while another process has the file open. Raises
        WarehouseInputError for a path that is not a DuckDB file, is not writable, or was upgraded by a newer version;
        WarehouseError if the other process does not close the file or a migration fails.
        """
        if not self._keeps_open:
            connection = self._open_upgraded()
        else:
            if self._open_file is None:
                self._open_file = self._open_upgraded()
            connection = self._open_file.cursor()
            _set_session(connection)
        try:
            yield connection
        finally:
            # An open transaction is rolled back, and temporary tables end.
            connection.close()
            if self._open_file is not None:
                self._checkpoint_at_times(self._open_file)

    @contextmanager
    def kept_open(self) -> Generator[None]:
        """Keep the file open from the first ``connect`` to the end of the block, for a run that has many steps.

        Each ``connect`` still has a connection of its own. Other processes wait until the block ends.
        """
        self._keeps_open += 1
        try:
            yield
        finally:
            self._keeps_open -= 1
            if not self._keeps_open and self._open_file is not None:
                self._open_file.close()
                self._open_file = None

    def engine(self, connection: duckdb.DuckDBPyConnection) -> Engine:
        """Return the engine that builds the models, for a connection of ``connect``.

        Raises ConfigError if the packages of the engine are not installed.
        """
        return open_engine(connection, self._engine)

    def session(self) -> RemoteSession:
        """Return the session of the engine, for sources that it reads.

        Raises ConfigError if the engine is DuckDB or its packages are not installed.
        """
        return open_session(self._engine)

    @contextmanager
    def run_lock(self) -> Generator[None]:
        """Hold the lock of a whole run; waits, with a message, while another run is in progress.

        A run opens the file once per step. Without the lock, another run could publish a partial day between two
        steps. The lock is on the warehouse's folder: it leaves no file behind, and the system releases it when the
        process ends.
        """
        with ExitStack() as stack:
            try:
                self._make_folder()
                waiting = WaitingMessage(self.path, "another run is in progress")
                stack.enter_context(folder_lock(self.path.parent, waiting))
            except (WarehouseInputError, OSError):
                # Opening the file reports the error of its folder.
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
            with folder_lock_if_free(home) as is_locked:
                if is_locked and restore_swap.in_progress(home):
                    restore_swap.complete(home)
                    return
            waiting()
            time.sleep(0.05)

    def at(self, path: Path) -> Warehouse:
        """Return the warehouse of another file with the same limits, without Parquet files of its copy."""
        return Warehouse(path, memory_limit=self.memory_limit, threads=self.threads, engine=self._engine)

    @contextmanager
    def open_read_only(self) -> Generator[duckdb.DuckDBPyConnection | None]:
        """Open the file for reading, without waiting: None if the file does not exist or a run is writing to it.

        Raises WarehouseInputError if the file was upgraded by a newer version.
        """
        connection = None
        self.complete_restore()
        if self.path.is_file():
            with suppress(duckdb.IOException, duckdb.ConnectionException):
                connection = duckdb.connect(str(self.path), read_only=True)
        try:
            if connection is not None:
                require_known_version(connection)
            yield connection
        finally:
            if connection is not None:
                connection.close()

    def _checkpoint_at_times(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Write the changes of some connections into the file.

        A checkpoint writes changed blocks beside the earlier ones, which are free afterwards. After a single checkpoint
        for a whole run, a third of the file would be free.
        """
        self._closed += 1
        if self._closed % _CHECKPOINT_AFTER == 0:
            # Another connection may have a transaction in progress.
            with suppress(duckdb.TransactionException):
                connection.execute("checkpoint")

    def _open_upgraded(self) -> duckdb.DuckDBPyConnection:
        connection = self._open()
        try:
            _set_session(connection)
            upgrade(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open(self) -> duckdb.DuckDBPyConnection:
        self._make_folder()
        self.complete_restore()
        spill = self.path.parent / f"{self.path.name}.tmp"
        options: dict[str, str | bool | int | float | list[str]] = {"temp_directory": str(spill)}
        if self.memory_limit:
            options["memory_limit"] = self.memory_limit
        if self.threads:
            options["threads"] = self.threads
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
                    # Temporary files of a killed process: only the writer, which is now this process, uses the folder.
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
                "Set another path under `warehouse:` in csm.yaml, or restore the file from a backup."
            )
            raise WarehouseInputError(message) from None
        raise AssertionError(self.path)  # Retrying either returns from its body or raises

    def _make_folder(self) -> None:
        try:
            make_folder(self.path.parent)
        except OSError as error:
            message = f"the warehouse folder {self.path.parent} cannot be created: {error.strerror}"
            raise WarehouseInputError(message) from None


def _set_session(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("set timezone = 'UTC'")
    # DuckDB's progress bar would overlap with the progress of the run.
    connection.execute("set enable_progress_bar = false")


def _is_locked(error: BaseException) -> bool:
    # Only the start is compared: the rest of the message contains the path.
    return isinstance(error, duckdb.IOException) and str(error).startswith(_LOCKED)


class WaitingMessage:
    """Logs, at most every ten seconds, that the process is waiting for another process."""

    def __init__(self, path: Path, why: str) -> None:
        self._path = path
        self._why = why
        self._logged_at: datetime | None = None

    def __call__(self, _state: object = None) -> None:
        """Log the message, unless it was logged in the last ten seconds."""
        now = datetime.now(UTC)
        if self._logged_at is None or now - self._logged_at > timedelta(seconds=10):
            self._logged_at = now
            get_logger(__name__).warning(f"waiting for the warehouse: {self._why}", warehouse=str(self._path))
