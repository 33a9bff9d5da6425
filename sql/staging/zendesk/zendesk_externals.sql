-- Grain: one row per organisation, and per requester without an organisation who has a ticket.
-- Definition: input of the account map. The domain of an organisation is its first one. The claimed account is its
-- external id or an organisation field, as set by `account_key` in the settings of the source.
-- Worked example: organisation 5, external_id A-1, domain_names ["one.example"] => 5, A-1, one.example.

with organizations as (
    select
        _source,
        record_id as organization_id,
        record
    from staging.zendesk_records
    where kind = 'organizations'
),

landed_domains as (
    select
        _source,
        identifier_text(record ->> '$.organization_id') as organization_id,
        arg_min(record ->> '$.domain_name', coalesce(whole_number(record ->> '$.index'), 0))
            as domain
    from staging.zendesk_records
    where kind = 'domain_names'
    group by _source, identifier_text(record ->> '$.organization_id')
),

requesters as (
    select
        _source,
        external_id,
        max(requester_name) as external_name,
        max(requester_domain) as external_domain
    from staging.zendesk_tickets
    where external_id like 'user/%' and ignored is null
    group by _source, external_id
)

select
    organizations._source,
    organizations.organization_id as external_id,
    organizations.record ->> '$.name' as external_name,
    coalesce(
        landed_domains.domain,
        json_extract_string(organizations.record ->> '$.domain_names', '$[0]')
    ) as external_domain,
    coalesce(
        json_extract_string(
            organizations.record ->> '$.organization_fields',
            '$."' || (sources.settings ->> '$.account_key') || '"'
        ),
        json_extract_string(
            organizations.record, '$.custom_' || (sources.settings ->> '$.account_key')
        ),
        case
            when
                sources.settings ->> '$.account_key' = 'external_id'
                then organizations.record ->> '$.external_id'
        end
    ) as claimed_account_id
from organizations
inner join run.sources as sources
    on sources.system = 'zendesk' and sources._source = organizations._source
left join landed_domains
    on
        landed_domains._source = organizations._source
        and landed_domains.organization_id = organizations.organization_id
union all
select
    _source,
    external_id,
    external_name,
    external_domain,
    null as claimed_account_id
from requesters
order by _source, external_id
