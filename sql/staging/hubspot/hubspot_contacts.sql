-- Grain: one row per contact that was not merged into another one, with its latest record.
-- Definition: the company is the primary one, else the first associated one. The role is the most important one
-- among the values of `role_property` (separated by semicolons), mapped by the settings: executive_sponsor,
-- champion, decision_maker, then any other. A value that is not in the settings is kept unchanged.
-- Worked example: hs_buying_role END_USER;DECISION_MAKER;CHAMPION => champion.

with contacts as (
    select
        record_id as contact_id,
        record,
        is_deleted,
        _source
    from staging.hubspot_records
    where kind = 'contacts'
),

contact_properties as (
    select
        contacts._source,
        contacts.contact_id,
        coalesce(
            case
                when
                    json_valid(contacts.record ->> '$.properties')
                    then contacts.record ->> '$.properties'
            end,
            regexp_replace(contacts.record, '([{,]\s*)"propert(y|ies)_', '\1"', 'g')
        ) as properties,
        identifier_text(
            json_extract_string(contacts.record, '$.associations.companies.results[0].id')
        ) as associated_company_id,
        contacts.is_deleted as is_archived,
        sources.settings
    from contacts
    inner join run.sources as sources
        on sources.system = 'hubspot' and sources._source = contacts._source
),

role_values as (
    select
        _source,
        contact_id,
        trim(
            unnest(
                string_split(
                    json_extract_string(
                        properties, '$."' || (settings ->> '$.role_property') || '"'
                    ),
                    ';'
                )
            )
        ) as role_value
    from contact_properties
),

role_settings as (
    select
        sources._source,
        stated.key as role_value,
        json_extract_string(stated.value, '$') as role
    from run.sources as sources, json_each(json_extract(sources.settings, '$.roles')) as stated
    where sources.system = 'hubspot'
),

roles as (
    select
        role_values._source,
        role_values.contact_id,
        coalesce(role_settings.role, lower(role_values.role_value)) as role
    from role_values
    left join role_settings
        on
            role_settings._source = role_values._source
            and role_settings.role_value = role_values.role_value
    where role_values.role_value <> ''
),

leading_roles as (
    select
        _source,
        contact_id,
        role
    from roles
    qualify row_number() over (
        partition by _source, contact_id
        order by
            case role
                when 'executive_sponsor' then 1
                when 'champion' then 2
                when 'decision_maker' then 3
                else 4
            end,
            role
    ) = 1
)

select
    contact_properties._source,
    contact_properties.contact_id,
    coalesce(
        company_merges.surviving_id,
        identifier_text(contact_properties.properties ->> '$.associatedcompanyid'),
        contact_properties.associated_company_id
    ) as company_id,
    leading_roles.role as contact_role,
    case
        when
            contact_properties.properties ->> '$.email' like '%@%'
            then split_part(contact_properties.properties ->> '$.email', '@', 2)
    end as contact_domain,
    contact_properties.is_archived,
    coalesce(
        json_array_length(contact_properties.settings, '$.customer_stages') = 0
        or list_contains(
            cast(json_extract(contact_properties.settings, '$.customer_stages') as varchar[]),
            nullif(contact_properties.properties ->> '$.lifecyclestage', '')
        ),
        true
    ) as is_customer
from contact_properties
left join leading_roles
    on
        leading_roles._source = contact_properties._source
        and leading_roles.contact_id = contact_properties.contact_id
left join staging.hubspot_merges as company_merges
    on
        company_merges._source = contact_properties._source
        and company_merges.object = 'company'
        and company_merges.merged_id
        = coalesce(
            identifier_text(contact_properties.properties ->> '$.associatedcompanyid'),
            contact_properties.associated_company_id
        )
left join staging.hubspot_merges as contact_merges
    on
        contact_merges._source = contact_properties._source
        and contact_merges.object = 'contact'
        and contact_merges.merged_id = contact_properties.contact_id
where contact_merges.merged_id is null
order by contact_properties._source, contact_properties.contact_id
