-- Grain: one row per company, and per contact without a company that took part in an engagement.
-- Definition: input of the account map. The property `account_key` of a company, from the settings of the source,
-- names its account. Archived and merged companies are left out.
-- Worked example: company 5, account_id A-1, domain one.example => 5, A-1, one.example.

with lone_contacts as (
    select
        _source,
        external_id,
        max(contact_domain) as external_domain
    from staging.hubspot_attendance
    where external_id like 'contact/%'
    group by _source, external_id
)

select
    _source,
    company_id as external_id,
    company_name as external_name,
    company_domain as external_domain,
    claimed_account_id
from staging.hubspot_companies
where ignored is null
union all
select
    _source,
    external_id,
    null as external_name,
    external_domain,
    null as claimed_account_id
from lone_contacts
order by _source, external_id
