-- Grain: one row per company that is there by itself, latest record of it.
-- Definition: `ignored` is the reason why a company is left out: merged into another one, or archived. It is a customer
-- in the lifecycle stages of the settings, or where none is described. Account facts are the properties that `accounts`
-- of the settings names; an owner is known by name, else by address. What Fivetran and Airbyte call property_x or
-- properties_x is x.
-- Worked example: lifecyclestage lead => is_customer false; hubspot_owner_id 7, owner 7 is Ann Lee => csm_owner Ann
-- Lee.

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
                        coalesce(record ->> '$.firstName', record ->> '$.firstname', record ->> '$.first_name'),
                        coalesce(record ->> '$.lastName', record ->> '$.lastname', record ->> '$.last_name')
                    )
                ),
                ''
            ),
            record ->> '$.email'
        ) as owner_name
    from owners
),

opened as (
    select
        companies._source,
        companies.company_id,
        coalesce(
            case when json_valid(companies.record ->> '$.properties') then companies.record ->> '$.properties' end,
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
    inner join run.sources as sources on sources.system = 'hubspot' and sources._source = companies._source
),

described as (
    select
        opened._source,
        opened.company_id,
        opened.properties ->> '$.name' as company_name,
        opened.properties ->> '$.domain' as company_domain,
        json_extract_string(opened.properties, '$."' || (opened.settings ->> '$.account_key') || '"')
            as claimed_account_id,
        opened.is_archived,
        opened.version_at,
        coalesce(
            json_array_length(opened.settings, '$.customer_stages') = 0
            or list_contains(
                cast(json_extract(opened.settings, '$.customer_stages') as varchar[]),
                nullif(opened.properties ->> '$.lifecyclestage', '')
            ),
            true
        ) as is_customer,
        json_type(opened.wanted) = 'OBJECT' as is_account,
        json_extract_string(opened.properties, '$."' || (opened.wanted ->> '$.account_name') || '"') as account_name,
        json_extract_string(opened.properties, '$."' || (opened.wanted ->> '$.tenant_id') || '"') as tenant_id,
        json_extract_string(opened.properties, '$."' || (opened.wanted ->> '$.segment') || '"') as segment,
        json_extract_string(opened.properties, '$."' || (opened.wanted ->> '$.plan') || '"') as plan,
        json_extract_string(opened.properties, '$."' || (opened.wanted ->> '$.csm_owner') || '"') as csm_owner,
        json_extract_string(opened.properties, '$."' || (opened.wanted ->> '$.created_at') || '"') as created_at,
        json_extract_string(opened.properties, '$."' || (opened.wanted ->> '$.churned_at') || '"') as churned_at,
        opened._source_file,
        opened._source_line,
        opened._loaded_at,
        opened._load_id
    from opened
)

select
    described._source,
    described.company_id,
    described.company_name,
    described.company_domain,
    described.claimed_account_id,
    described.is_archived,
    described.is_customer,
    described.is_account,
    described.account_name,
    nullif(described.tenant_id, '') as tenant_id,
    described.segment,
    described.plan,
    coalesce(owner_names.owner_name, described.csm_owner) as csm_owner,
    coalesce(cast(vendor_time(described.created_at) as varchar), described.created_at) as created_at,
    coalesce(cast(vendor_time(described.churned_at) as varchar), described.churned_at) as churned_at,
    case when merges.merged_id is not null then 'merged' when described.is_archived then 'archived' end as ignored,
    described.version_at,
    described._source_file,
    described._source_line,
    described._loaded_at,
    described._load_id
from described
left join owner_names
    on owner_names._source = described._source and owner_names.owner_id = identifier_text(described.csm_owner)
left join staging.hubspot_merges as merges
    on merges._source = described._source and merges.object = 'company' and merges.merged_id = described.company_id
order by described._source, described.company_id
