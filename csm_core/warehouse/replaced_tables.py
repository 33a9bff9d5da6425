"""The tables of replaced raw records and of configurations, as SQL of a migration."""

from __future__ import annotations

REPLACED_ROWS = """
    create schema if not exists replaced;
    create table if not exists replaced.unchanged_rows (
        raw_table varchar not null, source_file varchar not null, load_id bigint not null,
        loaded_at timestamp not null, replaced_at timestamp not null, first_line bigint not null,
        last_line bigint not null, successor_file varchar not null, successor_load_id bigint not null,
        line_shift bigint not null
    );
    create table if not exists replaced.ended_loads (
        raw_table varchar not null, path varchar not null, load_id bigint not null, ended_at timestamp not null
    );
    create table if not exists run.configurations (
        config_hash varchar not null, settings varchar not null, first_used_at timestamp not null
    );
    alter table raw.full_files add column if not exists absent_since timestamp
"""
