-- Grain: one row per engagement, company and contact; a company without contacts has one row with a null contact.
-- Definition: merged contacts and companies are replaced by the record that they were merged into. If the contact's
-- own company takes part, the contact is assigned to that company only; else to all companies of the engagement;
-- else to its own company; else to itself, as contact/<id>. Archived contacts and companies are left out.
-- Worked example: companies X and Y, contact 1 of X, contact 2 without a company => X with 1, X with 2, Y with 2.

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
        on
            engagements._source = links._source
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
        on
            engagements._source = links._source
            and engagements.engagement_id = identifier_text(links.record ->> '$.engagement_id')
    where links.kind = 'engagement_contacts' and not links.is_deleted
),

engagement_companies as (
    select distinct
        company_links._source,
        company_links.engagement_id,
        coalesce(company_merges.surviving_id, identifier_text(company_links.company_id))
            as company_id
    from company_links
    left join staging.hubspot_merges as company_merges
        on
            company_merges._source = company_links._source
            and company_merges.object = 'company'
            and company_merges.merged_id = identifier_text(company_links.company_id)
    where company_links.company_id is not null
),

engagement_contacts as (
    select distinct
        contact_links._source,
        contact_links.engagement_id,
        coalesce(contact_merges.surviving_id, identifier_text(contact_links.contact_id))
            as contact_id
    from contact_links
    left join staging.hubspot_merges as contact_merges
        on
            contact_merges._source = contact_links._source
            and contact_merges.object = 'contact'
            and contact_merges.merged_id = identifier_text(contact_links.contact_id)
    where contact_links.contact_id is not null
),

active_contacts as (
    select
        engagement_contacts._source,
        engagement_contacts.engagement_id,
        engagement_contacts.contact_id,
        contacts.company_id as own_company_id
    from engagement_contacts
    left join staging.hubspot_contacts as contacts
        on
            contacts._source = engagement_contacts._source
            and contacts.contact_id = engagement_contacts.contact_id
    where not coalesce(contacts.is_archived, false)
),

contact_companies as (
    select
        active_contacts._source,
        active_contacts.engagement_id,
        active_contacts.contact_id,
        coalesce(
            engagement_companies.company_id,
            active_contacts.own_company_id,
            'contact/' || active_contacts.contact_id
        ) as external_id,
        case
            when engagement_companies.company_id = active_contacts.own_company_id then 1 else 0
        end as is_own,
        max(
            case
                when engagement_companies.company_id = active_contacts.own_company_id then 1 else 0
            end
        ) over (
            partition by
                active_contacts._source, active_contacts.engagement_id, active_contacts.contact_id
        ) as has_own
    from active_contacts
    left join engagement_companies
        on
            engagement_companies._source = active_contacts._source
            and engagement_companies.engagement_id = active_contacts.engagement_id
),

contact_attendance as (
    select
        _source,
        engagement_id,
        external_id,
        contact_id
    from contact_companies
    where is_own = has_own
),

participants as (
    select
        _source,
        engagement_id,
        external_id,
        contact_id
    from contact_attendance
    union all
    select
        engagement_companies._source,
        engagement_companies.engagement_id,
        engagement_companies.company_id as external_id,
        null as contact_id
    from engagement_companies
    left join contact_attendance
        on
            contact_attendance._source = engagement_companies._source
            and contact_attendance.engagement_id = engagement_companies.engagement_id
            and contact_attendance.external_id = engagement_companies.company_id
    where contact_attendance.external_id is null
)

select
    participants._source,
    participants.engagement_id,
    participants.external_id,
    participants.contact_id,
    contacts.contact_role,
    case when participants.external_id like 'contact/%' then contacts.contact_domain end
        as contact_domain,
    case
        when participants.external_id like 'contact/%' then coalesce(contacts.is_customer, true)
        else coalesce(companies.is_customer, true)
    end as is_customer
from participants
left join staging.hubspot_contacts as contacts
    on contacts._source = participants._source and contacts.contact_id = participants.contact_id
left join staging.hubspot_companies as companies
    on companies._source = participants._source and companies.company_id = participants.external_id
where not coalesce(companies.is_archived, false)
order by
    participants._source,
    participants.engagement_id,
    participants.external_id,
    participants.contact_id
