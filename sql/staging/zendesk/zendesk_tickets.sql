-- Grain: one row per ticket, with its latest record.
-- Definition: `ignored` is the reason for leaving a ticket out on all days: deleted; an excluded tag, such as the
-- one that Zendesk gives to merged tickets; named by another ticket as merged into it; or a requester without an
-- organisation, if the settings ignore those. The customer of a ticket is its organisation, else the organisation of
-- its requester, else the requester, as `user/<id>`.
-- Worked example: organization_id null, requester 7 without an organisation => external_id user/7.

with tickets as (
    select
        record_id as ticket_id,
        record,
        is_deleted,
        version_at,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from staging.zendesk_records
    where kind = 'tickets'
),

users as (
    select
        _source,
        record_id as user_id,
        identifier_text(record ->> '$.organization_id') as organization_id,
        record ->> '$.name' as user_name,
        record ->> '$.email' as email
    from staging.zendesk_records
    where kind = 'users'
),

ticket_metrics as (
    select
        _source,
        record_id as ticket_id,
        record ->> '$.solved_at' as solved
    from staging.zendesk_records
    where kind = 'ticket_metrics'
),

landed_tags as (
    select
        _source,
        identifier_text(record ->> '$.ticket_id') as ticket_id,
        list(distinct record ->> '$.tag') as tags
    from staging.zendesk_records
    where kind = 'ticket_tags'
    group by _source, identifier_text(record ->> '$.ticket_id')
),

merged_ids as (
    select
        _source,
        unnest(cast(record ->> '$.merged_ticket_ids' as varchar[])) as ticket_id
    from tickets
    where json_type(record ->> '$.merged_ticket_ids') = 'ARRAY'
),

merged_tickets as (
    select distinct
        _source,
        identifier_text(ticket_id) as ticket_id
    from merged_ids
),

ticket_fields as (
    select
        tickets._source,
        tickets.ticket_id,
        coalesce(
            identifier_text(tickets.record ->> '$.organization_id'),
            identifier_text(tickets.record ->> '$.organization.id'),
            users.organization_id
        ) as organization_id,
        coalesce(
            identifier_text(tickets.record ->> '$.requester_id'),
            identifier_text(tickets.record ->> '$.requester.id')
        ) as requester_id,
        coalesce(users.user_name, tickets.record ->> '$.requester.name') as requester_name,
        coalesce(users.email, tickets.record ->> '$.requester.email') as requester_email,
        vendor_time(tickets.record ->> '$.created_at') as created_at,
        lower(trim(tickets.record ->> '$.status')) as status,
        lower(trim(tickets.record ->> '$.priority')) as priority,
        lower(trim(json_extract_string(tickets.record ->> '$.satisfaction_rating', '$.score')))
            as score,
        vendor_time(coalesce(tickets.record ->> '$.metric_set.solved_at', ticket_metrics.solved))
            as solved_at,
        vendor_time(tickets.record ->> '$.updated_at') as updated_at,
        tickets.is_deleted,
        tickets.version_at,
        tickets.record ->> '$.tags' as tag_text,
        landed_tags.tags as landed_tags,
        sources.settings,
        sources.settings ->> '$.escalation.field' as escalation_field_name,
        tickets.record,
        merged_tickets.ticket_id is not null as is_merged,
        tickets._source_file,
        tickets._source_line,
        tickets._loaded_at,
        tickets._load_id
    from tickets
    inner join run.sources as sources
        on sources.system = 'zendesk' and sources._source = tickets._source
    left join users
        on
            users._source = tickets._source
            and users.user_id = identifier_text(tickets.record ->> '$.requester_id')
    left join ticket_metrics
        on ticket_metrics._source = tickets._source and ticket_metrics.ticket_id = tickets.ticket_id
    left join landed_tags
        on landed_tags._source = tickets._source and landed_tags.ticket_id = tickets.ticket_id
    left join merged_tickets
        on merged_tickets._source = tickets._source and merged_tickets.ticket_id = tickets.ticket_id
),

ticket_values as (
    select
        _source,
        ticket_id,
        organization_id,
        requester_id,
        requester_name,
        requester_email,
        created_at,
        status,
        priority,
        score,
        case
            when status in ('solved', 'closed') then coalesce(solved_at, updated_at) else updated_at
        end as stated_at,
        is_deleted,
        is_merged,
        version_at,
        settings,
        case
            when landed_tags is not null then landed_tags
            when
                json_valid(tag_text) and json_type(tag_text) = 'ARRAY'
                then cast(cast(tag_text as json) as varchar[])
            else string_split(coalesce(tag_text, ''), ' ')
        end as tags,
        coalesce(
            json_extract_string(record, '$."' || escalation_field_name || '"'),
            json_extract_string(record, '$.custom_' || escalation_field_name),
            list_extract(
                json_extract_string(record ->> '$.custom_fields', '$[*].value'),
                list_position(
                    json_extract_string(record ->> '$.custom_fields', '$[*].id'),
                    escalation_field_name
                )
            )
        ) as escalation_field,
        cast(json_extract(settings, '$.escalation.tags') as varchar[]) as escalation_tags,
        cast(json_extract(settings, '$.escalation.priorities') as varchar[])
            as escalation_priorities,
        cast(json_extract(settings, '$.escalation.field_values') as varchar[]) as escalation_values,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from ticket_fields
)

select
    _source,
    ticket_id,
    coalesce(organization_id, 'user/' || requester_id) as external_id,
    case when organization_id is null then requester_name end as requester_name,
    case
        when
            organization_id is null and requester_email like '%@%'
            then split_part(requester_email, '@', 2)
    end as requester_domain,
    created_at,
    case when status in ('solved', 'closed') then 0 else 1 end as is_open,
    stated_at,
    priority,
    case
        when score like 'good%' then 'good'
        when score like 'bad%' then 'bad'
    end as score,
    coalesce(
        list_has_any(tags, escalation_tags)
        or list_contains(escalation_priorities, priority)
        or (
            escalation_field is not null
            and case
                when len(escalation_values) = 0
                    then lower(escalation_field) not in ('', 'false', 'null', '[]')
                else list_contains(escalation_values, escalation_field)
            end
        ),
        false
    ) as escalates,
    case
        when status = 'deleted' or is_deleted then 'deleted'
        when is_merged then 'merged'
        when
            list_has_any(tags, cast(json_extract(settings, '$.excluded_tags') as varchar[]))
            then 'excluded_tags'
        when
            organization_id is null and settings ->> '$.without_organization' = 'ignore'
            then 'without_organization'
    end as ignored,
    version_at,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from ticket_values
order by _source, ticket_id
