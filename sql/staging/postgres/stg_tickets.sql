-- Grain: one row per support ticket and record of it, as it came.
-- Definition (signals.md, "Staged contract"): the columns of the contract; queries give them under their own names.
-- Queries that are read by increments have a table of their own, those that are read whole another.
-- Worked example: the query `select id as ticket_id, …` => its rows, text as PostgreSQL writes it.

with records as (
    select
        ticket_id,
        account_id,
        opened_at,
        solved_at,
        priority,
        sentiment,
        escalated_at,
        updated_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.postgres__tickets
    union all
    select
        ticket_id,
        account_id,
        opened_at,
        solved_at,
        priority,
        sentiment,
        escalated_at,
        updated_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.postgres__tickets_whole
)

select
    ticket_id,
    account_id,
    opened_at,
    solved_at,
    priority,
    sentiment,
    escalated_at,
    updated_at as _version,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from records
order by ticket_id, _load_id, _source_file, _source_line
