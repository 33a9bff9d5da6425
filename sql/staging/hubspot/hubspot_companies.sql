-- Grain: one row per company that was not merged into another one, with its latest record.
-- Definition: `ignored` is the reason for leaving a company out: merged or archived. A company is a customer if its
-- lifecycle stage is in the settings or empty. The account columns come from the properties that `accounts` in the
-- settings names; the owner is given by name, else by e-mail address. Columns property_x and properties_x of
-- Fivetran and Airbyte are read as x.
-- Worked example: lifecyclestage lead => is_customer false; hubspot_owner_id 7, name of owner 7 Ann Lee => csm_owner
-- Ann Lee.

with companies as (
    select
        record_id as company_id,
        record,
        is_deleted,
        version_at,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from staging.hubspot_records
    where kind = 'companies'
),

owners as (
    select
        _source,
        record_id as owner_id,
        record
    from staging.hubspot_records
    where kind = 'owners'
),

owner_names as (
    select
        _source,
        owner_id,
        coalesce(
            nullif(
                trim(
                    concat_ws(
                        ' ',
                        coalesce(
                            record ->> '$.firstName',
                            record ->> '$.firstname',
                            record ->> '$.first_name'
                        ),
                        coalesce(
                            record ->> '$.lastName',
                            record ->> '$.lastname',
                            record ->> '$.last_name'
                        )
                    )
                ),
                ''
            ),
            record ->> '$.email'
        ) as owner_name
    from owners
),

company_properties as (
    select
        companies._source,
        companies.company_id,
        coalesce(
            case
                when
                    json_valid(companies.record ->> '$.properties')
                    then companies.record ->> '$.properties'
            end,
            regexp_replace(companies.record, '([{,]\s*)"propert(y|ies)_', '\1"', 'g')
        ) as properties,
        companies.is_deleted as is_archived,
        companies.version_at,
        sources.settings,
        json_extract(sources.settings, '$.accounts') as wanted,
        companies._source_file,
        companies._source_line,
        companies._loaded_at,
        companies._load_id
    from companies
    inner join run.sources as sources
        on sources.system = 'hubspot' and sources._source = companies._source
),

company_values as (
    select
        company_properties._source,
        company_properties.company_id,
        company_properties.properties ->> '$.name' as company_name,
        company_properties.properties ->> '$.domain' as company_domain,
        json_extract_string(
            company_properties.properties,
            '$."' || (company_properties.settings ->> '$.account_key') || '"'
        ) as claimed_account_id,
        company_properties.is_archived,
        company_properties.version_at,
        coalesce(
            json_array_length(company_properties.settings, '$.customer_stages') = 0
            or list_contains(
                cast(json_extract(company_properties.settings, '$.customer_stages') as varchar[]),
                nullif(company_properties.properties ->> '$.lifecyclestage', '')
            ),
            true
        ) as is_customer,
        json_type(company_properties.wanted) = 'OBJECT' as is_account,
        json_extract_string(
            company_properties.properties,
            '$."' || (company_properties.wanted ->> '$.account_name') || '"'
        ) as account_name,
        json_extract_string(
            company_properties.properties,
            '$."' || (company_properties.wanted ->> '$.tenant_id') || '"'
        ) as tenant_id,
        json_extract_string(
            company_properties.properties,
            '$."' || (company_properties.wanted ->> '$.segment') || '"'
        ) as segment,
        json_extract_string(
            company_properties.properties, '$."' || (company_properties.wanted ->> '$.plan') || '"'
        ) as plan,
        json_extract_string(
            company_properties.properties,
            '$."' || (company_properties.wanted ->> '$.csm_owner') || '"'
        ) as csm_owner,
        json_extract_string(
            company_properties.properties,
            '$."' || (company_properties.wanted ->> '$.created_at') || '"'
        ) as created_at,
        json_extract_string(
            company_properties.properties,
            '$."' || (company_properties.wanted ->> '$.churned_at') || '"'
        ) as churned_at,
        company_properties._source_file,
        company_properties._source_line,
        company_properties._loaded_at,
        company_properties._load_id
    from company_properties
)

select
    company_values._source,
    company_values.company_id,
    company_values.company_name,
    company_values.company_domain,
    company_values.claimed_account_id,
    company_values.is_archived,
    company_values.is_customer,
    company_values.is_account,
    company_values.account_name,
    nullif(company_values.tenant_id, '') as tenant_id,
    company_values.segment,
    company_values.plan,
    coalesce(owner_names.owner_name, company_values.csm_owner) as csm_owner,
    coalesce(cast(vendor_time(company_values.created_at) as varchar), company_values.created_at)
        as created_at,
    coalesce(cast(vendor_time(company_values.churned_at) as varchar), company_values.churned_at)
        as churned_at,
    case
        when company_merges.merged_id is not null then 'merged' when
            company_values.is_archived
            then 'archived'
    end as ignored,
    company_values.version_at,
    company_values._source_file,
    company_values._source_line,
    company_values._loaded_at,
    company_values._load_id
from company_values
left join owner_names
    on
        owner_names._source = company_values._source
        and owner_names.owner_id = identifier_text(company_values.csm_owner)
left join staging.hubspot_merges as company_merges
    on
        company_merges._source = company_values._source
        and company_merges.object = 'company'
        and company_merges.merged_id = company_values.company_id
order by company_values._source, company_values.company_id
