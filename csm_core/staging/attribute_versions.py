"""Keeps the attributes of accounts and features over time, in ``staging.stg_account_versions`` and so on.

A version has the attributes of a key from ``valid_from`` until before ``valid_to`` (null: still). The first version of
a key is also valid before its ``valid_from``. ``basis`` says what states ``valid_from``:

- ``record``: the column ``valid_from`` of the record.
- ``list``: the date of the full list that has the record, such as ``accounts/2026-06-01.csv``.
- ``load``: the time of the load. The first version of a key begins at ``ALWAYS`` instead.

A stated version replaces the version of the same ``valid_from``. A record without a stated time opens a version only if
it differs from the newest one. A load is an observation, not a statement: a newer statement removes later versions of
the basis ``load``, and a newer load removes later versions. A version of a list or a load with the attributes of the
version before is not kept. When a key leaves a full list, its version is closed, and later ones are empty. A record of
a later list opens a version, or opens the newest one again if it states an earlier time.
"""

from __future__ import annotations

import duckdb

from csm_core.staging.plan import Scope
from csm_core.warehouse.catalog import columns_of
from csm_core.warehouse.late_changes import record_counted_changes
from csm_core.warehouse.version_tables import ALWAYS, VERSION_TABLES, VersionTable

SCRATCH = ("gate_statements", "gate_merged_versions", "gate_versions", "gate_changed_versions")


def record_versions(scope: Scope) -> None:
    """Update the versions of an entity from ``temp.gate_decided``, the records of all loads with their outcomes."""
    versions, connection = VERSION_TABLES[scope.entity.name], scope.connection
    key = scope.entity.key
    connection.execute(_statements(versions))
    connection.execute(_merged(versions), {"staged_at": scope.staged_at})
    connection.execute(_collapsed(versions))
    connection.execute(_changed(versions))
    touched = connection.execute(
        "select touched_day, count(*) from temp.gate_changed_versions where touched_day is not null group by all"
    ).fetchall()
    record_counted_changes(connection, versions.name, dict(touched), scope.staged_at)
    changed = f"{key} in (select {key} from temp.gate_changed_versions)"
    connection.execute(f"delete from {versions.table} where {changed}")
    connection.execute(
        f"insert into {versions.table} by name from temp.gate_versions where {changed} order by {key}, valid_from"
    )


def prepare_versions(connection: duckdb.DuckDBPyConnection, versions: VersionTable) -> None:
    """Create a version table, and add columns that an earlier version of csm-health lacks."""
    connection.execute(f"create table if not exists {versions.table} ({versions.definition})")
    present = set(columns_of(connection, versions.table))
    for name, kind in versions.columns.items():
        if name not in present:
            connection.execute(f"alter table {versions.table} add column {name} {kind}")


def _statements(versions: VersionTable) -> str:
    """The valid records with their times: every record that states one, and the current record of each key."""
    key, attributes = versions.entity.key, ", ".join(versions.attributes)
    return f"""
        create or replace temp table gate_statements as
        with records as (
            select decided.*, lists.dated_at, lists.listed_until, _outcome = 'loaded' as is_current
            from temp.gate_decided as decided
            left join temp.gate_lists as lists on lists.load_id = decided._load_id and lists.path = _source_file
        ),
        -- A key is in a list even if its record is rejected.
        listed as (
            select *, lead(dated_at) over (partition by {key} order by dated_at) as listed_again_at
            from (select distinct {key}, dated_at from records where dated_at is not null)
        ),
        unreadable as (select coalesce(sum(rejected), 0) > 0 as is_any from temp.gate_lists),
        statements as (
            select {key}, {attributes}, coalesce(valid_from, dated_at, _loaded_at) as valid_from,
                case when valid_from is not null then 'record' when dated_at is not null then 'list' else 'load' end
                    as basis,
                _load_id, _loaded_at, _source_file, is_current,
                case when is_current then _listed_until
                    when valid_from is null and not (select is_any from unreadable) and listed_until < listed_again_at
                        then listed_until end as closed_at,
                row_number() over (
                    partition by {key}, coalesce(valid_from, dated_at)
                    order by is_current desc, valid_from is null, _version desc nulls last, _load_id desc,
                        _source_file desc, _source_line desc
                ) as place
            from records left join listed using ({key}, dated_at)
            where _outcome in ('loaded', 'superseded') and _problem is null
                and (is_current or coalesce(valid_from, dated_at) is not null)
        )
        select * exclude (place) from statements where place = 1 or is_current
    """


def _merged(versions: VersionTable) -> str:
    """The stored versions of the stated keys, with the statements in their places."""
    key = versions.entity.key
    attributes, stored, new = (
        ", ".join(f"{table}{name}" for name in versions.attributes) for table in ("", "newest.", "current_records.")
    )
    columns = f"{key}, {attributes}, valid_from, basis, _load_id, closed_at"
    return f"""
        create or replace temp table gate_merged_versions as
        with stored as (
            select {key}, {attributes}, valid_from, basis, _load_id,
                case when valid_to is distinct from lead(valid_from) over (partition by {key} order by valid_from)
                    then valid_to end as closed_at
            from {versions.table} where {key} in (select {key} from temp.gate_statements)
        ),
        stated as (select {columns} from temp.gate_statements where basis <> 'load'),
        stated_and_stored as (
            select {columns}, true as is_stated from stated
            union all
            select {columns}, false as is_stated from stored
            where ({key}, valid_from) not in (select ({key}, valid_from) from stated)
        ),
        newest as (
            select * from stated_and_stored
            qualify row_number() over (partition by {key} order by valid_from desc) = 1
        ),
        -- The loads whose files were read again with other settings: the new load states the same records.
        read_again as (
            select distinct earlier.load_id as earlier_id, later.load_id as later_id, later.path
            from raw.loads as earlier
            inner join raw.loads as later on later.raw_table = earlier.raw_table and later.path = earlier.path
            where earlier.status = 'replaced' and later.status = 'loaded' and later.load_id > earlier.load_id
                and split_part(earlier.fingerprint, '+', 1) = split_part(later.fingerprint, '+', 1)
        ),
        current_records as (select * from temp.gate_statements where is_current),
        observed as (
            select current_records.{key}, {new}, case
                when newest.{key} is null then {ALWAYS}
                -- The same record, read in another way, corrects its version.
                when not newest.is_stated and (
                    newest._load_id = current_records._load_id
                    or (newest._load_id, current_records._load_id, _source_file) in
                        (select (earlier_id, later_id, path) from read_again)
                ) then newest.valid_from
                when ({stored}) is not distinct from ({new})
                    and (newest.closed_at is null or current_records.closed_at is not null) then newest.valid_from
                -- A record of an earlier load that is current again.
                when newest._load_id > current_records._load_id then $staged_at
                else _loaded_at end as valid_from,
                'load' as basis, current_records._load_id, current_records.closed_at,
                newest.valid_from as newest_from, newest.basis as newest_basis
            from current_records
            left join newest on newest.{key} = current_records.{key}
            where current_records.basis = 'load'
        ),
        placed as (
            select * replace (case when valid_from = newest_from then newest_basis else basis end as basis)
            from observed
        )
        select {columns} from placed
        union all
        select {columns} from stated_and_stored as earlier
        where not exists (
            select 1 from placed where placed.{key} = earlier.{key} and earlier.valid_from >= placed.valid_from
        ) and not exists (
            select 1 from current_records as stating where stating.{key} = earlier.{key} and stating.basis <> 'load'
                and earlier.basis = 'load' and earlier.valid_from > stating.valid_from
        )
    """


def _collapsed(versions: VersionTable) -> str:
    """The versions without repetitions, each until the next one or until its key left the list."""
    key, attributes = versions.entity.key, ", ".join(versions.attributes)
    by_key = f"partition by {key} order by valid_from"
    before = f"lag(({attributes})) over ({by_key})"
    return f"""
        create or replace temp table gate_versions as
        with current_records as (select {key}, closed_at as left_at from temp.gate_statements where is_current),
        -- The newest version is open while the key is in the list, also if its record states an earlier time.
        merged as (
            select versions.*, left_at, case
                when current_records.{key} is null or lead(valid_from) over (
                    partition by versions.{key} order by valid_from
                ) is not null then versions.closed_at end as ended_at
            from temp.gate_merged_versions as versions
            left join current_records on current_records.{key} = versions.{key}
        ),
        starts as (
            select *, basis = 'record' or lag(ended_at) over ({by_key}) is not null
                or row_number() over ({by_key}) = 1 or ({attributes}) is distinct from {before} as is_start
            from merged
        ),
        numbered as (select *, count_if(is_start) over ({by_key}) as number from starts),
        latest as (
            select * exclude (ended_at, _load_id),
                last_value(ended_at) over same_number as ended_at, last_value(_load_id) over same_number as _load_id
            from numbered
            window same_number as (
                partition by {key}, number order by valid_from
                rows between unbounded preceding and unbounded following
            )
        )
        select {key}, {attributes}, valid_from,
            least(
                case when ended_at is not null then greatest(ended_at, valid_from) end,
                case when left_at is not null then greatest(left_at, valid_from) end,
                lead(valid_from) over ({by_key})
            ) as valid_to, basis, _load_id
        from latest where is_start
    """


def _changed(versions: VersionTable) -> str:
    """The keys with other versions than before, each with the earliest day that differs; null for a new key."""
    key = versions.entity.key
    own = f"{key} in (select {key} from temp.gate_statements)"
    content = ", ".join(f"{{0}}.{name}" for name in versions.attributes)
    ranked = f"row_number() over (partition by {key} order by valid_from) as place"
    return f"""
        create or replace temp table gate_changed_versions as
        with before as (select *, {ranked} from {versions.table} where {own}),
        later as (select *, {ranked} from temp.gate_versions),
        changed as (
            select coalesce(before.{key}, later.{key}) as {key},
                case
                    when before.{key} is not null and later.{key} is not null
                        and ({content.format("before")}) is not distinct from ({content.format("later")})
                        and (before.place = 1) = (later.place = 1)
                        then case when before.valid_to is distinct from later.valid_to
                            then least(before.valid_to, later.valid_to) end
                    when before.place = 1 or later.place = 1 then {ALWAYS}
                    else coalesce(before.valid_from, later.valid_from)
                end as differs_from
            from before full join later on before.{key} = later.{key} and before.valid_from = later.valid_from
            where ({", ".join(f"before.{name}" for name in versions.columns)})
                is distinct from ({", ".join(f"later.{name}" for name in versions.columns)})
        )
        select {key}, case when min(differs_from) is not null and {key} in (select {key} from before)
            then greatest(cast(min(differs_from) as date), (select min(as_of_date) from run.model_marks)) end
            as touched_day
        from changed group by {key}
    """
