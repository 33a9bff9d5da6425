-- Grain: one row per organisation, and per requester without one who has a ticket.
-- Definition: the step that the account map is made of. An organisation's domain is the first that it names. What its
-- `account_key` of the source's settings holds, its external id or an organisation field, is the account.
-- Worked example: organisation 5, external_id A-1, domain_names ["one.example"] => 5, A-1, one.example.

with organizations_records as (
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.zendesk__organizations
    union all
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.zendesk__airbyte_organizations
    union all
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.zendesk__fivetran_organization
),

organizations as (
    select
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from organizations_records
    qualify row_number() over (
        partition by _source, record ->> '$.id'
        order by _loaded_at desc, _load_id desc, _source_file desc, _source_line desc
    ) = 1
),

landed_domains as (
    select
        _source,
        record ->> '$.organization_id' as organization_id,
        arg_min(record ->> '$.domain_name', coalesce(try_cast(record ->> '$.index' as bigint), 0)) as domain
    from raw.zendesk__fivetran_domain_name
    group by _source, record ->> '$.organization_id'
),

requesters as (
    select
        _source,
        external_id,
        max(requester_name) as external_name,
        max(requester_domain) as external_domain
    from staging.zendesk_tickets
    where external_id like 'user/%'
    group by _source, external_id
)

select
    organizations._source,
    organizations.record ->> '$.id' as external_id,
    organizations.record ->> '$.name' as external_name,
    coalesce(
        landed_domains.domain,
        case
            when json_valid(organizations.record ->> '$.domain_names')
                then json_extract_string(organizations.record ->> '$.domain_names', '$[0]')
        end
    ) as external_domain,
    coalesce(
        case
            when json_valid(organizations.record ->> '$.organization_fields')
                then json_extract_string(
                    organizations.record ->> '$.organization_fields', '$."' || (sources.settings ->> '$.account_key') || '"'
                )
        end,
        json_extract_string(organizations.record, '$.custom_' || (sources.settings ->> '$.account_key')),
        case
            when sources.settings ->> '$.account_key' = 'external_id' then organizations.record ->> '$.external_id'
        end
    ) as claimed_account_id
from organizations
inner join run.sources as sources on sources.system = 'zendesk' and sources._source = organizations._source
left join landed_domains
    on landed_domains._source = organizations._source
    and landed_domains.organization_id = organizations.record ->> '$.id'
where organizations.record ->> '$.id' is not null
union all
select
    _source,
    external_id,
    external_name,
    external_domain,
    null as claimed_account_id
from requesters
order by 1, 2
