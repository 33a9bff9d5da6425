"""A session of Spark through Spark Connect: on a server, or on one that this process starts.

No other module uses PySpark.

The settings of the session are fixed, whatever the defaults of the server: UTC, ANSI mode, and timestamps without a
time zone, so that SQL means the same as in DuckDB.
"""

from __future__ import annotations

import atexit
import os
import socket
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from logging import getLogger
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from csm_core.errors import InputError
from csm_core.logging import get_logger
from csm_core.redaction import without_secrets
from csm_core.warehouse.models import SqlModel, literal
from csm_core.warehouse.remote_session import ArrowTable, ConnectionLostError, Directory, EngineQueryError
from csm_core.warehouse.spark_packages import require_packages
from csm_core.warehouse.spark_sql import (
    duckdb_type,
    is_nested,
    model_select,
    spark_select,
    spark_type,
    view_name,
)

TOKEN_VARIABLE = "CSM_SPARK_TOKEN"  # noqa: S105 - the name of a variable
SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.parquet.inferTimestampNTZ.enabled": "true",
    "spark.sql.caseSensitive": "false",
    "spark.sql.jsonGenerator.ignoreNullFields": "false",
}
# Settings of a server in this process; a server of its own has its own.
_LOCAL_SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "FATAL",
    "spark.app.name": "csm-health",
    "spark.plugins": "org.apache.spark.sql.connect.SparkConnectPlugin",
    # No session adds classes or files, so all sessions use the code that Spark compiled for the first.
    "spark.sql.artifact.isolation.enabled": "false",
    "spark.connect.grpc.binding.address": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.shuffle.partitions": "4",
}
# The warehouse records which directories are complete, so no build writes a file that says so.
_WRITING = {"mapreduce.fileoutputcommitter.marksuccessfuljobs": "false"}
# About a minute, in which a server can restart.
_RETRIES = {"max_retries": 8, "initial_backoff": 200, "backoff_multiplier": 2.0, "max_backoff": 15000}
_CONNECT_SECONDS = 10
_DEFAULT_PORT = 15002
_LOST = ("UNAVAILABLE", "SESSION_NOT_FOUND", "SESSION_CHANGED", "SESSION_CLOSED", "Connection refused", "Socket closed")
_Result = TypeVar("_Result")


@cache
def spark_session(remote: str | None, master: str | None, location: str) -> SparkConnectSession:
    """Return the session of this process for a server or a local master; it is started once."""
    require_packages(is_local=master is not None)
    session = SparkConnectSession(remote, master, location)
    atexit.register(session.stop)
    return session


class SparkConnectSession:
    """Implements ``RemoteSession`` with Spark Connect."""

    def __init__(
        self, remote: str | None, master: str | None, location: str, settings: Mapping[str, str] = SETTINGS
    ) -> None:
        self.location = location
        self._settings = settings
        self.shown: dict[str, object] = {}
        self._remote = remote
        self._master = master
        self._operation: str | None = None
        self._spark = self._connected()

    def reconnect(self) -> None:
        """Start a new session after the connection was lost."""
        self.shown.clear()
        self.stop()
        try:
            self._spark = self._connected()
        except InputError as error:
            # The address was right when the run began, so the run failed: its input was not wrong.
            raise EngineQueryError(str(error)) from None

    def stop(self) -> None:
        """End the session on the server."""
        # The client logs a server that is gone to a stream that may be closed when this process ends.
        getLogger("pyspark.sql.connect.logging").disabled = True
        with suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Without this, the client would wait for minutes for a server that is gone.
            self._spark.client.set_retry_policies([])
            self._spark.stop()

    def examine(self) -> str:
        """Write, read and delete a directory at the location; returns the version of Spark."""
        path = f"{self.location.rstrip('/')}/examination/{uuid.uuid4().hex}"
        self.write("select 1 as one", {}, {"one": "INTEGER"}, path)
        self.count(path)
        self.delete(path)
        return str(self._run(lambda: self._spark.version))

    def hand_over(self, table: str, rows: ArrowTable, columns: Mapping[str, str]) -> None:
        """Give Spark rows, as a temporary view."""
        schema = _schema(columns)
        self._run(lambda: self._spark.createDataFrame(rows, schema).createOrReplaceTempView(view_name(table)))

    def show(self, table: str, columns: Mapping[str, str], directories: Sequence[Directory]) -> None:
        """Show directories as a temporary view."""
        schema = _schema(columns)

        def create() -> None:
            whole = [one.path for one in directories if not one.days]
            frames = [self._spark.read.schema(schema).parquet(*whole)] if whole else []
            for one in directories:
                if one.days:
                    listed = ", ".join(f"date'{day}'" for day in one.days)
                    frames.append(self._spark.read.schema(schema).parquet(one.path).where(f"{one.day} in ({listed})"))
            frame = frames[0] if frames else self._spark.createDataFrame([], schema=schema)
            for more in frames[1:]:
                frame = frame.union(more)
            frame.createOrReplaceTempView(view_name(table))

        self._run(create)

    def show_source(self, name: str, *, table: str | None = None, path: str | None = None) -> Mapping[str, str]:
        """Show a table of the catalog, or Parquet files, as a temporary view; return its columns."""

        def create() -> Mapping[str, str]:
            read = self._spark.read
            frame = read.table(table) if table else read.option("mergeSchema", "true").parquet(path)
            columns: dict[str, str] = {}
            selected: list[str] = []
            for field in frame.schema.fields:
                kind, column = field.dataType.simpleString(), f"`{field.name.replace('`', '``')}`"
                columns[field.name] = duckdb_type(kind) or "VARCHAR"
                value = f"to_json({column})" if is_nested(kind) else column
                selected.append(f"{value if is_nested(kind) or duckdb_type(kind) else f'string({column})'} as {column}")
            if table:
                places = [f"{literal(table)} as _source_file", "bigint(null) as _source_line"]
            else:
                places = ["_metadata.file_path as _source_file", "_metadata.row_index + 1 as _source_line"]
            frame.selectExpr(*selected, *places).createOrReplaceTempView(view_name(name))
            return columns

        return self._run(create)

    def write(
        self, sql: str, values: Mapping[str, Any], columns: Mapping[str, str], path: str, model: SqlModel | None = None
    ) -> str | None:
        """Write the rows of a SELECT to a new directory; returns the id of the operation."""
        select = model_select(model, sql, values) if model else spark_select(sql, values)
        typed = ", ".join(f"cast(`{name}` as {spark_type(kind)}) as `{name}`" for name, kind in columns.items())
        self._operation = None
        self._run(lambda: self._frame(f"select {typed} from ({select})").write.options(**_WRITING).parquet(path))
        return self._operation

    def read(self, path: str, columns: Mapping[str, str]) -> ArrowTable:
        """Return the rows of a directory: without Spark, if this process has the directory too."""
        if files := _local_parquet(path):
            return files.to_table(columns=list(columns))
        return self._run(lambda: self._spark.read.schema(_schema(columns)).parquet(path).toArrow())

    def count(self, path: str) -> int:
        """Return the number of rows of a directory."""
        if files := _local_parquet(path):
            return int(files.count_rows())
        return self._run(lambda: self._spark.read.parquet(path).count())

    def query(self, sql: str, values: Mapping[str, Any]) -> ArrowTable:
        """Return the rows of a SELECT."""
        return self._run(lambda: self._frame(spark_select(sql, values)).toArrow())

    def delete(self, path: str) -> None:
        """Delete a directory, or its content if only Spark has access to its file system."""
        pyarrow, fs = import_module("pyarrow"), import_module("pyarrow.fs")
        try:
            address = path.replace("s3a://", "s3://", 1)
            system, inner = fs.FileSystem.from_uri(address) if "://" in address else (fs.LocalFileSystem(), address)
            if system.get_file_info(inner).type != fs.FileType.NotFound:
                system.delete_dir(inner)
                return
        except (pyarrow.ArrowException, OSError, ValueError):
            get_logger(__name__).debug("only Spark has access to the location", directory=path)
        with suppress(EngineQueryError):
            # Refused if there are no files: the build ended before it wrote any.
            self.count(path)
            # Spark Connect has no command that deletes files, but it replaces them.
            self._run(lambda: self._spark.createDataFrame([], "n int").write.mode("overwrite").parquet(path))

    def _connected(self) -> Any:
        where = self._remote or self._master
        get_logger(__name__).info("connecting to Spark", address=where)
        with warnings.catch_warnings():
            # PySpark warns about versions of pandas; rows are fetched as Arrow.
            warnings.simplefilter("ignore")
            try:
                if self._remote:
                    _require_listener(self._remote)
                address = _with_token(self._remote) if self._remote else _local_server(str(self._master))
                spark = import_module("pyspark.sql.connect.session").SparkSession.builder.remote(address).create()
                retries = import_module("pyspark.sql.connect.client.retries")
                spark.client.set_retry_policies([retries.DefaultPolicy(**_RETRIES)])
                for name, value in self._settings.items():
                    spark.conf.set(name, value)
            except Exception as error:  # noqa: BLE001 - gRPC, Py4J and PySpark have many types of errors
                message = f"engine: Spark cannot be reached at {where}: {_first_line(error)}"
                raise InputError(message) from None
        spark.registerProgressHandler(self._note_operation)
        return spark

    def _frame(self, select: str) -> Any:
        """Return a SELECT as a data frame that is sent with its action; ``spark.sql`` has it analysed once more."""
        plan, frames = import_module("pyspark.sql.connect.plan"), import_module("pyspark.sql.connect.dataframe")
        return frames.DataFrame(plan.SQL(select), self._spark)

    def _note_operation(self, *_: Any, operation_id: str, **__: Any) -> None:
        self._operation = operation_id

    def _run(self, action: Callable[[], _Result]) -> _Result:
        """Run an action on the server; cancel it there if this process is interrupted."""
        lost = import_module("grpc").RpcError
        refused = import_module("pyspark.errors").PySparkException
        try:
            return action()
        except (lost, refused) as error:
            text = str(error)
            kind = ConnectionLostError if any(sign in text for sign in _LOST) else EngineQueryError
            raise kind(_first_line(error)) from None
        except BaseException:
            with suppress(Exception):
                self._spark.interruptAll()
            raise


@cache
def _local_server(master: str) -> str:
    """Start a Spark Connect server in a JVM that ends with this process; returns its address."""
    pyspark = import_module("pyspark")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = uuid.uuid4().hex
    settings = {
        **_LOCAL_SETTINGS,
        "spark.master": master,
        "spark.connect.grpc.binding.port": str(port),
        "spark.connect.authenticate.token": token,
    }
    pyspark.SparkContext.getOrCreate(pyspark.SparkConf().setAll(list(settings.items())))
    return f"sc://localhost:{port}/;token={token}"


def _local_parquet(path: str) -> Any:
    """Return the Parquet files of a directory as a pyarrow.dataset.Dataset, or None if Spark has them elsewhere.

    The name of a directory is unique, so one that exists here is the one that Spark wrote.
    """
    if "://" in path or not Path(path).is_dir():
        return None
    files = sorted(str(file) for file in Path(path).glob("*.parquet"))
    return import_module("pyarrow.dataset").dataset(files, format="parquet") if files else None


def _require_listener(address: str) -> None:
    """Raise OSError at once if nothing listens at the address: the client would try for minutes."""
    parts = urlsplit(address.replace("sc://", "http://", 1))
    with socket.create_connection((parts.hostname or "", parts.port or _DEFAULT_PORT), timeout=_CONNECT_SECONDS):
        return


def _with_token(address: str) -> str:
    token = os.environ.get(TOKEN_VARIABLE)
    if not token:
        return address
    # Parameters follow the address after "/;" and are separated by semicolons.
    separator = ";" if "/;" in address else ";" if address.endswith("/") else "/;"
    return f"{address.rstrip(';')}{separator}token={token}"


def _schema(columns: Mapping[str, str]) -> str:
    return ", ".join(f"`{name}` {spark_type(kind)}" for name, kind in columns.items())


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return without_secrets(lines[0]) if lines else type(error).__name__
