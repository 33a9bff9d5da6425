-- Grain: one row per account and UTC day with at least one usage event.
-- Definition: int_usage_daily summed over users and features, with whether any event names a user or a feature. It is
-- small enough to answer "has the account ever ...?" from the whole history.
-- Worked example: user u with (events 4, logins 1), no user with (events 2, logins 0) => 6, 1 and names_user.

with pending_days as (
    select usage_date
    from run.pending_account_usage_days
),

usage_daily as (
    select
        account_id,
        usage_date,
        user_id,
        feature,
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
        cast(sum(usage_daily.logins) as bigint) as logins,
        bool_or(usage_daily.user_id is not null) as names_user,
        bool_or(usage_daily.feature is not null) as names_feature
    from usage_daily
    inner join pending_days
        on usage_daily.usage_date = pending_days.usage_date
    group by usage_daily.account_id, usage_daily.usage_date
)

select
    account_id,
    usage_date,
    events,
    logins,
    names_user,
    names_feature
from account_daily
order by usage_date, account_id
