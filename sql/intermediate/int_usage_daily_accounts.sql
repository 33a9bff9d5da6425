-- Grain: one row per account and UTC day with at least one usage event.
-- Definition: int_usage_daily without users and features: small enough to ask "ever?" of the whole history.
-- Worked example: rows of (events 4, logins 1) and (events 2, logins 0) on one day => events 6, logins 1.

with pending_days as (
    select usage_date
    from run.pending_account_usage_days
),

usage_daily as (
    select
        account_id,
        usage_date,
        events,
        logins
    from intermediate.int_usage_daily
    where usage_date between $first_date and $last_date
),

account_daily as (
    select
        usage_daily.account_id,
        usage_daily.usage_date,
        cast(sum(usage_daily.events) as bigint) as events,
        cast(sum(usage_daily.logins) as bigint) as logins
    from usage_daily
    inner join pending_days
        on usage_daily.usage_date = pending_days.usage_date
    group by usage_daily.account_id, usage_daily.usage_date
)

select
    account_id,
    usage_date,
    events,
    logins
from account_daily
order by usage_date, account_id
