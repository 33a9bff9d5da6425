-- Grain: one row per engagement that took place or will, latest record of it, whatever shape it came in.
-- Definition: archived ones, meetings that were cancelled, moved or missed, calls that reached nobody and e-mails
-- that were not sent are left out. `kind` is automated for what sequences, workflows and out-of-office notes send,
-- internal for the kinds that the settings name, else call, email, meeting, note, task or communication. A meeting is
-- dated at its start, all else at its own time. Of Fivetran's table engagement those count that no other table has.
-- Worked example: an e-mail with a sequence => automated; a meeting with outcome NO_SHOW => none.

with engagement_records as (
    select 'call' as kind, record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.hubspot__calls
    union all
    select 'call' as kind, record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.hubspot__airbyte_engagements_calls
    union all
    select 'call' as kind, record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.hubspot__fivetran_engagement_call
    union all
    select 'email' as kind, record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.hubspot__emails
    union all
    select 'email' as kind, record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.hubspot__airbyte_engagements_emails
    union all
    select 'email' as kind, record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.hubspot__fivetran_engagement_email
    union all
    select 'meeting' as kind, record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.hubspot__meetings
    union all
    select 'meeting' as kind, record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.hubspot__airbyte_engagements_meetings
    union all
    select 'meeting' as kind, record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.hubspot__fivetran_engagement_meeting
    union all
    select 'note' as kind, record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.hubspot__notes
    union all
    select 'note' as kind, record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.hubspot__airbyte_engagements_notes
    union all
    select 'note' as kind, record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.hubspot__fivetran_engagement_note
    union all
    select 'task' as kind, record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.hubspot__tasks
    union all
    select 'task' as kind, record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.hubspot__airbyte_engagements_tasks
    union all
    select 'task' as kind, record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.hubspot__fivetran_engagement_task
    union all
    select 'communication' as kind, record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.hubspot__communications
    union all
    select 'communication' as kind, record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.hubspot__airbyte_engagements_communications
    union all
    select 'communication' as kind, record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.hubspot__fivetran_engagement_communication
    union all
    select
        case
            when lower(record ->> '$.type') like '%email' then 'email'
            when lower(record ->> '$.type') in ('sms', 'whats_app', 'linkedin_message') then 'communication'
            else lower(record ->> '$.type')
        end as kind,
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.hubspot__fivetran_engagement
),

whole as (
    select
        _source,
        record ->> '$.id' as engagement_id,
        max(record ->> '$.timestamp') as engaged,
        bool_or(lower(record ->> '$.active') = 'false' or lower(record ->> '$._fivetran_deleted') = 'true')
            as is_inactive
    from raw.hubspot__fivetran_engagement
    group by _source, record ->> '$.id'
),

engagements as (
    select
        kind,
        record,
        _source,
        coalesce(record ->> '$.engagement_id', record ->> '$.id') as engagement_id,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from engagement_records
    where kind in ('call', 'email', 'meeting', 'note', 'task', 'communication')
    qualify row_number() over (
        partition by _source, coalesce(record ->> '$.engagement_id', record ->> '$.id')
        order by
            case when record ->> '$.engagement_id' is null then 1 else 0 end,
            _loaded_at desc,
            _load_id desc,
            _source_file desc,
            _source_line desc
    ) = 1
),

opened as (
    select
        engagements.kind,
        engagements._source,
        engagements.engagement_id,
        engagements.record,
        coalesce(
            case when json_valid(engagements.record ->> '$.properties') then engagements.record ->> '$.properties' end,
            regexp_replace(engagements.record, '([{,]\s*)"propert(y|ies)_', '\1"', 'g')
        ) as properties,
        lower(
            coalesce(
                engagements.record ->> '$.archived',
                engagements.record ->> '$.is_deleted',
                engagements.record ->> '$._fivetran_deleted',
                'false'
            )
        ) = 'true' as is_archived,
        sources.settings,
        engagements._source_file,
        engagements._source_line,
        engagements._loaded_at,
        engagements._load_id
    from engagements
    inner join run.sources as sources on sources.system = 'hubspot' and sources._source = engagements._source
),

told as (
    select
        opened.kind,
        opened._source,
        opened.engagement_id,
        opened.record,
        opened.settings,
        coalesce(
            case
                when opened.kind = 'meeting'
                    then coalesce(opened.properties ->> '$.hs_meeting_start_time', opened.properties ->> '$.start_time')
            end,
            opened.properties ->> '$.hs_timestamp',
            whole.engaged,
            opened.properties ->> '$.timestamp'
        ) as happened,
        upper(
            case opened.kind
                when 'meeting'
                    then coalesce(
                        opened.properties ->> '$.hs_meeting_outcome', opened.properties ->> '$.meeting_outcome'
                    )
                when 'email' then coalesce(opened.properties ->> '$.hs_email_status', opened.properties ->> '$.status')
                when 'call' then coalesce(opened.properties ->> '$.hs_call_status', opened.properties ->> '$.status')
            end
        ) as outcome,
        lower(
            case
                when opened.kind = 'call'
                    then coalesce(opened.properties ->> '$.hs_call_disposition', opened.properties ->> '$.disposition')
            end
        ) as disposition,
        upper(opened.properties ->> '$.hs_email_direction') as direction,
        nullif(opened.properties ->> '$.hs_sequence_id', '') as sequence_id,
        upper(opened.properties ->> '$.hs_engagement_source') as sent_by,
        lower(coalesce(opened.properties ->> '$.hs_incoming_email_is_out_of_office', 'false')) as is_out_of_office,
        opened.is_archived or coalesce(whole.is_inactive, false) as is_archived,
        opened._source_file,
        opened._source_line,
        opened._loaded_at,
        opened._load_id
    from opened
    left join whole on whole._source = opened._source and whole.engagement_id = opened.engagement_id
)

select
    _source,
    engagement_id,
    record,
    case
        when list_contains(cast(json_extract(settings, '$.internal') as varchar[]), kind) then 'internal'
        when is_out_of_office = 'true' then 'automated'
        when coalesce(direction, '') <> 'INCOMING_EMAIL' and sequence_id is not null then 'automated'
        when
            coalesce(direction, '') <> 'INCOMING_EMAIL'
            and sent_by in ('SEQUENCES', 'WORKFLOWS', 'AUTOMATION_PLATFORM', 'AUTOMATION_JOURNEY', 'PRIMARY_AUTOMATION')
            then 'automated'
        else kind
    end as kind,
    case
        when regexp_matches(happened, '^[0-9]{12,14}$')
            then cast(make_timestamp(cast(happened as bigint) * 1000) as varchar)
        when regexp_matches(happened, '^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]:')
            then substr(happened, 1, 11) || '0' || substr(happened, 12)
        else regexp_replace(happened, ' UTC$', '')
    end as occurred_at,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from told
where
    not is_archived
    and not (kind = 'meeting' and coalesce(outcome, '') in ('CANCELED', 'CANCELLED', 'NO_SHOW', 'RESCHEDULED'))
    and not (kind = 'email' and coalesce(outcome, '') in ('BOUNCED', 'FAILED', 'SCHEDULED', 'SENDING', 'DRAFT'))
    and not (
        kind = 'call'
        and (
            coalesce(outcome, '') in (
                'BUSY', 'CALLING_CRM_USER', 'CANCELED', 'CONNECTING', 'FAILED',
                'MISSED', 'NO_ANSWER', 'QUEUED', 'RINGING'
            )
            -- The dispositions that every HubSpot has: busy, no answer, wrong number.
            or coalesce(disposition, '') in (
                '9d9162e7-6cf3-4944-bf63-4dff82258764',
                '73a0d17f-1163-4015-bdd5-ec830791da20',
                '17b47fee-58de-441e-a44c-c6300d46f273'
            )
        )
    )
order by _source, engagement_id
