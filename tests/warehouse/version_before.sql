-- The bookkeeping tables of a warehouse of the version before run.migrations, as that version created them.
-- No test changes this file: it is what the upgrade has to accept.

create schema raw; create schema staging; create schema quarantine; create schema intermediate;
create schema marts; create schema sync; create schema run;

create table raw.full_files (
    raw_table varchar not null, path varchar not null, is_present boolean not null, replaced_at timestamp
);
create table raw.loads (
    load_id bigint not null, system varchar not null, entity varchar not null, raw_table varchar not null, path
    varchar not null, file_size bigint not null, file_mtime_ns bigint not null, fingerprint varchar not null,
    rows_read bigint not null, loaded bigint not null, rejected bigint not null, loaded_at timestamp not null,
    status varchar not null
);
create table raw.unparseable_rows (
    load_id bigint not null, system varchar not null, entity varchar not null, raw_table varchar not null,
    source_file varchar not null, source_line bigint not null, reason varchar not null, detail varchar, raw_text
    varchar, loaded_at timestamp not null
);
create table run.accepted_checks (
    check_name varchar, as_of_date date, message varchar, accepted_by varchar, accepted_at timestamp
);
create table run.days (
    as_of_date date not null
);
create table run.days_status (
    as_of_date date primary key, status varchar not null, failed_checks varchar not null, message varchar not
    null, accepted_by varchar, run_id varchar, checks_passed boolean not null, changed_at timestamp not null
);
create table run.ignored_versions (
    entity varchar not null, key_hash uhugeint not null, _version timestamp, _load_id bigint
);
create table run.late_records (
    change_id bigint not null, entity varchar not null, touched_day date not null, records bigint not null,
    staged_at timestamp not null
);
create table run.model_inputs (
    model varchar not null, input varchar not null
);
create table run.model_marks (
    model varchar not null, as_of_date date, change_id bigint not null
);
create table run.pending_account_usage_days (
    usage_date date not null
);
create table run.pending_usage_days (
    usage_date date not null
);
create table run.policies (
    precedence integer, tenant varchar, segment varchar, from_date date, green_threshold double, amber_threshold
    double, churn_window_days bigint
);
create table run.published_copy (
    checksum varchar not null
);
create table run.record_builds (
    system varchar not null, state varchar not null
);
create table run.record_counts (
    system varchar not null, entity varchar not null, raw_table varchar not null, records bigint not null,
    current bigint not null, superseded bigint not null, rejected bigint not null, ignored bigint default 0
);
create table run.rejected_records (
    system varchar not null, entity varchar not null, raw_table varchar not null, load_id bigint not null,
    source_file varchar not null, source_line bigint not null, field varchar, reason varchar not null, value
    varchar, record_key varchar, raw_text varchar, loaded_at timestamp not null
);
create table run.sources (
    system varchar not null, _source varchar not null, settings varchar not null
);
create table run.staged_loads (
    entity varchar not null, system varchar not null, load_id bigint not null, model_hash varchar not null,
    staged_at timestamp not null
);
create table run.uncopied (
    mart varchar not null, first_date date, last_date date
);
create table run.uncounted_days (
    as_of_date date not null
);
create table sync.notion_changes (
    run_id varchar not null, kind varchar not null, key varchar not null, action varchar not null, page_id
    varchar, error varchar, changed_at timestamp not null
);
create table sync.notion_journal (
    run_id varchar not null, kind varchar not null, key varchar not null, action varchar not null, intended_at
    timestamp not null, page_id varchar, done_at timestamp, as_of_date date, sent_at timestamp, outcome varchar
);
create table sync.notion_pages (
    setting varchar not null, kind varchar not null, key varchar not null, page_id varchar not null,
    content_hash varchar not null, state varchar not null, marks varchar not null, facts varchar not null, url
    varchar, updated_at timestamp not null
);
create table sync.notion_runs (
    run_id varchar not null, as_of_date date, started_at timestamp not null, ended_at timestamp not null,
    created bigint not null, updated bigint not null, skipped bigint not null, orphans bigint not null, trashed
    bigint not null, failed bigint not null, requests bigint not null, status varchar
);
create table sync.notion_sources (
    setting varchar not null, database_id varchar not null, data_source_id varchar not null, title varchar not
    null, only_source boolean not null, read_until timestamp, windows varchar
);
