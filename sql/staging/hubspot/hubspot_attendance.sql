-- Grain: one row per engagement, company and contact; a company without a contact has one row, with none.
-- Definition: merged contacts and companies are those that they were merged into. Where the contact's own company
-- takes part, the contact is there for it alone, else for all companies of the engagement, else for its own company,
-- else for itself, as contact/<id>. Archived contacts count for nobody, archived companies are left out.
-- Worked example: companies X and Y, contact 1 of X, contact 2 of none => X with 1, X with 2, Y with 2.

with engagements as (
    select
        _source,
        engagement_id,
        record
    from staging.hubspot_engagements
    where ignored is null
),

company_links as (
    select
        _source,
        engagement_id,
        unnest(json_extract_string(record, '$.associations.companies.results[*].id')) as company_id
    from engagements
    union all
    select
        _source,
        engagement_id,
        unnest(cast(record ->> '$.companies' as varchar[])) as company_id
    from engagements
    where json_type(record ->> '$.companies') = 'ARRAY'
    union all
    select
        links._source,
        identifier_text(links.record ->> '$.engagement_id') as engagement_id,
        links.record ->> '$.company_id' as company_id
    from staging.hubspot_records as links
    inner join engagements
        on engagements._source = links._source
        and engagements.engagement_id = identifier_text(links.record ->> '$.engagement_id')
    where links.kind = 'engagement_companies' and not links.is_deleted
),

contact_links as (
    select
        _source,
        engagement_id,
        unnest(json_extract_string(record, '$.associations.contacts.results[*].id')) as contact_id
    from engagements
    union all
    select
        _source,
        engagement_id,
        unnest(cast(record ->> '$.contacts' as varchar[])) as contact_id
    from engagements
    where json_type(record ->> '$.contacts') = 'ARRAY'
    union all
    select
        links._source,
        identifier_text(links.record ->> '$.engagement_id') as engagement_id,
        links.record ->> '$.contact_id' as contact_id
    from staging.hubspot_records as links
    inner join engagements
        on engagements._source = links._source
        and engagements.engagement_id = identifier_text(links.record ->> '$.engagement_id')
    where links.kind = 'engagement_contacts' and not links.is_deleted
),

company_parts as (
    select distinct
        company_links._source,
        company_links.engagement_id,
        coalesce(merges.surviving_id, identifier_text(company_links.company_id)) as company_id
    from company_links
    left join staging.hubspot_merges as merges
        on merges._source = company_links._source
        and merges.object = 'company'
        and merges.merged_id = identifier_text(company_links.company_id)
    where company_links.company_id is not null
),

contact_ids as (
    select distinct
        contact_links._source,
        contact_links.engagement_id,
        coalesce(merges.surviving_id, identifier_text(contact_links.contact_id)) as contact_id
    from contact_links
    left join staging.hubspot_merges as merges
        on merges._source = contact_links._source
        and merges.object = 'contact'
        and merges.merged_id = identifier_text(contact_links.contact_id)
    where contact_links.contact_id is not null
),

contact_parts as (
    select
        contact_ids._source,
        contact_ids.engagement_id,
        contact_ids.contact_id,
        contacts.company_id as own_company_id
    from contact_ids
    left join staging.hubspot_contacts as contacts
        on contacts._source = contact_ids._source and contacts.contact_id = contact_ids.contact_id
    where not coalesce(contacts.is_archived, false)
),

pairs as (
    select
        contact_parts._source,
        contact_parts.engagement_id,
        contact_parts.contact_id,
        coalesce(company_parts.company_id, contact_parts.own_company_id, 'contact/' || contact_parts.contact_id)
            as external_id,
        case when company_parts.company_id = contact_parts.own_company_id then 1 else 0 end as is_own,
        max(case when company_parts.company_id = contact_parts.own_company_id then 1 else 0 end) over (
            partition by contact_parts._source, contact_parts.engagement_id, contact_parts.contact_id
        ) as has_own
    from contact_parts
    left join company_parts
        on company_parts._source = contact_parts._source and company_parts.engagement_id = contact_parts.engagement_id
),

attended as (
    select _source, engagement_id, external_id, contact_id
    from pairs
    where is_own = has_own
),

everybody as (
    select _source, engagement_id, external_id, contact_id
    from attended
    union all
    select
        company_parts._source,
        company_parts.engagement_id,
        company_parts.company_id as external_id,
        null as contact_id
    from company_parts
    left join attended
        on attended._source = company_parts._source
        and attended.engagement_id = company_parts.engagement_id
        and attended.external_id = company_parts.company_id
    where attended.external_id is null
)

select
    everybody._source,
    everybody.engagement_id,
    everybody.external_id,
    everybody.contact_id,
    contacts.contact_role,
    case when everybody.external_id like 'contact/%' then contacts.contact_domain end as contact_domain,
    case
        when everybody.external_id like 'contact/%' then coalesce(contacts.is_customer, true)
        else coalesce(companies.is_customer, true)
    end as is_customer
from everybody
left join staging.hubspot_contacts as contacts
    on contacts._source = everybody._source and contacts.contact_id = everybody.contact_id
left join staging.hubspot_companies as companies
    on companies._source = everybody._source and companies.company_id = everybody.external_id
where not coalesce(companies.is_archived, false)
order by everybody._source, everybody.engagement_id, everybody.external_id, everybody.contact_id
