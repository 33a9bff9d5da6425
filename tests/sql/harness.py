"""Given rows, run one model, get rows: what the SQL tests are written with."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from csm_core.config import Config
from csm_core.contract import ENTITIES
from csm_core.rubric import weight_parameters
from csm_core.warehouse.catalog import has_rows, table_exists
from csm_core.warehouse.database import Warehouse
from csm_core.warehouse.materialize import build_model
from csm_core.warehouse.models import SQL_ROOT, load_model, load_models
from csm_core.warehouse.version_tables import ALWAYS, VERSION_TABLES

INTERMEDIATE = [
    "int_usage_daily",
    "int_usage_daily_accounts",
    *(_POPULATION := ("int_account_spells", "int_account_days")),
    *(
        name
        for name in load_models("intermediate", SQL_ROOT)
        if name.startswith("int_account") and name not in _POPULATION
    ),
]
SPELLS = "intermediate.int_account_spells"
PARAMETERS: dict[str, Any] = {**Config().sql_parameters(), **weight_parameters()}


@contextmanager
def fresh() -> Iterator[duckdb.DuckDBPyConnection]:
    """A warehouse with its schemas and empty staged tables."""
    with TemporaryDirectory() as folder, Warehouse(Path(folder) / "w.duckdb").connect() as connection:
        for entity in ENTITIES.values():
            connection.execute(f"create table {entity.table} ({entity.definition})")
        for versions in VERSION_TABLES.values():
            connection.execute(f"create table if not exists {versions.table} ({versions.definition})")
        yield connection


def table(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    rows: Sequence[Mapping[str, Any]] = (),
    columns: Mapping[str, str] | None = None,
) -> None:
    """Put rows into a table, making it of ``columns`` (name to type) if they are given; columns left out are null."""
    if columns:
        stated = ", ".join(f'"{column}" {kind}' for column, kind in columns.items())
        connection.execute(f"create table {name} ({stated})")
    for row in rows:
        names = ", ".join(f'"{column}"' for column in row)
        connection.execute(f"insert into {name} ({names}) values ({', '.join('?' * len(row))})", list(row.values()))


def add_versions(connection: duckdb.DuckDBPyConnection) -> None:
    """Give every staged account and feature without a version one that is always valid, as the gate does."""
    for versions in VERSION_TABLES.values():
        entity = versions.entity
        columns = ", ".join((entity.key, *versions.attributes))
        ended = "_closed_at" if "_closed_at" in entity.gate_columns else "null"
        connection.execute(
            f"insert into {versions.table} by name select {columns}, {ALWAYS} as valid_from, {ended} as valid_to, "
            f"'load' as basis from {entity.table} where {entity.key} not in (select {entity.key} from {versions.table})"
        )


def add_spells(connection: duckdb.DuckDBPyConnection) -> None:
    """Build the spells of the staged accounts."""
    if has_rows(connection, ENTITIES["accounts"].table) or not table_exists(connection, SPELLS):
        build_model(connection, load_models("intermediate")["int_account_spells"], PARAMETERS)


def staged(connection: duckdb.DuckDBPyConnection, entity: str, *rows: Mapping[str, Any]) -> None:
    """Rows of a staged entity; texts are cast to the column's type, so times may be written as ISO text."""
    table(connection, ENTITIES[entity].table, rows)


def run_model(
    connection: duckdb.DuckDBPyConnection,
    path: str,
    days: Sequence[date | str] = ("2026-06-30",),
    params: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Build ``path`` ("marts/csm_portfolio_daily") for the days and give its rows, in the order of its key."""
    add_versions(connection)
    layer, _, name = path.rpartition("/")
    model = load_model(SQL_ROOT / layer / f"{name}.sql", layer)
    parsed = sorted(date.fromisoformat(str(day)) for day in days)
    if SPELLS in model.dependencies:
        add_spells(connection)
    build_model(connection, model, {**PARAMETERS, **(params or {})}, (parsed[0], parsed[-1]))
    cursor = connection.execute(f"select * from {model.table} order by {', '.join(model.grain)}")
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def queue_usage_days(connection: duckdb.DuckDBPyConnection) -> None:
    """Queue every day that has a usage event, as staging does for the days that a load touched."""
    connection.execute(
        "insert into run.pending_usage_days select distinct cast(occurred_at as date) from staging.stg_usage_events"
    )


def run_signals(
    connection: duckdb.DuckDBPyConnection, days: Sequence[date | str], params: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Build the intermediate models and ``csm_health_signals`` for the days from the staged records; its rows."""
    for name in INTERMEDIATE:
        run_model(connection, f"intermediate/{name}", days, params)
    return run_model(connection, "marts/csm_health_signals", days, params)
