-- Grain: one row per ticket, latest record of it, whatever shape it came in.
-- Definition: deleted tickets are left out, on every day; so are those with an excluded tag, which is how Zendesk marks
-- the ones that were closed by being merged, and those that another one names as merged into it. Whom a ticket is of:
-- its organisation, else the requester's, else the requester, as `user/<id>`, unless the settings ignore those.
-- Worked example: organization_id null, requester 7 of no organisation => external_id user/7.

with tickets_records as (
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.zendesk__tickets
    union all
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.zendesk__airbyte_tickets
    union all
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.zendesk__fivetran_ticket
),

tickets as (
    select
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from tickets_records
    qualify row_number() over (
        partition by _source, record ->> '$.id'
        order by _loaded_at desc, _load_id desc, _source_file desc, _source_line desc
    ) = 1
),

users_records as (
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.zendesk__users
    union all
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.zendesk__airbyte_users
    union all
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.zendesk__fivetran_user
),

users as (
    select
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from users_records
    qualify row_number() over (
        partition by _source, record ->> '$.id'
        order by _loaded_at desc, _load_id desc, _source_file desc, _source_line desc
    ) = 1
),

metrics_records as (
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.zendesk__airbyte_ticket_metrics
),

metrics as (
    select
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from metrics_records
    qualify row_number() over (
        partition by _source, record ->> '$.ticket_id'
        order by _loaded_at desc, _load_id desc, _source_file desc, _source_line desc
    ) = 1
),

landed_tags as (
    select
        _source,
        record ->> '$.ticket_id' as ticket_id,
        list(distinct record ->> '$.tag') as tags
    from raw.zendesk__fivetran_ticket_tag
    group by _source, record ->> '$.ticket_id'
),

merged as (
    select distinct
        _source,
        unnest(cast(record ->> '$.merged_ticket_ids' as varchar[])) as ticket_id
    from tickets
    where json_valid(record ->> '$.merged_ticket_ids') and json_type(record ->> '$.merged_ticket_ids') = 'ARRAY'
),

opened as (
    select
        tickets._source,
        tickets.record ->> '$.id' as ticket_id,
        coalesce(
            tickets.record ->> '$.organization_id',
            tickets.record ->> '$.organization.id',
            users.record ->> '$.organization_id'
        ) as organization_id,
        coalesce(tickets.record ->> '$.requester_id', tickets.record ->> '$.requester.id') as requester_id,
        coalesce(users.record ->> '$.name', tickets.record ->> '$.requester.name') as requester_name,
        coalesce(users.record ->> '$.email', tickets.record ->> '$.requester.email') as requester_email,
        tickets.record ->> '$.created_at' as created,
        lower(tickets.record ->> '$.status') as status,
        lower(tickets.record ->> '$.priority') as priority,
        coalesce(
            tickets.record ->> '$.satisfaction_rating.score',
            case
                when json_valid(tickets.record ->> '$.satisfaction_rating')
                    then json_extract_string(tickets.record ->> '$.satisfaction_rating', '$.score')
            end
        ) as score,
        coalesce(
            tickets.record ->> '$.metric_set.solved_at', metrics.record ->> '$.solved_at', tickets.record ->> '$.updated_at'
        ) as solved,
        tickets.record ->> '$.updated_at' as updated,
        lower(coalesce(tickets.record ->> '$._fivetran_deleted', 'false')) as is_deleted,
        coalesce(landed_tags.tags, case when json_valid((tickets.record ->> '$.tags')) and json_type((tickets.record ->> '$.tags')) = 'ARRAY' then cast(cast((tickets.record ->> '$.tags') as json) as varchar[]) else string_split(coalesce((tickets.record ->> '$.tags'), ''), ' ') end) as tags,
        coalesce(
            json_extract_string(tickets.record, '$."' || (sources.settings ->> '$.escalation.field') || '"'),
            json_extract_string(tickets.record, '$.custom_' || (sources.settings ->> '$.escalation.field')),
            case
                when json_valid(tickets.record ->> '$.custom_fields')
                    then list_extract(
                        json_extract_string(tickets.record ->> '$.custom_fields', '$[*].value'),
                        list_position(
                            json_extract_string(tickets.record ->> '$.custom_fields', '$[*].id'),
                            sources.settings ->> '$.escalation.field'
                        )
                    )
            end
        ) as escalation_field,
        merged.ticket_id is not null as is_merged,
        tickets._source_file,
        tickets._source_line,
        tickets._loaded_at,
        tickets._load_id
    from tickets
    inner join run.sources as sources on sources.system = 'zendesk' and sources._source = tickets._source
    left join users
        on users._source = tickets._source and users.record ->> '$.id' = tickets.record ->> '$.requester_id'
    left join metrics
        on metrics._source = tickets._source and metrics.record ->> '$.ticket_id' = tickets.record ->> '$.id'
    left join landed_tags
        on landed_tags._source = tickets._source and landed_tags.ticket_id = tickets.record ->> '$.id'
    left join merged on merged._source = tickets._source and merged.ticket_id = tickets.record ->> '$.id'
)

select
    opened._source,
    opened.ticket_id,
    coalesce(opened.organization_id, 'user/' || opened.requester_id) as external_id,
    case when opened.organization_id is null then opened.requester_name end as requester_name,
    case
        when opened.organization_id is null and opened.requester_email like '%@%'
            then split_part(opened.requester_email, '@', 2)
    end as requester_domain,
    opened.created,
    try_cast(opened.created as timestamp) as created_at,
    case when opened.status in ('solved', 'closed') then 0 else 1 end as is_open,
    try_cast(case when opened.status in ('solved', 'closed') then opened.solved else opened.updated end as timestamp)
        as stated_at,
    opened.priority,
    case
        when opened.score like 'good%' then 'good'
        when opened.score like 'bad%' then 'bad'
    end as score,
    coalesce((
            list_has_any(opened.tags, cast(json_extract(sources.settings, '$.escalation.tags') as varchar[]))
            or list_contains(cast(json_extract(sources.settings, '$.escalation.priorities') as varchar[]), lower(opened.priority))
            or (
                opened.escalation_field is not null
                and case
                    when json_array_length(sources.settings, '$.escalation.field_values') = 0
                        then lower(opened.escalation_field) not in ('', 'false', 'null', '[]')
                    else list_contains(
                        cast(json_extract(sources.settings, '$.escalation.field_values') as varchar[]), opened.escalation_field
                    )
                end
            )
        ), false) as escalates,
    opened._source_file,
    opened._source_line,
    opened._loaded_at,
    opened._load_id
from opened
inner join run.sources as sources on sources.system = 'zendesk' and sources._source = opened._source
where
    coalesce(opened.status, '') <> 'deleted'
    and opened.is_deleted <> 'true'
    and not opened.is_merged
    and not list_has_any(opened.tags, cast(json_extract(sources.settings, '$.excluded_tags') as varchar[]))
    and (opened.organization_id is not null or sources.settings ->> '$.without_organization' = 'match')
order by opened._source, opened.ticket_id
