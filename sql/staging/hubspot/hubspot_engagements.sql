-- Grain: one row per engagement, with its latest record.
-- Definition: `ignored` is the reason for leaving an engagement out: archived; a type that is not a contact; a
-- meeting that was cancelled, moved or missed; an unanswered call; an e-mail that was not sent. `kind` is automated
-- for messages from sequences and workflows and for out-of-office replies, internal for the kinds in the settings,
-- else call, email, meeting, note, task or communication. A meeting has the time of its start, any other engagement
-- its own time. Rows of Fivetran's table engagement count if no other table has the engagement.
-- Worked example: an e-mail with a sequence => automated; a meeting with outcome NO_SHOW => ignored: outcome.

with generic_engagements as (
    select
        _source,
        record_id as engagement_id,
        record ->> '$.timestamp' as engaged,
        is_deleted or not coalesce(flag(record ->> '$.active'), true) as is_inactive,
        case
            when lower(record ->> '$.type') like '%email' then 'email'
            when
                lower(record ->> '$.type') in ('sms', 'whats_app', 'linkedin_message')
                then 'communication'
            else lower(record ->> '$.type')
        end as kind,
        record,
        is_deleted,
        version_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from staging.hubspot_records
    where kind = 'engagements'
),

typed_engagements as (
    select
        kind,
        record,
        is_deleted,
        version_at,
        _source,
        record_id as engagement_id,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from staging.hubspot_records
    where kind in ('call', 'email', 'meeting', 'note', 'task', 'communication')
),

engagements as (
    select
        kind,
        record,
        is_deleted,
        version_at,
        _source,
        engagement_id,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from typed_engagements
    union all
    select
        generic_engagements.kind,
        generic_engagements.record,
        generic_engagements.is_deleted,
        generic_engagements.version_at,
        generic_engagements._source,
        generic_engagements.engagement_id,
        generic_engagements._source_file,
        generic_engagements._source_line,
        generic_engagements._loaded_at,
        generic_engagements._load_id
    from generic_engagements
    left join typed_engagements
        on
            typed_engagements._source = generic_engagements._source
            and typed_engagements.engagement_id = generic_engagements.engagement_id
    where typed_engagements.engagement_id is null
),

engagement_properties as (
    select
        engagements.kind,
        engagements._source,
        engagements.engagement_id,
        engagements.record,
        coalesce(
            case
                when
                    json_valid(engagements.record ->> '$.properties')
                    then engagements.record ->> '$.properties'
            end,
            regexp_replace(engagements.record, '([{,]\s*)"propert(y|ies)_', '\1"', 'g')
        ) as properties,
        engagements.is_deleted as is_archived,
        engagements.version_at,
        sources.settings,
        engagements._source_file,
        engagements._source_line,
        engagements._loaded_at,
        engagements._load_id
    from engagements
    inner join run.sources as sources
        on sources.system = 'hubspot' and sources._source = engagements._source
),

engagement_values as (
    select
        engagement_properties.kind,
        engagement_properties._source,
        engagement_properties.engagement_id,
        engagement_properties.record,
        engagement_properties.settings,
        coalesce(
            case
                when engagement_properties.kind = 'meeting'
                    then
                        coalesce(
                            engagement_properties.properties ->> '$.hs_meeting_start_time',
                            engagement_properties.properties ->> '$.start_time'
                        )
            end,
            engagement_properties.properties ->> '$.hs_timestamp',
            generic_engagements.engaged,
            engagement_properties.properties ->> '$.timestamp'
        ) as happened,
        upper(
            case engagement_properties.kind
                when 'meeting'
                    then coalesce(
                        engagement_properties.properties ->> '$.hs_meeting_outcome',
                        engagement_properties.properties ->> '$.meeting_outcome'
                    )
                when 'email'
                    then
                        coalesce(
                            engagement_properties.properties ->> '$.hs_email_status',
                            engagement_properties.properties ->> '$.status'
                        )
                when 'call'
                    then
                        coalesce(
                            engagement_properties.properties ->> '$.hs_call_status',
                            engagement_properties.properties ->> '$.status'
                        )
            end
        ) as outcome,
        lower(
            case
                when engagement_properties.kind = 'call'
                    then
                        coalesce(
                            engagement_properties.properties ->> '$.hs_call_disposition',
                            engagement_properties.properties ->> '$.disposition'
                        )
            end
        ) as disposition,
        upper(trim(engagement_properties.properties ->> '$.hs_email_direction')) as direction,
        nullif(engagement_properties.properties ->> '$.hs_sequence_id', '') as sequence_id,
        upper(engagement_properties.properties ->> '$.hs_engagement_source') as sent_by,
        coalesce(
            flag(engagement_properties.properties ->> '$.hs_incoming_email_is_out_of_office'), false
        ) as is_out_of_office,
        engagement_properties.is_archived
        or coalesce(generic_engagements.is_inactive, false) as is_archived,
        engagement_properties.version_at,
        engagement_properties._source_file,
        engagement_properties._source_line,
        engagement_properties._loaded_at,
        engagement_properties._load_id
    from engagement_properties
    left join generic_engagements
        on
            generic_engagements._source = engagement_properties._source
            and generic_engagements.engagement_id = engagement_properties.engagement_id
)

select
    _source,
    engagement_id,
    record,
    case
        when
            list_contains(cast(json_extract(settings, '$.internal') as varchar[]), kind)
            then 'internal'
        when is_out_of_office then 'automated'
        when
            coalesce(direction, '') <> 'INCOMING_EMAIL' and sequence_id is not null
            then 'automated'
        when
            coalesce(direction, '') <> 'INCOMING_EMAIL'
            and sent_by in (
                'SEQUENCES',
                'WORKFLOWS',
                'AUTOMATION_PLATFORM',
                'AUTOMATION_JOURNEY',
                'PRIMARY_AUTOMATION'
            )
            then 'automated'
        else kind
    end as kind,
    coalesce(cast(vendor_time(happened) as varchar), happened) as occurred_at,
    case
        when is_archived then 'archived'
        when kind not in ('call', 'email', 'meeting', 'note', 'task', 'communication') then 'type'
        when
            kind = 'meeting' and outcome in ('CANCELED', 'CANCELLED', 'NO_SHOW', 'RESCHEDULED')
            then 'outcome'
        when kind = 'email' and direction = 'DRAFT_EMAIL' then 'outcome'
        when
            kind = 'email' and outcome in ('BOUNCED', 'FAILED', 'SCHEDULED', 'SENDING', 'DRAFT')
            then 'outcome'
        when
            kind = 'call'
            and outcome in (
                'BUSY', 'CALLING_CRM_USER', 'CANCELED', 'CONNECTING', 'FAILED',
                'MISSED', 'NO_ANSWER', 'QUEUED', 'RINGING'
            )
            then 'outcome'
        when
            -- The default dispositions of HubSpot: busy, no answer, wrong number.
            kind = 'call'
            and disposition in (
                '9d9162e7-6cf3-4944-bf63-4dff82258764',
                '73a0d17f-1163-4015-bdd5-ec830791da20',
                '17b47fee-58de-441e-a44c-c6300d46f273'
            )
            then 'outcome'
    end as ignored,
    version_at,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from engagement_values
order by _source, engagement_id
