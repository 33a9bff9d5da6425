"""The tables that keep what later loads and runs replaced, as SQL of migrations."""

from __future__ import annotations

REPLACED_ROWS = """
    create schema if not exists replaced;
    create table if not exists replaced.unchanged_rows (
        raw_table varchar not null, source_file varchar not null, load_id bigint not null,
        loaded_at timestamp not null, replaced_at timestamp not null, first_line bigint not null,
        last_line bigint not null, successor_file varchar not null, successor_load_id bigint not null,
        line_shift bigint not null
    );
    comment on table replaced.unchanged_rows is
        'Rows of replaced loads that a later load repeats: lines of the earlier load, and where they are in the later';
    create table if not exists replaced.ended_loads (
        raw_table varchar not null, path varchar not null, load_id bigint not null, ended_at timestamp not null
    );
    comment on table replaced.ended_loads is
        'Loads of files that no longer count, because the file was removed or read again, and since when';
    alter table raw.full_files add column if not exists absent_since timestamp
"""
