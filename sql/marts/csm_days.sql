-- Grain: one row per day for which scoring has started.
-- Definition: the status of the day. Complete and accepted days count; the other marts, the published copy and Notion
-- show no other day. A scored day without a status was scored by a version without statuses, and is complete.
-- Worked example: portfolio_swing fails on 2026-06-30 with 200 accounts scored => held, portfolio_swing, 200.

with scored_days as (
    select
        as_of_date,
        count(*) as accounts,
        max(scored_at) as scored_at
    from marts.csm_health_scores
    group by as_of_date
),

statuses as (
    select
        as_of_date,
        status,
        failed_checks,
        message,
        accepted_by,
        changed_at
    from run.days_status
)

select
    coalesce(statuses.as_of_date, scored_days.as_of_date) as as_of_date,
    coalesce(statuses.status, 'complete') as status,
    coalesce(statuses.failed_checks, '') as failed_checks,
    coalesce(statuses.message, '') as message,
    statuses.accepted_by,
    coalesce(scored_days.accounts, 0) as accounts,
    coalesce(statuses.changed_at, scored_days.scored_at) as changed_at
from statuses
full join scored_days
    on statuses.as_of_date = scored_days.as_of_date
order by coalesce(statuses.as_of_date, scored_days.as_of_date)
