-- Grain: one row per support ticket, for the 200 latest tickets of each account.
-- Definition: the tickets behind open_ticket_count, support_sentiment and
-- escalation_count_90_days. Whether a ticket was open on a day follows from its dates: opened on or
-- before it, not solved on or before it.
-- Worked example: opened_on 2026-06-01, solved_on 2026-07-05 => open on 2026-07-04.

with latest_tickets as (
    select
        account_id,
        ticket_id,
        priority,
        sentiment,
        cast(opened_at as date) as opened_on,
        cast(escalated_at as date) as escalated_on,
        cast(solved_at as date) as solved_on
    from staging.stg_tickets
    -- More than an account page shows, so that pages of earlier days have theirs.
    qualify
        row_number() over (partition by account_id order by opened_at desc, ticket_id desc) <= 200
)

select
    stg_accounts.tenant_id,
    latest_tickets.account_id,
    latest_tickets.ticket_id,
    latest_tickets.opened_on,
    latest_tickets.escalated_on,
    latest_tickets.solved_on,
    latest_tickets.priority,
    latest_tickets.sentiment
from latest_tickets
inner join staging.stg_accounts
    on latest_tickets.account_id = stg_accounts.account_id
order by stg_accounts.tenant_id, latest_tickets.account_id, latest_tickets.ticket_id
