-- Grain: one row per contact that is there by itself, latest record of it.
-- Definition: a contact that was merged into another one is not there any more. Its company is the primary one, else
-- the first that it is associated with. The role is the most important one that the values of the settings'
-- `role_property` (several are parted by semicolons) mean: executive_sponsor, champion, decision_maker, any other; a
-- value that is not in the settings is taken as it is.
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

opened as (
    select
        contacts._source,
        contacts.contact_id,
        coalesce(
            case when json_valid(contacts.record ->> '$.properties') then contacts.record ->> '$.properties' end,
            regexp_replace(contacts.record, '([{,]\s*)"propert(y|ies)_', '\1"', 'g')
        ) as properties,
        identifier_text(json_extract_string(contacts.record, '$.associations.companies.results[0].id'))
            as associated_company_id,
        contacts.is_deleted as is_archived,
        sources.settings
    from contacts
    inner join run.sources as sources on sources.system = 'hubspot' and sources._source = contacts._source
),

role_values as (
    select
        _source,
        contact_id,
        trim(
            unnest(
                string_split(
                    json_extract_string(properties, '$."' || (settings ->> '$.role_property') || '"'), ';'
                )
            )
        ) as role_value
    from opened
),

meanings as (
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
        coalesce(meanings.role, lower(role_values.role_value)) as role
    from role_values
    left join meanings
        on meanings._source = role_values._source and meanings.role_value = role_values.role_value
    where role_values.role_value <> ''
),

most_important as (
    select
        _source,
        contact_id,
        role
    from roles
    qualify row_number() over (
        partition by _source, contact_id
        order by
            case role when 'executive_sponsor' then 1 when 'champion' then 2 when 'decision_maker' then 3 else 4 end,
            role
    ) = 1
)

select
    opened._source,
    opened.contact_id,
    coalesce(
        company_merges.surviving_id,
        identifier_text(opened.properties ->> '$.associatedcompanyid'),
        opened.associated_company_id
    ) as company_id,
    most_important.role as contact_role,
    case
        when opened.properties ->> '$.email' like '%@%' then split_part(opened.properties ->> '$.email', '@', 2)
    end as contact_domain,
    opened.is_archived,
    coalesce(
        json_array_length(opened.settings, '$.customer_stages') = 0
        or list_contains(
            cast(json_extract(opened.settings, '$.customer_stages') as varchar[]),
            nullif(opened.properties ->> '$.lifecyclestage', '')
        ),
        true
    ) as is_customer
from opened
left join most_important
    on most_important._source = opened._source and most_important.contact_id = opened.contact_id
left join staging.hubspot_merges as company_merges
    on company_merges._source = opened._source
    and company_merges.object = 'company'
    and company_merges.merged_id
    = coalesce(identifier_text(opened.properties ->> '$.associatedcompanyid'), opened.associated_company_id)
left join staging.hubspot_merges as merges
    on merges._source = opened._source and merges.object = 'contact' and merges.merged_id = opened.contact_id
where merges.merged_id is null
order by opened._source, opened.contact_id
