-- Grain: one row per account of the population and day of the run.
-- Definition (docs/signals.md, open_ticket_count, support_sentiment, escalation_count_90_days): tickets open at T; the
-- sum of sentiment values (positive +1, neutral 0, negative -1, critical -2) over rated tickets open at T or opened in
-- the window; tickets escalated in their window.
-- Worked example: a negative ticket opened 200 days ago and still open => open_tickets 1, sentiment_sum -1.

with account_days as (
    select
        tenant_id,
        account_id,
        as_of_date
    from intermediate.int_account_days
    where as_of_date between $first_date and $last_date
),

tickets as (
    select
        account_id,
        case sentiment
            when 'positive' then 1
            when 'neutral' then 0
            when 'negative' then -1
            when 'critical' then -2
        end as sentiment_value,
        cast(opened_at as date) as opened_date,
        cast(solved_at as date) as solved_date,
        cast(escalated_at as date) as escalated_date
    from staging.stg_tickets
    where cast(opened_at as date) <= $last_date
),

ticket_days as (
    select
        account_days.account_id,
        account_days.as_of_date,
        tickets.sentiment_value,
        tickets.opened_date,
        tickets.solved_date is null or tickets.solved_date > account_days.as_of_date as is_open,
        tickets.opened_date > account_days.as_of_date - $sentiment_window_days as is_recent,
        tickets.escalated_date is not null
        and tickets.escalated_date <= account_days.as_of_date
        and tickets.escalated_date
        > account_days.as_of_date - $escalation_window_days as is_escalated
    from account_days
    inner join tickets
        on
            account_days.account_id = tickets.account_id
            and tickets.opened_date <= account_days.as_of_date
            and (
                tickets.solved_date is null
                or tickets.solved_date > account_days.as_of_date
                or tickets.opened_date > account_days.as_of_date - $sentiment_window_days
                or tickets.escalated_date > account_days.as_of_date - $escalation_window_days
            )
),

ticket_totals as (
    select
        account_id,
        as_of_date,
        count(*) filter (where is_open) as open_tickets,
        min(opened_date) filter (where is_open) as oldest_opened_date,
        count(sentiment_value) filter (where is_open or is_recent) as scoped_sentiments,
        cast(sum(sentiment_value) filter (where is_open or is_recent) as bigint) as sentiment_sum,
        count(*) filter (where is_escalated) as escalations_in_window
    from ticket_days
    group by account_id, as_of_date
)

select
    account_days.tenant_id,
    account_days.account_id,
    account_days.as_of_date,
    coalesce(ticket_totals.open_tickets, 0) as open_tickets,
    coalesce(ticket_totals.scoped_sentiments, 0) as scoped_sentiments,
    coalesce(ticket_totals.sentiment_sum, 0) as sentiment_sum,
    coalesce(ticket_totals.escalations_in_window, 0) as escalations_in_window,
    date_diff('day', ticket_totals.oldest_opened_date, account_days.as_of_date) as oldest_open_days
from account_days
left join ticket_totals
    on
        account_days.account_id = ticket_totals.account_id
        and account_days.as_of_date = ticket_totals.as_of_date
order by account_days.as_of_date, account_days.tenant_id, account_days.account_id
