-- Grain: one row per record of an assessment by the technical account manager.
-- Definition (docs/sources/files.md, "Columns"): the columns of the contract under their own names. Assessments at the
-- same instant are all kept; the worst one counts.
-- Worked example: rag 'PURPLE' => rejected by the gate, invalid_level.

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
from raw.files__tam_assessments
order by assessment_id, _load_id, _source_file, _source_line
