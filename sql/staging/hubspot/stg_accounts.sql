-- Grain: one row per company of the sources with `accounts` in their settings.
-- Definition (docs/sources/files.md, "Columns"): a company that is matched with an account becomes that account, with
-- the properties in the settings. A customer without a match is rejected as unmatched; other companies without a
-- match, and archived and merged companies, are ignored.
-- Worked example: account_id A-1, accounts: {segment: industry} => A-1 with the company's industry as segment.

select
    matched.account_id,
    companies.company_id as external_account_id,
    companies.account_name,
    companies.tenant_id,
    companies.segment,
    companies.plan,
    companies.csm_owner,
    companies.created_at,
    companies.churned_at,
    case
        when companies.ignored is not null then companies.ignored
        when matched.is_ignored then 'account_map'
        when matched.account_id is null and not companies.is_customer then 'customer_stages'
    end as _ignored,
    companies.version_at as _version,
    companies._source_file,
    companies._source_line,
    companies._loaded_at,
    companies._load_id
from staging.hubspot_companies as companies
left join staging.account_map as matched
    on
        matched.system = 'hubspot'
        and matched._source = companies._source
        and matched.external_id = companies.company_id
where companies.is_account
order by
    matched.account_id,
    companies.company_id,
    companies._load_id,
    companies._source_file,
    companies._source_line
