"""The numbered migrations that create and change the bookkeeping tables of a warehouse.

Bookkeeping tables are the tables of the schemas ``run`` and ``sync``, and the tables of loads in ``raw``. Tables of
records and of models are created from their contracts and models instead. ``upgrade`` applies pending migrations, each
in its own transaction, and records them in ``run.migrations``.

A warehouse of a version without ``run.migrations`` has all, some or none of the tables of ``BASELINE``, so these
migrations accept existing tables and columns. To change a bookkeeping table, add a migration with the next number at
the end of the list. Never edit a released migration.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import duckdb

from csm_core.errors import WarehouseError, WarehouseInputError
from csm_core.warehouse.alert_tables import ALERT_TABLES
from csm_core.warehouse.baseline_migrations import BASELINE, MIGRATIONS_TABLE, Migration
from csm_core.warehouse.catalog import columns_of, table_exists, transaction
from csm_core.warehouse.crm_tables import CRM_TABLES
from csm_core.warehouse.history_migrations import create_versions
from csm_core.warehouse.pulse_tables import PULSE_TABLES, add_pulses_to_built_tables
from csm_core.warehouse.receipt_tables import ERASED_CUSTOMERS_TABLE, ERASURES_TABLE, RECEIPT_TABLES
from csm_core.warehouse.replaced_tables import REPLACED_ROWS
from csm_core.warehouse.run_descriptions import describe_tables
from csm_core.warehouse.sync_descriptions import OPPORTUNITY_STATUS_COMMENTS, SYNC_COLUMNS, SYNC_TABLES


def upgrade(connection: duckdb.DuckDBPyConnection, migrations: Sequence[Migration] | None = None) -> list[int]:
    """Apply pending migrations in order; returns their numbers.

    Raises WarehouseInputError if a newer version of csm-health has migrated the warehouse, and WarehouseError if a
    migration fails, which leaves the warehouse in its state before that migration.
    """
    listed = MIGRATIONS if migrations is None else migrations
    newest = require_known_version(connection, listed)
    pending = [migration for migration in listed if migration.number > newest]
    for migration in pending:
        try:
            with transaction(connection):
                if migration.sql:
                    connection.execute(migration.sql)
                if migration.change:
                    migration.change(connection)
                if migration is pending[-1]:
                    # Once for all migrations: describing every table takes longer than creating them.
                    describe_tables(connection)
                connection.execute(
                    f"insert into {MIGRATIONS_TABLE} (number, name, applied_at, csm_version) values (?, ?, ?, ?)",
                    [migration.number, migration.name, datetime.now(UTC).replace(tzinfo=None), _installed_version()],
                )
        except duckdb.Error as error:
            message = (
                f"the warehouse {_path_of(connection)} cannot be upgraded: migration {migration.number} "
                f"({migration.name}) failed: {str(error).splitlines()[0]}. This migration was rolled "
                "back. Correct the cause and run again, or restore a backup with `csm restore`."
            )
            raise WarehouseError(message) from error
    return [migration.number for migration in pending]


def require_known_version(connection: duckdb.DuckDBPyConnection, migrations: Sequence[Migration] | None = None) -> int:
    """Return the number of the warehouse's newest migration, 0 without one. Works on a read-only connection.

    Raises WarehouseInputError if a newer version of csm-health has migrated the warehouse.
    """
    supported = (MIGRATIONS if migrations is None else migrations)[-1].number
    newest = _newest_applied(connection)
    if newest > supported:
        raise _newer_warehouse(connection, supported)
    return newest


def _newest_applied(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the highest recorded number; 0 for a warehouse without migrations."""
    try:
        # All rows are fetched: DuckDB refuses some work, such as registering a frame, before that.
        ((newest,),) = connection.execute(f"select coalesce(max(number), 0) from {MIGRATIONS_TABLE}").fetchall()
    except duckdb.CatalogException:
        return 0
    return int(newest)


def _newer_warehouse(connection: duckdb.DuckDBPyConnection, supported: int) -> WarehouseInputError:
    row = connection.execute(
        f"select number, name, csm_version from {MIGRATIONS_TABLE} order by number desc limit 1"
    ).fetchone()
    number, name, newer = row or (None, None, None)
    message = (
        f"the warehouse {_path_of(connection)} was upgraded by csm-health {newer} to migration {number} ({name}); "
        f"this is csm-health {_installed_version()}, whose newest migration is {supported}. Install csm-health {newer} "
        "or later, or restore a backup from before the upgrade with `csm restore`."
    )
    return WarehouseInputError(message)


def _path_of(connection: duckdb.DuckDBPyConnection) -> str:
    row = connection.execute("select path from duckdb_databases() where database_name = current_database()").fetchone()
    return row[0] if row and row[0] else "in memory"


@cache
def _installed_version() -> str:
    try:
        return version("csm-health")
    except PackageNotFoundError:
        return "unknown"


_WINDOWS = {
    "int_account_features": {"users_28d": "users_in_window", "events_28d": "events_in_window"},
    "int_account_support": {"escalations_90d": "escalations_in_window"},
    "int_account_usage": {
        "events_28d": "events_in_window",
        "events_prior_28d": "events_in_window_before",
        "active_users_28d": "active_users_in_window",
        "login_days_90d": "login_days_in_window",
    },
    "csm_feature_adoption": {"users_28d": "users_in_window", "events_28d": "events_in_window"},
}


def _name_windows(connection: duckdb.DuckDBPyConnection) -> None:
    # Past days keep their values. Depending on its version, a warehouse may lack these tables or columns.
    rows = connection.execute(
        "select schema_name, table_name, column_name from duckdb_columns() "
        "where database_name = current_database() and list_contains(?, table_name)",
        [list(_WINDOWS)],
    ).fetchall()
    stored = {(table, column) for _, table, column in rows}
    for schema, table, column in rows:
        name = _WINDOWS[table].get(column)
        if name and (table, name) not in stored:
            connection.execute(f"alter table {schema}.{table} rename column {column} to {name}")
    if any(table == "csm_feature_adoption" for table, _ in stored):
        # `csm notion plan` reads it before a run builds the table again.
        connection.execute("alter table marts.csm_feature_adoption add column if not exists window_days integer")


# The tables whose converted amounts other models or pages read, perhaps before a run builds the table again.
_CONVERTED = {
    "intermediate.int_account_subscriptions": "mrr_reporting",
    "marts.csm_accounts_daily": "mrr_reporting",
    "marts.csm_health_last": "mrr_reporting",
    "marts.csm_health_current": "mrr_reporting",
    "marts.csm_revenue_movements": "mrr_end_reporting",
}


def _add_converted_amounts(connection: duckdb.DuckDBPyConnection) -> None:
    # Past days have null until they are rebuilt.
    for table, amount in _CONVERTED.items():
        if table_exists(connection, table):
            connection.execute(f"alter table {table} add column if not exists {amount} decimal(38, 2)")
            connection.execute(f"alter table {table} add column if not exists reporting_currency varchar")


def _date_known_scores(connection: duckdb.DuckDBPyConnection) -> None:
    # Scores of versions without known_from were known when they were computed last. The next run sets their basis.
    if not table_exists(connection, "marts.csm_health_scores"):
        return
    connection.execute("alter table marts.csm_health_scores add column if not exists known_from timestamp")
    connection.execute("alter table marts.csm_health_scores add column if not exists basis varchar")
    if "scored_at" in columns_of(connection, "marts.csm_health_scores"):
        connection.execute("update marts.csm_health_scores set known_from = scored_at where known_from is null")
    if table_exists(connection, "marts.csm_health_signals"):
        connection.execute("alter table marts.csm_health_signals add column if not exists known_from timestamp")
        connection.execute(
            "update marts.csm_health_signals as signals set known_from = scores.known_from "
            "from marts.csm_health_scores as scores where signals.account_id = scores.account_id "
            "and signals.as_of_date = scores.as_of_date and signals.known_from is null"
        )


# The first part of a natural key, which is a JSON array of strings; null if the page has no account.
_ACCOUNT_ID = "case when json_valid(key) then nullif(json_extract_string(key, '$[0]'), '') end"

MIGRATIONS = (
    *BASELINE,
    Migration(
        8,
        "add account_id to the ledger of Notion",
        "".join(
            f"""
            alter table sync.{table} add column account_id varchar;
            update sync.{table} set account_id = {_ACCOUNT_ID};
            comment on column sync.{table}.account_id is
                'The account that the page is about, as in the marts; null if the page states none';
            """
            for table in ("notion_pages", "notion_changes", "notion_journal")
        ),
    ),
    Migration(
        9,
        "rename the table of marts that changed since they were copied",
        "alter table run.uncopied rename to changed_marts",
    ),
    Migration(10, "name columns of a configured window in_window", "", _name_windows),
    Migration(
        11,
        "describe the tables of Notion",
        "".join(f"comment on table sync.{table} is '{text}';" for table, text in SYNC_TABLES.items())
        + "".join(
            f"comment on column sync.{table}.{column} is '{text}';"
            for table, columns in SYNC_COLUMNS.items()
            for column, text in columns.items()
        ),
    ),
    Migration(
        12,
        "create the tables of directories that another engine writes",
        """
        create table if not exists run.engine_directories (
            directory varchar not null, table_name varchar not null, created_at timestamp not null
        );
        create table if not exists run.engine_days (
            table_name varchar not null, day date, directory varchar not null, days_written bigint not null
        )
        """,
    ),
    Migration(
        13,
        "create the table of the days of usage events that another engine has",
        """
        create table if not exists run.engine_usage_days (
            usage_date date, events bigint not null, content decimal(38, 0) not null
        )
        """,
    ),
    Migration(
        14,
        "store the users of Notion and the day in the description of the accounts database",
        """
        alter table sync.notion_sources add column if not exists described_day date;
        create table if not exists sync.notion_users (
            email varchar not null, user_id varchar, read_at timestamp not null
        )
        """,
    ),
    Migration(
        15,
        "create the table of the statuses of expansion opportunities",
        """
        create table if not exists sync.opportunity_statuses (
            change_id bigint not null, account_id varchar not null, opportunity_type varchar not null,
            subject varchar not null, status varchar not null, since date not null
        )
        """
        + OPPORTUNITY_STATUS_COMMENTS,
    ),
    Migration(16, "describe the tables of runs and of the ledger", ""),
    Migration(
        17,
        "create the table of rates and the columns of converted amounts",
        """
        create table if not exists run.fx_rates (
            currency varchar not null, rate decimal(18, 8) not null, reporting_currency varchar not null
        )
        """,
        _add_converted_amounts,
    ),
    Migration(
        18,
        "record since when scores are known, and the late records by key",
        """
        create table if not exists run.late_record_keys (
            change_id bigint not null, entity varchar not null, record_key varchar, account_id varchar,
            touched_day date not null, load_id bigint, records bigint not null, staged_at timestamp not null
        );
        create table if not exists run.score_versions (
            as_of_date date not null, code_version varchar not null, parameters_hash varchar not null
        )
        """,
        _date_known_scores,
    ),
    Migration(19, "create the tables of replaced raw records and of configurations", REPLACED_ROWS),
    Migration(20, "create the tables of receipts", RECEIPT_TABLES),
    Migration(21, "create the table of erased accounts", ERASURES_TABLE),
    Migration(22, "create the tables of attributes over time", "", create_versions),
    Migration(
        23,
        "create the table of the times at which sources were loaded",
        "create table if not exists run.source_loads (system varchar not null, loaded_at timestamp not null)",
    ),
    Migration(24, "create the tables of alerts", ALERT_TABLES),
    Migration(25, "create the table of erased accounts at vendors", ERASED_CUSTOMERS_TABLE),
    Migration(26, "create the tables of pulses", PULSE_TABLES, add_pulses_to_built_tables),
    Migration(27, "create the ledger of records in HubSpot and Salesforce", CRM_TABLES),
)
