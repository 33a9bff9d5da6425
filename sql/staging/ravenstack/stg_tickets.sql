-- Grain: one row per ticket and record of it.
-- Definition: opened on submitted_at (a day, so its first instant), solved at closed_at. The satisfaction of the
-- customer with the ticket, 1 to 5, is its sentiment: 1 critical, 2 negative, 3 neutral, 4 and 5 positive. When a
-- ticket was escalated is not told: escalated_at is the opening, the one time that is never later than the fact.
-- Worked example: satisfaction_score '3.0', escalation_flag 'True', submitted 2023-05-19 => neutral, escalated
-- 2023-05-19.

with tickets as (
    select
        ticket_id,
        account_id,
        submitted_at,
        closed_at,
        priority,
        satisfaction_score,
        case
            when regexp_matches(satisfaction_score, '^[1-5]([.]0+)?$') then left(satisfaction_score, 1)
        end as satisfaction,
        flag(escalation_flag) as is_escalated,
        escalation_flag,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.ravenstack__support_tickets
)

select
    ticket_id,
    account_id,
    submitted_at as opened_at,
    closed_at as solved_at,
    priority,
    case
        when satisfaction = '1' then 'critical'
        when satisfaction = '2' then 'negative'
        when satisfaction = '3' then 'neutral'
        when satisfaction in ('4', '5') then 'positive'
        -- Any other text is not a score: the gate rejects it with that text.
        else satisfaction_score
    end as sentiment,
    case
        when is_escalated then submitted_at
        -- A flag that does not parse goes on as it is: the gate rejects the record under that text.
        when is_escalated is null and is_given(escalation_flag) then escalation_flag
    end as escalated_at,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from tickets
order by ticket_id, _load_id, _source_file, _source_line
