"""The statements that create the tables of pulses, for ``migrations``, and their descriptions."""

from __future__ import annotations

import duckdb

from csm_core.warehouse.catalog import columns_of, table_exists

PULSES = "sync.pulses"
PULSE_READINGS = "sync.pulse_readings"

PULSE_TABLES = f"""
create table if not exists {PULSES} (
    pulse_id bigint not null, account_id varchar not null, set_on date not null, pulse bigint, note varchar,
    until_date date, author varchar, origin varchar not null, recorded_at timestamp not null
);
create table if not exists {PULSE_READINGS} (
    page_id varchar not null, account_id varchar not null, pulse bigint, note varchar, read_at timestamp not null
)
"""

PULSE_DESCRIPTIONS: dict[str, tuple[str, dict[str, str]]] = {
    PULSES: (
        "One row per pulse that was set or cleared; nothing is replaced",
        {
            "pulse_id": "The order of the records",
            "account_id": "The account",
            "set_on": "The first day of the pulse, or the day on which it was cleared",
            "pulse": "1 to 5; null if the pulse was cleared",
            "note": "The reason in the words of the author; null without one",
            "until_date": "The last day of the pulse, unless it ends earlier; null if it was cleared",
            "author": "Who set or cleared it; null if unknown",
            "origin": "command or notion",
            "recorded_at": "When it was recorded, UTC",
        },
    ),
    PULSE_READINGS: (
        "One row per account page in Notion whose pulse was read: the last valid values",
        {
            "page_id": "The id of the page in Notion",
            "account_id": "The account",
            "pulse": "The pulse on the page; null if it was empty",
            "note": "The note on the page; null if it was empty",
            "read_at": "When the page first showed these values, UTC",
        },
    ),
}

_STEP = """
    create table if not exists intermediate.int_account_pulses (
        pulse_id bigint, account_id varchar, set_on date, pulse bigint, note varchar, until_date date, author varchar,
        origin varchar, recorded_at timestamp, ended_on date, ended_by varchar
    );
    create table if not exists marts.csm_pulses_daily (
        tenant_id varchar, account_id varchar, as_of_date date, pulse bigint, pulse_age_days bigint, pulse_note varchar,
        author varchar, set_on date, until_date date, known_from timestamp
    );
    create table if not exists marts.csm_disagreements (
        tenant_id varchar, account_id varchar, as_of_date date, kind varchar, account_name varchar, csm_owner varchar,
        score double, rag {rag}, pulse bigint, pulse_age_days bigint, mrr_before decimal(38, 2),
        mrr decimal(38, 2), currency varchar
    )
"""
_COLUMNS = {"pulse": "bigint", "pulse_age_days": "bigint", "pulse_note": "varchar", "disagrees": "boolean"}


def add_pulses_to_built_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Add the tables and columns that commands read, perhaps before a run builds them, to a warehouse with scores."""
    if not table_exists(connection, "marts.csm_health_scores"):
        return
    row = connection.execute(
        "select data_type from duckdb_columns() where database_name = current_database() and schema_name = 'marts' "
        "and table_name = 'csm_health_scores' and column_name = 'rag'"
    ).fetchone()
    connection.execute(_STEP.format(rag=row[0] if row else "varchar"))
    for table in ("marts.csm_health_last", "marts.csm_health_current"):
        if table_exists(connection, table):
            for name, kind in _COLUMNS.items():
                if name not in columns_of(connection, table):
                    connection.execute(f"alter table {table} add column {name} {kind}")
