-- Grain: one row per account, e-mail address or person that responses name.
-- Definition: input of the account map. The domain is that of the respondent's e-mail address. Responses to surveys
-- other than NPS are left out.
-- Worked example: a response from x@one.example without an account => x@one.example, domain one.example.

select
    _source,
    external_id,
    null as external_name,
    max(external_domain) as external_domain,
    max(claimed_account_id) as claimed_account_id
from staging.delighted_responses
where external_id is not null and ignored is null
group by _source, external_id
order by _source, external_id
