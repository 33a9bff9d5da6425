-- Grain: one row per customer account and record of it, as it came.
-- Definition (signals.md, "Staged contract"): the columns of the contract; queries give them under their own names.
-- Queries that are read by increments have a table of their own, those that are read whole another.
-- Worked example: the query `select id as account_id, …` => its rows, text as PostgreSQL writes it.

with records as (
    select
        account_id,
        account_name,
        tenant_id,
        segment,
        plan,
        csm_owner,
        created_at,
        churned_at,
        updated_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.postgres__accounts
    union all
    select
        account_id,
        account_name,
        tenant_id,
        segment,
        plan,
        csm_owner,
        created_at,
        churned_at,
        updated_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.postgres__accounts_whole
)

select
    account_id,
    account_name,
    tenant_id,
    segment,
    plan,
    csm_owner,
    created_at,
    churned_at,
    updated_at as _version,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from records
order by account_id, _load_id, _source_file, _source_line
