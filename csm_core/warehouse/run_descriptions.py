"""The descriptions of the tables of the schema ``run`` and of the ledger of Notion, stored as comments."""

from __future__ import annotations

import duckdb

from csm_core.warehouse.alert_tables import ALERT_DESCRIPTIONS
from csm_core.warehouse.crm_tables import CRM_DESCRIPTIONS
from csm_core.warehouse.models import literal, quoted
from csm_core.warehouse.pulse_tables import PULSE_DESCRIPTIONS
from csm_core.warehouse.receipt_tables import DESCRIPTIONS as RECEIPT_DESCRIPTIONS

# A description of each table, then of its columns.
DESCRIPTIONS: dict[str, tuple[str, dict[str, str]]] = RECEIPT_DESCRIPTIONS | {
    "run.accepted_checks": (
        "One row per failed check of a day that a user accepted",
        {
            "check_name": "The check",
            "as_of_date": "The day that was held",
            "message": "What the check found",
            "accepted_by": "The user who accepted it",
            "accepted_at": "When it was accepted, UTC",
        },
    ),
    "run.changed_marts": (
        "One row per mart and range of days that changed since the published copy was written",
        {
            "mart": "The table in the schema marts",
            "first_date": "The first changed day; null if the mart has no days",
            "last_date": "The last changed day; null if the mart has no days",
        },
    ),
    "run.days": ("One row per day that models are built for in the current run", {"as_of_date": "The day"}),
    "run.days_status": (
        "One row per day that was scored",
        {
            "as_of_date": "The day",
            "status": "building, complete, held or accepted",
            "failed_checks": "The blocking checks that failed, comma-separated; empty if none",
            "message": "What the failed checks found",
            "accepted_by": "The user who accepted the failed checks; null if nobody did",
            "run_id": "The Dagster run that set the status",
            "checks_passed": "The blocking checks that passed, comma-separated",
            "changed_at": "When the status last changed, UTC",
        },
    ),
    "run.engine_days": (
        "One row per table, day and directory that another engine wrote and that is live",
        {
            "table_name": "The table",
            "day": "The day; null if the table has no days",
            "directory": "The directory with the rows",
            "days_written": "The number of days that the directory was written with",
        },
    ),
    "run.engine_directories": (
        "One row per directory that another engine wrote, live or not",
        {"directory": "The directory", "table_name": "The table", "created_at": "When it was created, UTC"},
    ),
    "run.engine_usage_days": (
        "One row per day of usage events that another engine has",
        {
            "usage_date": "The day",
            "events": "The number of events",
            "content": "A checksum of the events",
        },
    ),
    "run.fx_rates": (
        "One row per currency with a rate in the configuration of the latest run, and one for the reporting currency",
        {
            "currency": "The currency, an ISO 4217 code",
            "rate": "How many units of the reporting currency one unit is worth",
            "reporting_currency": "The currency that amounts are converted to",
        },
    ),
    "run.ignored_versions": (
        "One row per record whose latest version a rule ignores",
        {
            "entity": "The entity",
            "key_hash": "A hash of the key of the record",
            "_version": "The record's own version; null if it has none",
            "_load_id": "The load of that version",
        },
    ),
    "run.known_scores": ("The previous scores of unchanged signals, while scores are built; otherwise empty", {}),
    "run.late_record_keys": (
        "One row per late record; usage events are one row per account, day and load",
        {
            "change_id": "The number of the change, as in run.late_records",
            "entity": "The entity of the record",
            "record_key": "The key of the record; null for usage events",
            "account_id": "The account of the record; null if it has none",
            "touched_day": "The first day that the record changes",
            "load_id": "The load that brought the change; null if it is unknown",
            "records": "The number of records",
            "staged_at": "When the change was staged, UTC",
        },
    ),
    "run.late_records": (
        "One row per load and day with records that arrived after the day was built",
        {
            "change_id": "The order of the changes",
            "entity": "The entity",
            "touched_day": "The day that the records belong to",
            "records": "The number of records",
            "staged_at": "When they were staged, UTC",
        },
    ),
    "run.migrations": (
        "One row per migration that was applied to this warehouse",
        {
            "number": "The number of the migration",
            "name": "What it does",
            "applied_at": "When it was applied, UTC",
            "csm_version": "The version of csm-health that applied it",
        },
    ),
    "run.model_inputs": (
        "One row per model and table that it reads, directly or through other models",
        {"model": "The table of the model", "input": "The table that it reads"},
    ),
    "run.model_marks": (
        "One row per model and day: the latest change of records that the rows contain",
        {
            "model": "The table of the model",
            "as_of_date": "The day; null if the model has no days",
            "change_id": "The latest change, as in run.late_records",
        },
    ),
    "run.pending_account_usage_days": (
        "One row per day whose usage by account must be rolled up again",
        {"usage_date": "The day"},
    ),
    "run.pending_usage_days": ("One row per day whose usage must be rolled up again", {"usage_date": "The day"}),
    "run.policies": (
        "One row per policy of the configuration of the latest run",
        {
            "precedence": "The order in which policies are tried",
            "tenant": "The tenant; null matches any",
            "segment": "The segment; null matches any",
            "from_date": "The first day on which the policy applies; null matches any",
            "green_threshold": "The score from which an account is GREEN",
            "amber_threshold": "The score from which an account is AMBER",
            "churn_window_days": "The days before a renewal in which the contract-risk trigger applies",
        },
    ),
    "run.published_copy": ("The checksum of the latest published copy", {"checksum": "The checksum of its file"}),
    "run.record_builds": (
        "One row per source system whose records are counted",
        {"system": "The source system", "state": "A hash of the loads and models that the counts are from"},
    ),
    "run.record_counts": (
        "One row per source system and raw table: the outcome of each record of the vendor",
        {
            "system": "The source system",
            "entity": "The entity, or the kind of record of the vendor",
            "raw_table": "The table in the schema raw",
            "records": "Records read",
            "current": "Records whose latest version is in use",
            "superseded": "Versions that a later one replaced",
            "rejected": "Records in the quarantine",
            "ignored": "Records that a setting or rule leaves out",
        },
    ),
    "run.rejected_records": (
        "One row per record of a vendor that was rejected before it was staged",
        {
            "system": "The source system",
            "entity": "The entity",
            "raw_table": "The table in the schema raw",
            "load_id": "The load",
            "source_file": "The file or page with the record",
            "source_line": "The line or position in it",
            "field": "The field; null if the record as a whole was rejected",
            "reason": "Why it was rejected",
            "value": "The value of the field",
            "record_key": "The key of the record; null if it has none",
            "raw_text": "The record as it was read",
            "loaded_at": "When it was loaded, UTC",
        },
    ),
    "run.source_loads": (
        "One row per source system and time at which all of its sources were loaded, also if they had no new records",
        {"system": "The source system", "loaded_at": "When they were loaded, UTC"},
    ),
    "run.sources": (
        "One row per source of the latest load",
        {
            "system": "The source system",
            "_source": "The name of the source",
            "settings": "The settings that affect its records, a JSON object without secrets",
        },
    ),
    "run.staged_loads": (
        "One row per load that was staged with the current staging model",
        {
            "entity": "The entity",
            "system": "The source system",
            "load_id": "The load, as in raw.loads",
            "model_hash": "A hash of the staging model",
            "staged_at": "When it was staged, UTC",
        },
    ),
    "run.uncounted_days": (
        "One row per day that does not count: building or held",
        {"as_of_date": "The day"},
    ),
    "run.revised_rows": (
        "One row per account and day whose signals were rebuilt and whose scores were not: its previous row",
        {},
    ),
    "run.score_versions": (
        "One row per scored day: what its scores were computed with",
        {
            "as_of_date": "The day",
            "code_version": "Hash of the models behind the signals and of the rubric",
            "parameters_hash": "Hash of the parameters of the models",
        },
    ),
    "run.configurations": (
        "One row per configuration with which days were scored",
        {
            "config_hash": "Hash of all configuration that affects a score, as in csm_health_scores",
            "settings": "The settings, JSON",
            "first_used_at": "When a day was first scored with it, UTC",
        },
    ),
    "replaced.unchanged_rows": (
        "One row per range of lines that a later load of a raw table repeats, so that they are stored once",
        {
            "raw_table": "The raw table",
            "source_file": "The file of the earlier load",
            "load_id": "The earlier load, as in raw.loads",
            "loaded_at": "When it was loaded, UTC",
            "replaced_at": "When the rows were replaced, UTC",
            "first_line": "The first line in the file of the earlier load",
            "last_line": "The last line, included",
            "successor_file": "The file of the load that repeats them",
            "successor_load_id": "The load that repeats them",
            "line_shift": "What to add to a line to get its line in the later load",
        },
    ),
    "replaced.ended_loads": (
        "One row per load of a file that no longer counts, because the file was removed or read again",
        {
            "raw_table": "The raw table",
            "path": "The file",
            "load_id": "The load, as in raw.loads",
            "ended_at": "Since when it does not count, UTC",
        },
    ),
    "sync.notion_journal": (
        "One row per page that a publication intended to write",
        {
            "run_id": "The publication, as in sync.notion_runs",
            "kind": "health, record, qbr, notes, expansion or portfolio",
            "key": "The natural key, a JSON array that begins with the account_id",
            "action": "create or update",
            "intended_at": "When the intent was recorded, UTC",
            "page_id": "The id of the page in Notion; null until it is written",
            "done_at": "When the entry was closed, UTC; null if the outcome is unknown",
            "as_of_date": "The day that the content is from",
            "sent_at": "When the request was about to be sent, UTC; null if it was not",
            "outcome": "written, trashed, failed or void; null while the entry is open",
        },
    ),
    "sync.notion_pages": (
        "One row per page that was published to Notion, per view that was created, and per image of a score",
        {"kind": "health, record, qbr, notes, expansion, portfolio, view or chart"},
    ),
    "sync.notion_changes": (
        "One row per page that a publication created, updated, failed to write or found in the trash",
        {"kind": "health, record, qbr, notes, expansion or portfolio"},
    ),
    "sync.notion_sources": (
        "One row per database in Notion that was resolved",
        {
            "setting": "The setting that holds the id of the database",
            "database_id": "The id of the database",
            "data_source_id": "The id of its data source",
            "title": "The name of the title property",
            "only_source": "Whether the database has one data source",
            "read_until": "The time up to which the pages were read, UTC",
            "windows": "The creation times that split the database into queries, a JSON array",
            "described_day": "The day that the description of the accounts database states",
        },
    ),
    "sync.notion_users": (
        "One row per e-mail address of an owner that was looked up in Notion",
        {
            "email": "The address in lower case",
            "user_id": "The id of the user; null if there is none",
            "read_at": "When the users were read, UTC",
        },
    ),
}


def describe_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Store the descriptions of the tables and columns that the warehouse has as comments."""
    present = set(
        connection.execute(
            "select schema_name || '.' || table_name, column_name from duckdb_columns() "
            "where database_name = current_database() and schema_name in ('run', 'sync', 'replaced')"
        ).fetchall()
    )
    tables = {table for table, _ in present}
    for table, (description, columns) in (
        DESCRIPTIONS | ALERT_DESCRIPTIONS | PULSE_DESCRIPTIONS | CRM_DESCRIPTIONS
    ).items():
        if table in tables:
            connection.execute(f"comment on table {table} is {literal(description)}")
        for column, text in columns.items():
            if (table, column) in present:
                connection.execute(f"comment on column {table}.{quoted(column)} is {literal(text)}")
