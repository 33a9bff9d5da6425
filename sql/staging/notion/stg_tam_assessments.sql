-- Grain: one row per assessment that was read from an account's page in Notion, and record of it.
-- Definition (signals.md, "Staged contract"): the columns of the contract; the id is of page, day and level, the time
-- is that of reading, since Notion does not tell when a person chose an option.
-- Worked example: RED chosen on Monday, first read on Tuesday at 07:00 => RED, assessed on Tuesday at 07:00.

select
    assessment_id,
    account_id,
    rag,
    assessed_at,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from raw.notion__tam_assessments
order by assessment_id, _load_id, _source_file, _source_line
