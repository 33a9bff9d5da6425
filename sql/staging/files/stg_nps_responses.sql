-- Grain: one row per record of a response to an NPS survey.
-- Definition (docs/sources/files.md, "Columns"): the columns of the contract under their own names. Scores are integers
-- from 0 to 10, unchanged.
-- Worked example: score 11 => rejected by the gate, out_of_range.

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
from raw.files__nps_responses
order by response_id, _load_id, _source_file, _source_line
