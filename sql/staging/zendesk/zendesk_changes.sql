-- Grain: one row per change of a ticket's status, satisfaction, or of what makes it an escalation.
-- Definition: from the exports of ticket events, from audits, and from the history of fields that Fivetran lands.
-- `escalates` says whether the value makes the ticket an escalation by the source's settings. A ticket's first values
-- are changes, too.
-- Worked example: child event {"status": "open", "previous_value": "solved"} => field status, value open.

with events_records as (
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.zendesk__ticket_events
),

events as (
    select
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from events_records
    qualify row_number() over (
        partition by _source, record ->> '$.id'
        order by _loaded_at desc, _load_id desc, _source_file desc, _source_line desc
    ) = 1
),

audits_records as (
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.zendesk__ticket_audits
    union all
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.zendesk__airbyte_ticket_audits
),

audits as (
    select
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from audits_records
    qualify row_number() over (
        partition by _source, record ->> '$.id'
        order by _loaded_at desc, _load_id desc, _source_file desc, _source_line desc
    ) = 1
),

event_changes as (
    select
        _source,
        record ->> '$.ticket_id' as ticket_id,
        coalesce(
            record ->> '$.created_at',
            cast(make_timestamp(try_cast(record ->> '$.timestamp' as bigint) * 1000000) as varchar)
        ) as changed,
        coalesce(try_cast(record ->> '$.id' as bigint), 0) as place,
        unnest(cast(record ->> '$.child_events' as json[])) as change
    from events
    where json_valid(record ->> '$.child_events')
),

audit_changes as (
    select
        _source,
        record ->> '$.ticket_id' as ticket_id,
        record ->> '$.created_at' as changed,
        coalesce(try_cast(record ->> '$.id' as bigint), 0) as place,
        unnest(cast(record ->> '$.events' as json[])) as change
    from audits
    where json_valid(record ->> '$.events')
),

told as (
    select _source, ticket_id, changed, place, 'status' as field, change ->> '$.status' as value from event_changes
    union all
    select _source, ticket_id, changed, place, 'priority' as field, change ->> '$.priority' as value from event_changes
    union all
    select _source, ticket_id, changed, place, 'tags' as field, change ->> '$.tags' as value from event_changes
    union all
    select _source, ticket_id, changed, place, 'satisfaction_score' as field, change ->> '$.satisfaction_score' as value
    from event_changes
    union all
    select
        event_changes._source,
        event_changes.ticket_id,
        event_changes.changed,
        event_changes.place,
        sources.settings ->> '$.escalation.field' as field,
        coalesce(
            json_extract_string(event_changes.change, '$."' || (sources.settings ->> '$.escalation.field') || '"'),
            json_extract_string(
                event_changes.change, '$.custom_ticket_fields."' || (sources.settings ->> '$.escalation.field') || '"'
            )
        ) as value
    from event_changes
    inner join run.sources as sources on sources.system = 'zendesk' and sources._source = event_changes._source
    union all
    select _source, ticket_id, changed, place, change ->> '$.field_name' as field, change ->> '$.value' as value
    from audit_changes
    where change ->> '$.type' in ('Create', 'Change')
    union all
    select
        _source,
        record ->> '$.ticket_id' as ticket_id,
        record ->> '$.updated' as changed,
        _source_line as place,
        record ->> '$.field_name' as field,
        record ->> '$.value' as value
    from raw.zendesk__fivetran_ticket_field_history
),

changes as (
    select
        _source,
        ticket_id,
        field,
        value,
        try_cast(changed as timestamp) as changed_at,
        max(place) as place
    from told
    where value is not null and ticket_id is not null
    group by _source, ticket_id, field, value, changed
)

select
    changes._source,
    changes.ticket_id,
    changes.field,
    changes.value,
    changes.changed_at,
    changes.place,
    (
            list_has_any(case when changes.field = 'tags' then case when json_valid(changes.value) and json_type(changes.value) = 'ARRAY' then cast(cast(changes.value as json) as varchar[]) else string_split(coalesce(changes.value, ''), ' ') end else [] end, cast(json_extract(sources.settings, '$.escalation.tags') as varchar[]))
            or list_contains(cast(json_extract(sources.settings, '$.escalation.priorities') as varchar[]), lower(case when changes.field = 'priority' then changes.value end))
            or (
                case when changes.field = sources.settings ->> '$.escalation.field' then changes.value end is not null
                and case
                    when json_array_length(sources.settings, '$.escalation.field_values') = 0
                        then lower(case when changes.field = sources.settings ->> '$.escalation.field' then changes.value end) not in ('', 'false', 'null', '[]')
                    else list_contains(
                        cast(json_extract(sources.settings, '$.escalation.field_values') as varchar[]), case when changes.field = sources.settings ->> '$.escalation.field' then changes.value end
                    )
                end
            )
        ) as escalates
from changes
inner join run.sources as sources on sources.system = 'zendesk' and sources._source = changes._source
where
    changes.changed_at is not null
    and (
        changes.field in ('status', 'priority', 'tags', 'satisfaction_score')
        or changes.field = sources.settings ->> '$.escalation.field'
    )
order by changes._source, changes.ticket_id, changes.changed_at, changes.place, changes.field
