"""Where models are built: the interface of an engine, and its choice from the configuration.

The engine builds the tables of the intermediate and marts layers. Everything else is in the warehouse, a DuckDB file:
raw and small staged tables, the ledgers, and a copy of each mart. ``DuckDbEngine`` builds the models there;
``RemoteEngine`` builds them with another engine, such as Spark.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, Protocol

import duckdb

from csm_core.errors import ConfigError
from csm_core.warehouse.catalog import table_exists
from csm_core.warehouse.duckdb_engine import DuckDbEngine
from csm_core.warehouse.live_tables import DIRECTORIES, LIVE_DAYS
from csm_core.warehouse.materialize import Around, ModelResult
from csm_core.warehouse.models import SqlModel
from csm_core.warehouse.remote_engine import RemoteEngine
from csm_core.warehouse.remote_session import RemoteSession

DUCKDB, SPARK = "duckdb", "spark"


class EngineSettings(Protocol):
    """The section ``engine`` of a configuration."""

    @property
    def kind(self) -> Literal["duckdb", "spark"]:
        """The engine that builds the models."""
        ...

    @property
    def remote(self) -> str | None:
        """The address of a Spark Connect server, such as ``sc://spark.example:15002``."""
        ...

    @property
    def master(self) -> str | None:
        """The master of a Spark session in this process, such as ``local[2]``."""
        ...

    @property
    def location(self) -> str | None:
        """The folder, as Spark names it, of the tables that Spark builds."""
        ...


@dataclass(frozen=True)
class DuckDbSettings:
    """The settings of the default engine."""

    kind: Literal["duckdb"] = DUCKDB
    remote: None = None
    master: None = None
    location: None = None


class Engine(Protocol):
    """Builds models and queries their tables."""

    @property
    def warehouse(self) -> duckdb.DuckDBPyConnection:
        """The open warehouse, which records what was built."""
        ...

    def build(
        self,
        model: SqlModel,
        parameters: Mapping[str, Any],
        days: tuple[date, date] | None = None,
        *,
        sql: str | None = None,
        portable_sql: str | None = None,
        around: Around | None = None,
    ) -> ModelResult:
        """Replace the given days of a model, its queued days, or its whole table; all or nothing.

        ``sql`` replaces the SELECT of the model; ``portable_sql`` is the same SELECT for engines other than DuckDB.
        ``around`` adds statements on the warehouse, before or after the replacement, to its transaction.
        Raises WarehouseError with the name of the file if the SELECT fails.
        """
        ...

    def query(self, sql: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT, in DuckDB's dialect, from tables of any layer."""
        ...

    def query_dicts(self, sql: str, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the rows of a SELECT as dictionaries from column to value."""
        ...

    def column_types(self, table: str) -> Mapping[str, str]:
        """Return the columns of a table with their types as DuckDB names them."""
        ...


def open_engine(connection: duckdb.DuckDBPyConnection, settings: EngineSettings) -> Engine:
    """Return the engine of a configuration for an open warehouse.

    Raises ConfigError if the packages of the engine are not installed, or if another engine has the tables of this
    warehouse; InputError if a server cannot be reached.
    """
    if settings.kind == DUCKDB:
        _require_own_tables(connection)
        return DuckDbEngine(connection)
    session = open_session(settings)
    engine = RemoteEngine(connection, session)
    if DIRECTORIES not in session.shown:
        # The first connection of a run.
        engine.delete_unreferenced()
        session.shown[DIRECTORIES] = "cleaned"
    return engine


def open_session(settings: EngineSettings) -> RemoteSession:
    """Return the session of a configuration with Spark; it is started once per process.

    Raises ConfigError if the engine is not Spark or its packages are not installed, InputError if it cannot be reached.
    """
    if settings.kind == DUCKDB:
        message = "reading with Spark requires engine: {kind: spark}"
        raise ConfigError(message)
    # Imported here, since the default engine does not need the packages of Spark.
    from csm_core.warehouse.spark_session import spark_session

    return spark_session(settings.remote, settings.master, str(settings.location))


def _require_own_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Raise ConfigError if Spark built the tables of this warehouse: DuckDB does not have their rows."""
    if not table_exists(connection, LIVE_DAYS):
        return
    row = connection.execute(f"select min(directory) from {LIVE_DAYS}").fetchone()
    if row and row[0]:
        message = (
            f"engine: the tables of this warehouse were built with Spark and are at {row[0].rsplit('/', 2)[0]}. Set "
            "kind: spark again, or set another path under `warehouse:` and build its days with csm run."
        )
        raise ConfigError(message)
