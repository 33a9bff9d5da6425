-- Grain: one row per rating of a ticket, good or bad.
-- Definition: from the ratings that Zendesk lists and from the history of the ticket. What the ticket's own record says
-- is the newest: it takes the place of the latest dated one, or stands alone without a date.
-- Worked example: rated bad on 1 June, the record says good => good, 1 June.

with ratings_records as (
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.zendesk__satisfaction_ratings
    union all
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.zendesk__airbyte_satisfaction_ratings
),

ratings as (
    select
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from ratings_records
    qualify row_number() over (
        partition by _source, record ->> '$.id'
        order by _loaded_at desc, _load_id desc, _source_file desc, _source_line desc
    ) = 1
),

dated as (
    select
        _source,
        record ->> '$.ticket_id' as ticket_id,
        lower(record ->> '$.score') as score,
        try_cast(record ->> '$.created_at' as timestamp) as rated_at,
        coalesce(try_cast(record ->> '$.id' as bigint), 0) as place
    from ratings
    union all
    select
        _source,
        ticket_id,
        lower(value) as score,
        changed_at as rated_at,
        place
    from staging.zendesk_changes
    where field = 'satisfaction_score'
),

given as (
    select
        _source,
        ticket_id,
        case when score like 'good%' then 'good' else 'bad' end as score,
        rated_at,
        row_number() over (partition by _source, ticket_id order by rated_at desc, place desc, score desc) as from_last
    from dated
    where (score like 'good%' or score like 'bad%') and rated_at is not null
)

select
    tickets._source,
    tickets.ticket_id,
    case when coalesce(given.from_last, 1) = 1 then coalesce(tickets.score, given.score) else given.score end as score,
    given.rated_at,
    coalesce(given.from_last, 1) as from_last
from staging.zendesk_tickets as tickets
left join given on given._source = tickets._source and given.ticket_id = tickets.ticket_id
where tickets.score is not null or given.score is not null
order by tickets._source, tickets.ticket_id, from_last
