-- Grain: one row per usage event and record of it, as it came.
-- Definition (signals.md, "Staged contract"): the columns of the contract; queries give them under their own names.
-- Queries that are read by increments have a table of their own, those that are read whole another.
-- Not sorted: of all entities this is the one that may have hundreds of millions of rows.
-- Worked example: the query `select id as event_id, …` => its rows, text as PostgreSQL writes it.

with records as (
    select
        event_id,
        account_id,
        user_id,
        event_name,
        feature,
        quantity,
        occurred_at,
        updated_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.postgres__usage_events
    union all
    select
        event_id,
        account_id,
        user_id,
        event_name,
        feature,
        quantity,
        occurred_at,
        updated_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.postgres__usage_events_whole
)

select
    event_id,
    account_id,
    user_id,
    event_name,
    feature,
    quantity,
    occurred_at,
    updated_at as _version,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from records
