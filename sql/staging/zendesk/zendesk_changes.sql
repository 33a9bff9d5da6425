-- Grain: one row per change of a ticket's status, satisfaction score, or a field with a condition for an escalation.
-- Definition: from the export of ticket events, from audits, and from the field history that Fivetran lands.
-- `escalates` is true if the value makes the ticket an escalation by the settings of the source. The first values of
-- a ticket are also changes.
-- Worked example: child event {"status": "open", "previous_value": "solved"} => field status, value open.

with event_changes as (
    select
        _source,
        identifier_text(record ->> '$.ticket_id') as ticket_id,
        vendor_time(coalesce(record ->> '$.created_at', record ->> '$.timestamp')) as changed_at,
        coalesce(whole_number(record_id), 0) as place,
        unnest(cast(record ->> '$.child_events' as json[])) as change
    from staging.zendesk_records
    where kind = 'ticket_events' and record ->> '$.child_events' is not null
),

audit_changes as (
    select
        _source,
        identifier_text(record ->> '$.ticket_id') as ticket_id,
        vendor_time(record ->> '$.created_at') as changed_at,
        coalesce(whole_number(record_id), 0) as place,
        unnest(cast(record ->> '$.events' as json[])) as change
    from staging.zendesk_records
    where kind = 'ticket_audits' and record ->> '$.events' is not null
),

landed_changes as (
    select
        _source,
        identifier_text(record ->> '$.ticket_id') as ticket_id,
        vendor_time(record ->> '$.updated') as changed_at,
        _source_line as place,
        record ->> '$.field_name' as field,
        record ->> '$.value' as value
    from staging.zendesk_records
    where kind = 'ticket_field_history'
),

field_values as (
    select
        _source,
        ticket_id,
        changed_at,
        place,
        'status' as field,
        change ->> '$.status' as value
    from event_changes
    union all
    select
        _source,
        ticket_id,
        changed_at,
        place,
        'priority' as field,
        change ->> '$.priority' as value
    from event_changes
    union all
    select
        _source,
        ticket_id,
        changed_at,
        place,
        'tags' as field,
        change ->> '$.tags' as value
    from event_changes
    union all
    select
        _source,
        ticket_id,
        changed_at,
        place,
        'satisfaction_score' as field,
        change ->> '$.satisfaction_score' as value
    from event_changes
    union all
    select
        event_changes._source,
        event_changes.ticket_id,
        event_changes.changed_at,
        event_changes.place,
        sources.settings ->> '$.escalation.field' as field,
        coalesce(
            json_extract_string(
                event_changes.change, '$."' || (sources.settings ->> '$.escalation.field') || '"'
            ),
            json_extract_string(
                event_changes.change,
                '$.custom_ticket_fields."' || (sources.settings ->> '$.escalation.field') || '"'
            )
        ) as value
    from event_changes
    inner join run.sources as sources
        on sources.system = 'zendesk' and sources._source = event_changes._source
    union all
    select
        _source,
        ticket_id,
        changed_at,
        place,
        change ->> '$.field_name' as field,
        change ->> '$.value' as value
    from audit_changes
    where change ->> '$.type' in ('Create', 'Change')
    union all
    select
        _source,
        ticket_id,
        changed_at,
        place,
        field,
        value
    from landed_changes
),

changes as (
    select
        _source,
        ticket_id,
        field,
        value,
        changed_at,
        max(place) as place
    from field_values
    where value is not null
    group by _source, ticket_id, field, value, changed_at
),

escalation_settings as (
    select
        _source,
        settings ->> '$.escalation.field' as escalation_field,
        cast(json_extract(settings, '$.escalation.tags') as varchar[]) as escalation_tags,
        cast(json_extract(settings, '$.escalation.priorities') as varchar[])
            as escalation_priorities,
        cast(json_extract(settings, '$.escalation.field_values') as varchar[]) as escalation_values
    from run.sources
    where system = 'zendesk'
),

change_values as (
    select
        changes._source,
        changes.ticket_id,
        changes.field,
        changes.value,
        changes.changed_at,
        changes.place,
        case
            when changes.field <> 'tags' then []
            when json_valid(changes.value) and json_type(changes.value) = 'ARRAY'
                then cast(cast(changes.value as json) as varchar[])
            else string_split(changes.value, ' ')
        end as tags,
        case when changes.field = 'priority' then lower(trim(changes.value)) end as priority,
        case when changes.field = escalation_settings.escalation_field then changes.value end
            as escalation_value,
        escalation_settings.escalation_tags,
        escalation_settings.escalation_priorities,
        escalation_settings.escalation_values
    from changes
    inner join escalation_settings on escalation_settings._source = changes._source
    where
        changes.field in ('status', 'priority', 'tags', 'satisfaction_score')
        or changes.field = escalation_settings.escalation_field
)

select
    _source,
    ticket_id,
    field,
    value,
    changed_at,
    place,
    (
        list_has_any(tags, escalation_tags)
        or list_contains(escalation_priorities, priority)
        or (
            escalation_value is not null
            and case
                when len(escalation_values) = 0
                    then lower(escalation_value) not in ('', 'false', 'null', '[]')
                else list_contains(escalation_values, escalation_value)
            end
        )
    ) as escalates
from change_values
order by _source, ticket_id, changed_at, place, field
