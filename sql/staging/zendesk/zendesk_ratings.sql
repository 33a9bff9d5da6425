-- Grain: one row per good or bad rating of a ticket.
-- Definition: from Zendesk's list of ratings and from the history of the ticket. The rating in the record of the
-- ticket is the newest: it replaces the latest dated rating; without a dated rating, it has no date.
-- Worked example: rated bad on 1 June, good in the record => good, 1 June.

with rating_records as (
    select
        _source,
        identifier_text(record ->> '$.ticket_id') as ticket_id,
        lower(trim(record ->> '$.score')) as score,
        vendor_time(record ->> '$.created_at') as rated_at,
        coalesce(whole_number(record_id), 0) as place
    from staging.zendesk_records
    where kind = 'satisfaction_ratings'
    union all
    select
        _source,
        ticket_id,
        lower(trim(value)) as score,
        changed_at as rated_at,
        place
    from staging.zendesk_changes
    where field = 'satisfaction_score'
),

ratings as (
    select
        _source,
        ticket_id,
        case when score like 'good%' then 'good' else 'bad' end as score,
        rated_at,
        row_number()
            over (partition by _source, ticket_id order by rated_at desc, place desc, score desc)
            as from_last
    from rating_records
    where score like 'good%' or score like 'bad%'
)

select
    tickets._source,
    tickets.ticket_id,
    case
        when coalesce(ratings.from_last, 1) = 1 then coalesce(tickets.score, ratings.score)
        else ratings.score
    end as score,
    ratings.rated_at,
    coalesce(ratings.from_last, 1) as from_last
from staging.zendesk_tickets as tickets
left join ratings on ratings._source = tickets._source and ratings.ticket_id = tickets.ticket_id
where tickets.score is not null or ratings.score is not null
order by tickets._source, tickets.ticket_id, from_last
