-- Grain: one row per conversation with an account and record of it, as it came.
-- Definition (signals.md, "Staged contract"): the columns of the contract; queries give them under their own names.
-- Queries that are read by increments have a table of their own, those that are read whole another.
-- Worked example: the query `select id as interaction_id, …` => its rows, text as PostgreSQL writes it.

with records as (
    select
        interaction_id,
        account_id,
        contact_id,
        contact_role,
        kind,
        occurred_at,
        updated_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.postgres__interactions
    union all
    select
        interaction_id,
        account_id,
        contact_id,
        contact_role,
        kind,
        occurred_at,
        updated_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.postgres__interactions_whole
)

select
    interaction_id,
    account_id,
    contact_id,
    contact_role,
    kind,
    occurred_at,
    updated_at as _version,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from records
order by interaction_id, _load_id, _source_file, _source_line
