-- Grain: one row per ticket.
-- Definition: opened on submitted_at (a day, so its first instant), solved at closed_at. The satisfaction score from
-- 1 to 5 becomes the sentiment: 1 critical, 2 negative, 3 neutral, 4 and 5 positive. The time of an escalation is
-- not recorded: escalated_at is the opening, the only time that is never too late.
-- Worked example: satisfaction_score '3.0', escalation_flag 'True', submitted 2023-05-19 => neutral, escalated
-- 2023-05-19.

with tickets as (
    select
        record_id as ticket_id,
        record ->> '$.account_id' as account_id,
        record ->> '$.submitted_at' as submitted_at,
        record ->> '$.closed_at' as closed_at,
        record ->> '$.priority' as priority,
        identifier_text(record ->> '$.satisfaction_score') as satisfaction,
        flag(record ->> '$.escalation_flag') as is_escalated,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from staging.ravenstack_records
    where kind = 'support_tickets'
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
    end as sentiment,
    case when is_escalated then submitted_at end as escalated_at,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from tickets
order by ticket_id
