-- Grain: one row per answer to a Net Promoter survey and record of it, as it came.
-- Definition (signals.md, "Staged contract"): the columns of the contract; queries give them under their own names.
-- Queries that are read by increments have a table of their own, those that are read whole another.
-- Worked example: the query `select id as response_id, …` => its rows, text as PostgreSQL writes it.

with records as (
    select
        response_id,
        account_id,
        respondent_id,
        score,
        responded_at,
        updated_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.postgres__nps_responses
    union all
    select
        response_id,
        account_id,
        respondent_id,
        score,
        responded_at,
        updated_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.postgres__nps_responses_whole
)

select
    response_id,
    account_id,
    respondent_id,
    score,
    responded_at,
    updated_at as _version,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from records
order by response_id, _load_id, _source_file, _source_line
