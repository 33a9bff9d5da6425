-- Grain: one row per business review (int_review_periods) with a ticket solved in its period or in the period before.
-- Definition (docs/signals.md, "Quarterly business reviews"): tickets by the day on which they were solved, and the
-- median of the hours from opening to solving.
-- Worked example: solved in the period after 2, 3 and 10 hours => tickets_solved 3, median_hours_to_solve 3.0.

with review_periods as (
    select
        tenant_id,
        account_id,
        as_of_date,
        period,
        trigger,
        period_start,
        period_end,
        previous_start
    from intermediate.int_review_periods
    where as_of_date between $first_date and $last_date
),

solved_tickets as (
    select
        review_periods.tenant_id,
        review_periods.account_id,
        review_periods.as_of_date,
        review_periods.period,
        review_periods.trigger,
        cast(tickets.solved_at as date) >= review_periods.period_start as is_in_period,
        -- Whole seconds on both sides, as engines differ in how they round fractions. Not with date_trunc nor
        -- date_diff('second', ...): Spark evaluates them in the session's time zone, where hours are skipped.
        date_diff('day', cast(tickets.opened_at as date), cast(tickets.solved_at as date)) * 86400
        + (hour(tickets.solved_at) - hour(tickets.opened_at)) * 3600
        + (minute(tickets.solved_at) - minute(tickets.opened_at)) * 60
        + second(tickets.solved_at) - second(tickets.opened_at) as seconds_to_solve,
        tickets.ticket_id
    from review_periods
    inner join staging.stg_tickets as tickets
        on
            review_periods.account_id = tickets.account_id
            and cast(tickets.solved_at as date) >= review_periods.previous_start
            and cast(tickets.solved_at as date) <= review_periods.period_end
),

ranked_tickets as (
    select
        tenant_id,
        account_id,
        as_of_date,
        period,
        trigger,
        is_in_period,
        seconds_to_solve,
        row_number() over (
            partition by tenant_id, account_id, as_of_date, period, trigger, is_in_period
            order by seconds_to_solve, ticket_id
        ) as duration_rank,
        count(*) over (
            partition by tenant_id, account_id, as_of_date, period, trigger, is_in_period
        ) as tickets
    from solved_tickets
),

-- The median is the mean of the one or two middle tickets: of n tickets, those at (n + 1) // 2 and (n + 2) // 2.
marked_tickets as (
    select
        tenant_id,
        account_id,
        as_of_date,
        period,
        trigger,
        is_in_period,
        case
            when duration_rank in ((tickets + 1) // 2, (tickets + 2) // 2) then seconds_to_solve
        end as middle_seconds
    from ranked_tickets
),

review_tickets as (
    select
        tenant_id,
        account_id,
        as_of_date,
        period,
        trigger,
        count(*) filter (where is_in_period) as tickets_solved,
        count(*) filter (where not is_in_period) as tickets_solved_previous,
        cast(sum(middle_seconds) filter (where is_in_period) as double)
        / nullif(count(middle_seconds) filter (where is_in_period), 0) as median_seconds,
        cast(sum(middle_seconds) filter (where not is_in_period) as double)
        / nullif(count(middle_seconds) filter (where not is_in_period), 0)
            as median_seconds_previous
    from marked_tickets
    group by tenant_id, account_id, as_of_date, period, trigger
)

-- An hour has 3600 seconds.
select
    tenant_id,
    account_id,
    as_of_date,
    period,
    trigger,
    tickets_solved,
    tickets_solved_previous,
    median_seconds / 3600 as median_hours_to_solve,
    median_seconds_previous / 3600 as median_hours_to_solve_previous
from review_tickets
order by as_of_date, tenant_id, account_id, period, trigger
