-- Grain: one row per account, address or person that answers name.
-- Definition: the step that the account map is made of. The domain is that of the respondent's address. Answers to
-- other surveys than NPS are left out.
-- Worked example: an answer of x@one.example without an account => x@one.example, domain one.example.

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
