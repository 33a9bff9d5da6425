-- Grain: one row per engagement, company and contact.
-- Definition (docs/sources/files.md, "Columns"): HubSpot's engagements by the companies and contacts that took part.
-- Engagements without company and contact are ignored, as are companies and contacts that match no account and are
-- not customers by the settings.
-- Worked example: call 9 with contact 4, a champion of company 5, which is matched with account A => hubspot/9/5/4,
-- A, champion.

select
    engagements._source
    || '/'
    || engagements.engagement_id
    || coalesce('/' || attendance.external_id, '')
    || coalesce('/' || attendance.contact_id, '') as interaction_id,
    matched.account_id,
    attendance.external_id as external_account_id,
    attendance._source || '/' || attendance.contact_id as contact_id,
    attendance.contact_role,
    engagements.kind,
    engagements.occurred_at,
    case
        when engagements.ignored is not null then engagements.ignored
        when attendance.external_id is null then 'without_contact'
        when matched.is_ignored then 'account_map'
        when matched.account_id is null and not attendance.is_customer then 'customer_stages'
    end as _ignored,
    engagements.version_at as _version,
    engagements._source_file,
    engagements._source_line,
    engagements._loaded_at,
    engagements._load_id
from staging.hubspot_engagements as engagements
left join staging.hubspot_attendance as attendance
    on
        attendance._source = engagements._source
        and attendance.engagement_id = engagements.engagement_id
left join staging.account_map as matched
    on
        matched.system = 'hubspot'
        and matched._source = attendance._source
        and matched.external_id = attendance.external_id
order by interaction_id, engagements._load_id, engagements._source_file, engagements._source_line
