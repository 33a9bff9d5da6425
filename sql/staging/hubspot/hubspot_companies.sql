-- Grain: one row per company that is there by itself, latest record of it, whatever shape it came in.
-- Definition: a company that was merged into another one is not there any more. It is a customer in the lifecycle
-- stages of the settings, or where none is told. Account facts are the properties that `accounts` of the settings
-- names; an owner is known by name, else by address. What Fivetran and Airbyte call property_x or properties_x is x.
-- Worked example: lifecyclestage lead => is_customer false; hubspot_owner_id 7, owner 7 is Ann Lee => csm_owner Ann
-- Lee.

with companies_records as (
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.hubspot__companies
    union all
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.hubspot__airbyte_companies
    union all
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.hubspot__fivetran_company
),

companies as (
    select
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from companies_records
    qualify row_number() over (
        partition by _source, coalesce(record ->> '$.id', record ->> '$.company_id')
        order by _loaded_at desc, _load_id desc, _source_file desc, _source_line desc
    ) = 1
),

owners_records as (
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.hubspot__owners
    union all
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.hubspot__airbyte_owners
    union all
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.hubspot__fivetran_owner
),

owners as (
    select
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from owners_records
    qualify row_number() over (
        partition by _source, coalesce(record ->> '$.id', record ->> '$.owner_id')
        order by _loaded_at desc, _load_id desc, _source_file desc, _source_line desc
    ) = 1
),

owner_names as (
    select
        _source,
        coalesce(record ->> '$.id', record ->> '$.owner_id') as owner_id,
        coalesce(
            nullif(
                trim(
                    concat_ws(
                        ' ',
                        coalesce(record ->> '$.firstName', record ->> '$.first_name'),
                        coalesce(record ->> '$.lastName', record ->> '$.last_name')
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
        coalesce(companies.record ->> '$.id', companies.record ->> '$.company_id') as company_id,
        coalesce(
            case when json_valid(companies.record ->> '$.properties') then companies.record ->> '$.properties' end,
            regexp_replace(companies.record, '([{,]\s*)"propert(y|ies)_', '\1"', 'g')
        ) as properties,
        lower(
            coalesce(
                companies.record ->> '$.archived',
                companies.record ->> '$.is_deleted',
                companies.record ->> '$._fivetran_deleted',
                'false'
            )
        ) = 'true' as is_archived,
        sources.settings,
        json_extract(sources.settings, '$.accounts') as wanted,
        companies._source_file,
        companies._source_line,
        companies._loaded_at,
        companies._load_id
    from companies
    inner join run.sources as sources on sources.system = 'hubspot' and sources._source = companies._source
),

told as (
    select
        opened._source,
        opened.company_id,
        opened.properties ->> '$.name' as company_name,
        opened.properties ->> '$.domain' as company_domain,
        json_extract_string(opened.properties, '$."' || (opened.settings ->> '$.account_key') || '"')
            as claimed_account_id,
        opened.is_archived,
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
    told._source,
    told.company_id,
    told.company_name,
    told.company_domain,
    told.claimed_account_id,
    told.is_archived,
    told.is_customer,
    told.is_account,
    told.account_name,
    nullif(told.tenant_id, '') as tenant_id,
    told.segment,
    told.plan,
    coalesce(owner_names.owner_name, told.csm_owner) as csm_owner,
    case
        when regexp_matches(told.created_at, '^[0-9]{12,14}$')
            then cast(make_timestamp(cast(told.created_at as bigint) * 1000) as varchar)
        else told.created_at
    end as created_at,
    case
        when regexp_matches(told.churned_at, '^[0-9]{12,14}$')
            then cast(make_timestamp(cast(told.churned_at as bigint) * 1000) as varchar)
        else told.churned_at
    end as churned_at,
    told._source_file,
    told._source_line,
    told._loaded_at,
    told._load_id
from told
left join owner_names on owner_names._source = told._source and owner_names.owner_id = told.csm_owner
left join staging.hubspot_merges as merges
    on merges._source = told._source and merges.object = 'company' and merges.merged_id = told.company_id
where merges.merged_id is null
order by told._source, told.company_id
