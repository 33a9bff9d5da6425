-- Grain: one row per record of an account that starts, leaves or returns.
-- Definition (docs/sources/files.md, "Columns"): the columns of the contract under their own names.
-- Worked example: kind 'paused' => rejected by the gate, invalid_level.

select
    event_id,
    account_id,
    kind,
    occurred_at,
    reason,
    updated_at as _version,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from raw.files__lifecycle_events
order by event_id, _load_id, _source_file, _source_line
