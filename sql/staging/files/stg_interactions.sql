-- Grain: one row per record of an interaction.
-- Definition (docs/sources/files.md, "Columns"): the columns of the contract under their own names. Kinds and roles are
-- those of the source; the configuration selects which ones count.
-- Worked example: a meeting planned for next week => staged; it counts from next week on.

select
    interaction_id,
    account_id,
    contact_id,
    contact_role,
    kind,
    occurred_at,
    updated_at as _version,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from raw.files__interactions
order by interaction_id, _load_id, _source_file, _source_line
