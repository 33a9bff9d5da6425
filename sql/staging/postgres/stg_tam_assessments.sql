-- Grain: one row per assessment by the technical account manager and record of it, as it came.
-- Definition (signals.md, "Staged contract"): the columns of the contract; queries give them under their own names.
-- Queries that are read by increments have a table of their own, those that are read whole another.
-- Worked example: the query `select id as assessment_id, …` => its rows, text as PostgreSQL writes it.

with records as (
    select
        assessment_id,
        account_id,
        rag,
        assessed_at,
        updated_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.postgres__tam_assessments
    union all
    select
        assessment_id,
        account_id,
        rag,
        assessed_at,
        updated_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.postgres__tam_assessments_whole
)

select
    assessment_id,
    account_id,
    rag,
    assessed_at,
    updated_at as _version,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from records
order by assessment_id, _load_id, _source_file, _source_line
