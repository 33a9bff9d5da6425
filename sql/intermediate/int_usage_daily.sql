-- Grain: one row per account, UTC day, user and feature with at least one usage event.
-- Definition: usage events rolled up once, so that signals read days instead of events. Only the days with new or
-- changed events since the last roll-up (run.pending_usage_days) are computed and replaced.
-- Worked example: two events of 3 and 1 by user u1 on feature reports, one of them a login => events 4, logins 1.

with pending_days as (
    select usage_date
    from run.pending_usage_days
),

usage_events as (
    select
        account_id,
        user_id,
        feature,
        cast(occurred_at as date) as usage_date,
        quantity,
        case when event_name = $login_event_name then 1 else 0 end as is_login
    from staging.stg_usage_events
    where
        occurred_at >= cast($first_date as timestamp)
        and occurred_at < cast($last_date + 1 as timestamp)
),

daily as (
    select
        usage_events.account_id,
        usage_events.usage_date,
        usage_events.user_id,
        usage_events.feature,
        cast(sum(usage_events.quantity) as bigint) as events,
        cast(sum(usage_events.is_login) as bigint) as logins
    from usage_events
    inner join pending_days
        on usage_events.usage_date = pending_days.usage_date
    group by
        usage_events.account_id,
        usage_events.usage_date,
        usage_events.user_id,
        usage_events.feature
)

select
    account_id,
    usage_date,
    user_id,
    feature,
    events,
    logins
from daily
order by usage_date, account_id, user_id, feature
