-- Grain: one row per record of a support ticket.
-- Definition (docs/sources/files.md, "Columns"): the columns of the contract under their own names. Whether a ticket is
-- open on a day is derived from its times, never from a status.
-- Worked example: sentiment 'furious' => rejected by the gate, invalid_level.

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
from raw.files__tickets
order by ticket_id, _load_id, _source_file, _source_line
