-- Grain: one row per record of an account.
-- Definition (docs/sources/files.md, "Columns"): the columns of the contract under their own names. A blank tenant_id
-- stays blank here; the gate replaces it by 'default'.
-- Worked example: a row without account_name => rejected by the gate, missing_required.

select
    account_id,
    account_name,
    tenant_id,
    segment,
    plan,
    csm_owner,
    created_at,
    churned_at,
    valid_from,
    updated_at as _version,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from raw.files__accounts
order by account_id, _load_id, _source_file, _source_line
