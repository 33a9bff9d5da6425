-- Grain: one row per record of a feature.
-- Definition (docs/sources/files.md, "Columns"): the columns of the contract under their own names. A feature counts
-- for an account if it has no plan or the plan of the account, from its release on.
-- Worked example: released_at 2026-04-29 => counts from the partition 2026-04-29 on.

select
    feature,
    module,
    plan,
    released_at,
    display_name,
    valid_from,
    updated_at as _version,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from raw.files__features
order by feature, _load_id, _source_file, _source_line
