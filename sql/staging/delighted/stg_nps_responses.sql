-- Grain: one row per record of a response.
-- Definition (docs/sources/files.md, "Columns"): a response belongs to the account in the account map and has the time
-- at which it was given; the latest version is the one that was changed last. `_ignored`: responses to surveys other
-- than NPS, responses of respondents that the account map ignores, and with `without_account: ignore` responses that
-- name no account and match none.
-- Worked example: response 1 of person 10, score 9, created_at 1780272000 => delighted/1, 9, 2026-06-01 00:00:00.

select
    responses._source || '/' || responses.response_id as response_id,
    matched.account_id,
    responses.external_id as external_account_id,
    responses._source || '/' || responses.respondent_id as respondent_id,
    responses.score,
    responses.responded_at,
    responses.updated_at as _version,
    case
        when responses.ignored is not null then responses.ignored
        when matched.is_ignored then 'account_map'
        when
            responses.without_account = 'ignore'
            and responses.claimed_account_id is null
            and matched.account_id is null
            then 'without_account'
    end as _ignored,
    responses._source_file,
    responses._source_line,
    responses._loaded_at,
    responses._load_id
from staging.delighted_responses as responses
left join staging.account_map as matched
    on
        matched.system = 'delighted'
        and matched._source = responses._source
        and matched.external_id = responses.external_id
order by response_id, responses._load_id, responses._source_file, responses._source_line
