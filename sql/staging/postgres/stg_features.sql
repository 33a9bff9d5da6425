-- Grain: one row per feature of the catalogue and record of it, as it came.
-- Definition (signals.md, "Staged contract"): the columns of the contract; queries give them under their own names.
-- Queries that are read by increments have a table of their own, those that are read whole another.
-- Worked example: the query `select id as feature, …` => its rows, text as PostgreSQL writes it.

with records as (
    select
        feature,
        module,
        plan,
        released_at,
        updated_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.postgres__features
    union all
    select
        feature,
        module,
        plan,
        released_at,
        updated_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.postgres__features_whole
)

select
    feature,
    module,
    plan,
    released_at,
    updated_at as _version,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from records
order by feature, _load_id, _source_file, _source_line
