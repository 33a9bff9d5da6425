-- Grain: one row per opening of a ticket.
-- Definition (docs/sources/files.md, "Columns"): if a ticket is reopened, a new row starts at that time, named after
-- it, so that every day sees the state of that day. A ticket is open until it is solved or closed; if the history
-- lacks this, the record is used, at the time at which it was solved or last changed. A rating belongs to the
-- opening before it: good is positive, bad is negative, and critical if the ticket is urgent. A ticket without a
-- rating may have a sentiment from its text. A ticket is escalated when it first meets a condition for an
-- escalation; if that change is not recorded, when it was opened.
-- Worked example: opened on the 1st, solved on the 5th, reopened on the 9th => zendesk/7 from the 1st to the 5th,
-- and zendesk/7/2026-06-09 00:00:00, open.

with tickets as (
    select
        _source,
        ticket_id,
        external_id,
        created_at,
        is_open,
        greatest(coalesce(stated_at, created_at), created_at) as stated_at,
        priority,
        escalates,
        ignored,
        version_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from staging.zendesk_tickets
),

-- At the same time a change (precedence 1) follows the creation (0), and the current record (2) follows both.
status_history as (
    select
        _source,
        ticket_id,
        created_at as stated_at,
        0 as precedence,
        0 as place,
        1 as is_open
    from tickets
    union all
    select
        changes._source,
        changes.ticket_id,
        greatest(changes.changed_at, tickets.created_at) as stated_at,
        1 as precedence,
        changes.place,
        case when lower(trim(changes.value)) in ('solved', 'closed') then 0 else 1 end as is_open
    from staging.zendesk_changes as changes
    inner join tickets
        on tickets._source = changes._source and tickets.ticket_id = changes.ticket_id
    where changes.field = 'status' and tickets.ignored is null and tickets.created_at is not null
),

last_history_states as (
    select
        _source,
        ticket_id,
        stated_at,
        is_open
    from status_history
    qualify
        row_number()
            over (
                partition by _source, ticket_id order by stated_at desc, precedence desc, place desc
            )
        = 1
),

ticket_states as (
    select
        _source,
        ticket_id,
        stated_at,
        precedence,
        place,
        is_open
    from status_history
    union all
    select
        tickets._source,
        tickets.ticket_id,
        greatest(tickets.stated_at, last_history_states.stated_at) as stated_at,
        2 as precedence,
        0 as place,
        tickets.is_open
    from tickets
    inner join last_history_states
        on
            last_history_states._source = tickets._source
            and last_history_states.ticket_id = tickets.ticket_id
    where last_history_states.is_open <> tickets.is_open
),

states_with_previous as (
    select
        _source,
        ticket_id,
        stated_at,
        precedence,
        place,
        is_open,
        lag(is_open)
            over (partition by _source, ticket_id order by stated_at, precedence, place)
            as was_open
    from ticket_states
),

status_changes as (
    select
        _source,
        ticket_id,
        stated_at,
        precedence,
        place,
        is_open,
        lead(stated_at)
            over (partition by _source, ticket_id order by stated_at, precedence, place)
            as changed_to_next_at
    from states_with_previous
    where was_open is null or was_open <> is_open
),

openings as (
    select
        _source,
        ticket_id,
        stated_at as opened_at,
        changed_to_next_at as solved_at,
        row_number()
            over (partition by _source, ticket_id order by stated_at, precedence, place)
            as opening
    from status_changes
    where is_open = 1
),

rated_openings as (
    select
        ratings._source,
        ratings.ticket_id,
        ratings.score,
        ratings.from_last,
        openings.opening
    from staging.zendesk_ratings as ratings
    inner join openings
        on
            openings._source = ratings._source
            and openings.ticket_id = ratings.ticket_id
            and (
                ratings.rated_at is null
                or openings.opening = 1
                or openings.opened_at <= ratings.rated_at
            )
    qualify row_number() over (
        partition by ratings._source, ratings.ticket_id, ratings.from_last
        order by openings.opening desc
    ) = 1
),

opening_scores as (
    select
        _source,
        ticket_id,
        opening,
        score
    from rated_openings
    qualify row_number() over (partition by _source, ticket_id, opening order by from_last) = 1
),

escalation_states as (
    select
        _source,
        ticket_id,
        changed_at,
        escalates,
        lag(escalates) over (
            partition by _source, ticket_id, field
            order by changed_at, place, value
        ) as escalated_before
    from staging.zendesk_changes
    where field <> 'status' or escalates
),

new_escalations as (
    select
        _source,
        ticket_id,
        changed_at
    from escalation_states
    where escalates and not coalesce(escalated_before, false)
),

escalation_times as (
    select
        tickets._source,
        tickets.ticket_id,
        coalesce(new_escalations.changed_at, tickets.created_at) as escalated_at
    from tickets
    left join new_escalations
        on
            new_escalations._source = tickets._source
            and new_escalations.ticket_id = tickets.ticket_id
    where tickets.escalates or new_escalations.changed_at is not null
),

escalated_openings as (
    select
        escalation_times._source,
        escalation_times.ticket_id,
        escalation_times.escalated_at,
        openings.opening
    from escalation_times
    inner join openings
        on
            openings._source = escalation_times._source
            and openings.ticket_id = escalation_times.ticket_id
            and (openings.opening = 1 or openings.opened_at <= escalation_times.escalated_at)
    qualify row_number() over (
        partition by
            escalation_times._source, escalation_times.ticket_id, escalation_times.escalated_at
        order by openings.opening desc
    ) = 1
),

escalations as (
    select
        _source,
        ticket_id,
        opening,
        min(escalated_at) as escalated_at
    from escalated_openings
    group by _source, ticket_id, opening
)

select
    case
        when openings.opening = 1 then tickets._source || '/' || tickets.ticket_id
        else
            tickets._source
            || '/'
            || tickets.ticket_id
            || '/'
            || cast(openings.opened_at as varchar)
    end as ticket_id,
    matched.account_id,
    tickets.external_id as external_account_id,
    openings.opened_at,
    openings.solved_at,
    tickets.priority,
    case
        when opening_scores.score = 'good' then 'positive'
        when opening_scores.score = 'bad' and tickets.priority = 'urgent' then 'critical'
        when opening_scores.score = 'bad' then 'negative'
        else texts.sentiment
    end as sentiment,
    escalations.escalated_at,
    coalesce(tickets.ignored, case when matched.is_ignored then 'account_map' end) as _ignored,
    tickets.version_at as _version,
    tickets._source_file,
    tickets._source_line,
    tickets._loaded_at,
    tickets._load_id
from tickets
inner join openings on openings._source = tickets._source and openings.ticket_id = tickets.ticket_id
left join opening_scores
    on
        opening_scores._source = openings._source
        and opening_scores.ticket_id = openings.ticket_id
        and opening_scores.opening = openings.opening
left join staging.zendesk_text_sentiments as texts
    on
        texts._source = openings._source
        and texts.ticket_id = openings.ticket_id
        and openings.opening = 1
left join escalations
    on
        escalations._source = openings._source
        and escalations.ticket_id = openings.ticket_id
        and escalations.opening = openings.opening
left join staging.account_map as matched
    on
        matched.system = 'zendesk'
        and matched._source = tickets._source
        and matched.external_id = tickets.external_id
order by ticket_id, tickets._load_id, tickets._source_file, tickets._source_line
