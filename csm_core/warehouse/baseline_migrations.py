"""The first migrations: the tables of a version without ``run.migrations``, which may have some of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb

from csm_core.warehouse.catalog import table_exists

MIGRATIONS_TABLE = "run.migrations"


@dataclass(frozen=True)
class Migration:
    """One change of the bookkeeping tables: SQL statements, then an optional Python function."""

    number: int
    name: str
    sql: str
    change: Callable[[duckdb.DuckDBPyConnection], None] | None = None


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
