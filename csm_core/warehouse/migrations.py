"""The numbered migrations that create and change the bookkeeping tables of a warehouse.

Bookkeeping tables are the tables of the schemas ``run`` and ``sync``, and the tables of loads in ``raw``. Tables of
records and of models are created from their contracts and models instead. ``upgrade`` applies pending migrations, each
in its own transaction, and records them in ``run.migrations``.

A warehouse of a version without ``run.migrations`` has all, some or none of the tables of ``BASELINE``, so these
migrations accept existing tables and columns. To change a bookkeeping table, add a migration with the next number at
the end of the list. Never edit a released migration.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import duckdb

from csm_core.errors import WarehouseError, WarehouseInputError
from csm_core.warehouse.catalog import table_exists, transaction
from csm_core.warehouse.history_migrations import create_versions
from csm_core.warehouse.run_descriptions import describe_tables
from csm_core.warehouse.sync_descriptions import OPPORTUNITY_STATUS_COMMENTS, SYNC_COLUMNS, SYNC_TABLES

MIGRATIONS_TABLE = "run.migrations"


@dataclass(frozen=True)
class Migration:
    """One change of the bookkeeping tables: SQL statements, then an optional Python function."""

    number: int
    name: str
    sql: str
    change: Callable[[duckdb.DuckDBPyConnection], None] | None = None


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
        row = connection.execute(f"select coalesce(max(number), 0) from {MIGRATIONS_TABLE}").fetchone()
    except duckdb.CatalogException:
        return 0
    return int(row[0]) if row else 0


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


def _installed_version() -> str:
    try:
        return version("csm-health")
    except PackageNotFoundError:
        return "unknown"


def _fill_days_status(connection: duckdb.DuckDBPyConnection) -> None:
    """Set the status of days that a version without statuses scored: complete if the portfolio mart has the day."""
    connection.execute("create table if not exists run.uncounted_days (as_of_date date not null)")
    if table_exists(connection, "run.days_status"):
        return
    connection.execute(
        """
        create table run.days_status (
            as_of_date date primary key, status varchar not null, failed_checks varchar not null,
            message varchar not null, accepted_by varchar, run_id varchar, checks_passed boolean not null,
            changed_at timestamp not null
        )
        """
    )
    if not table_exists(connection, "marts.csm_health_scores"):
        return
    checked = "marts.csm_portfolio_daily"
    finished = f"as_of_date in (select as_of_date from {checked})" if table_exists(connection, checked) else "true"
    connection.execute(
        f"""
        insert into run.days_status
        select distinct as_of_date, case when {finished} then 'complete' else 'building' end, '', '',
            cast(null as varchar), cast(null as varchar), {finished}, cast(? as timestamp)
        from marts.csm_health_scores order by as_of_date
        """,
        [datetime.now(UTC).replace(tzinfo=None)],
    )
    connection.execute(
        "insert into run.uncounted_days select as_of_date from run.days_status "
        "where status = 'building' order by as_of_date"
    )


BASELINE = (
    Migration(
        1,
        "create the schemas and the table of migrations",
        f"""
        create schema if not exists raw;
        create schema if not exists staging;
        create schema if not exists quarantine;
        create schema if not exists intermediate;
        create schema if not exists marts;
        create schema if not exists sync;
        create schema if not exists run;
        create table if not exists {MIGRATIONS_TABLE} (
            number bigint not null, name varchar not null, applied_at timestamp not null, csm_version varchar not null
        )
        """,
    ),
    Migration(
        2,
        "create the tables of loads and sources",
        """
        create table if not exists raw.loads (
            load_id bigint not null, system varchar not null, entity varchar not null, raw_table varchar not null,
            path varchar not null, file_size bigint not null, file_mtime_ns bigint not null,
            fingerprint varchar not null, rows_read bigint not null, loaded bigint not null, rejected bigint not null,
            loaded_at timestamp not null, status varchar not null
        );
        create table if not exists raw.unparseable_rows (
            load_id bigint not null, system varchar not null, entity varchar not null, raw_table varchar not null,
            source_file varchar not null, source_line bigint not null, reason varchar not null, detail varchar,
            raw_text varchar, loaded_at timestamp not null
        );
        create table if not exists raw.full_files (
            raw_table varchar not null, path varchar not null, is_present boolean not null, replaced_at timestamp
        );
        create table if not exists run.sources (
            system varchar not null, _source varchar not null, settings varchar not null
        )
        """,
    ),
    Migration(
        3,
        "create the tables of staging",
        """
        create table if not exists run.staged_loads (
            entity varchar not null, system varchar not null, load_id bigint not null, model_hash varchar not null,
            staged_at timestamp not null
        );
        create table if not exists run.ignored_versions (
            entity varchar not null, key_hash uhugeint not null, _version timestamp, _load_id bigint
        );
        create table if not exists run.rejected_records (
            system varchar not null, entity varchar not null, raw_table varchar not null, load_id bigint not null,
            source_file varchar not null, source_line bigint not null, field varchar, reason varchar not null,
            value varchar, record_key varchar, raw_text varchar, loaded_at timestamp not null
        );
        create table if not exists run.record_counts (
            system varchar not null, entity varchar not null, raw_table varchar not null, records bigint not null,
            current bigint not null, superseded bigint not null, rejected bigint not null
        );
        alter table run.record_counts add column if not exists ignored bigint default 0;
        create table if not exists run.record_builds (system varchar not null, state varchar not null)
        """,
    ),
    Migration(
        4,
        "create the tables of changed days and late records",
        """
        create table if not exists run.pending_usage_days (usage_date date not null);
        create table if not exists run.pending_account_usage_days (usage_date date not null);
        create table if not exists run.late_records (
            change_id bigint not null, entity varchar not null, touched_day date not null, records bigint not null,
            staged_at timestamp not null
        );
        create table if not exists run.model_marks (
            model varchar not null, as_of_date date, change_id bigint not null
        );
        create table if not exists run.model_inputs (model varchar not null, input varchar not null)
        """,
    ),
    Migration(
        5,
        "create the tables of days, policies and accepted checks",
        """
        create table if not exists run.days (as_of_date date not null);
        create table if not exists run.policies (
            precedence integer, tenant varchar, segment varchar, from_date date, green_threshold double,
            amber_threshold double, churn_window_days bigint
        );
        create table if not exists run.accepted_checks (
            check_name varchar, as_of_date date, message varchar, accepted_by varchar, accepted_at timestamp
        )
        """,
        _fill_days_status,
    ),
    Migration(
        6,
        "create the tables of the published copy",
        """
        create table if not exists run.uncopied (mart varchar not null, first_date date, last_date date);
        create table if not exists run.published_copy (checksum varchar not null);
        drop table if exists run.copied
        """,
    ),
    Migration(
        7,
        "create the ledger of Notion",
        """
        create table if not exists sync.notion_sources (
            setting varchar not null, database_id varchar not null, data_source_id varchar not null,
            title varchar not null, only_source boolean not null, read_until timestamp
        );
        alter table sync.notion_sources add column if not exists windows varchar;
        create table if not exists sync.notion_pages (
            setting varchar not null, kind varchar not null, key varchar not null, page_id varchar not null,
            content_hash varchar not null, state varchar not null, marks varchar not null, facts varchar not null,
            url varchar, updated_at timestamp not null
        );
        create table if not exists sync.notion_journal (
            run_id varchar not null, kind varchar not null, key varchar not null, action varchar not null,
            intended_at timestamp not null, page_id varchar, done_at timestamp
        );
        alter table sync.notion_journal add column if not exists as_of_date date;
        alter table sync.notion_journal add column if not exists sent_at timestamp;
        alter table sync.notion_journal add column if not exists outcome varchar;
        create table if not exists sync.notion_runs (
            run_id varchar not null, as_of_date date, started_at timestamp not null, ended_at timestamp not null,
            created bigint not null, updated bigint not null, skipped bigint not null, orphans bigint not null,
            trashed bigint not null, failed bigint not null, requests bigint not null
        );
        alter table sync.notion_runs add column if not exists status varchar;
        create table if not exists sync.notion_changes (
            run_id varchar not null, kind varchar not null, key varchar not null, action varchar not null,
            page_id varchar, error varchar, changed_at timestamp not null
        )
        """,
    ),
)

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
    Migration(16, "describe the tables of runs and of the ledger", "", describe_tables),
    Migration(17, "create the tables of attributes over time", "", create_versions),
)
