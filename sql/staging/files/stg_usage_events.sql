-- Grain: one row per record of a usage event.
-- Definition (docs/sources/files.md, "Columns"): the columns of the contract under their own names. Not sorted, because
-- this entity may have hundreds of millions of rows.
-- Worked example: quantity 0 => ignored by the gate as `quantity 0`.

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
from raw.files__usage_events
