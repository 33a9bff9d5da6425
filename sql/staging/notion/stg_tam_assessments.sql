-- Grain: one row per record of an assessment that was read from an account page in Notion.
-- Definition (docs/sources/files.md, "Columns"): the columns of the contract. The id consists of page, day and level.
-- The time is that of reading, since Notion does not record when an option was selected.
-- Worked example: RED selected on Monday, first read on Tuesday at 07:00 => RED, assessed on Tuesday at 07:00.

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
