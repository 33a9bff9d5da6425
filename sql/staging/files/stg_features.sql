-- Grain: one row per feature of the catalogue and record of it, as it came.
-- Definition (signals.md, "Staged contract"): the columns of the contract; files carry them under their own names.
-- A feature counts for an account if it has no plan or the account's, and from its release on.
-- Worked example: released_at 2026-04-29 => counts from the partition 2026-04-29 on.

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
from raw.files__features
order by feature, _load_id, _source_file, _source_line
