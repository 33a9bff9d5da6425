-- Grain: one row per account of the population and day of the run.
-- Definition (docs/signals.md): the facts behind usage_trend, login_frequency_days and
-- seats_utilization_rate: events of the trend window and of the window before it, login days, the
-- last login and active users. Beside them, what events before T can show: whether an event of the
-- account names a user, and whether an event of the tenant names a feature.
-- Worked example: trend window 28, events of 5 on D - 27 and of 7 on D - 28 => events_in_window 5,
-- events_in_window_before 7.

with account_days as (
    select
        tenant_id,
        account_id,
        as_of_date
    from intermediate.int_account_days
    where as_of_date between $first_date and $last_date
),

run_days as (
    select as_of_date
    from run.days
),

accounts as (
    select
        tenant_id,
        account_id
    from staging.stg_accounts
),

recent_days as (
    select
        account_id,
        usage_date,
        events,
        logins
    from intermediate.int_usage_daily_accounts
    where
        usage_date > $first_date - greatest(2 * $trend_window_days, $login_window_days)
        and usage_date <= $last_date
),

usage_windows as (
    select
        recent_days.account_id,
        run_days.as_of_date,
        cast(
            sum(recent_days.events) filter (
                where recent_days.usage_date > run_days.as_of_date - $trend_window_days
            ) as bigint
        ) as events_in_window,
        cast(
            sum(recent_days.events) filter (
                where
                recent_days.usage_date <= run_days.as_of_date - $trend_window_days
                and recent_days.usage_date > run_days.as_of_date - 2 * $trend_window_days
            ) as bigint
        ) as events_in_window_before,
        count(*) filter (
            where
            recent_days.logins > 0
            and recent_days.usage_date > run_days.as_of_date - $login_window_days
        ) as login_days_in_window,
        max(recent_days.usage_date) filter (
            where
            recent_days.logins > 0
            and recent_days.usage_date > run_days.as_of_date - $login_window_days
        ) as last_login_date
    from recent_days
    inner join run_days
        on
            recent_days.usage_date <= run_days.as_of_date
            and recent_days.usage_date
            > run_days.as_of_date - greatest(2 * $trend_window_days, $login_window_days)
    group by recent_days.account_id, run_days.as_of_date
),

first_days as (
    select
        account_id,
        min(usage_date) as first_usage_date,
        min(usage_date) filter (where logins > 0) as first_login_date,
        min(usage_date) filter (where names_user) as first_user_date,
        min(usage_date) filter (where names_feature) as first_feature_date
    from intermediate.int_usage_daily_accounts
    group by account_id
),

-- All accounts of the tenant, including those outside the population.
tenant_first_days as (
    select
        accounts.tenant_id,
        min(first_days.first_feature_date) as first_feature_date
    from first_days
    inner join accounts
        on first_days.account_id = accounts.account_id
    group by accounts.tenant_id
),

user_days as (
    select distinct
        account_id,
        user_id,
        usage_date
    from intermediate.int_usage_daily
    where
        user_id is not null
        and usage_date > $first_date - $active_user_window_days
        and usage_date <= $last_date
),

user_spans as (
    select
        account_id,
        user_id,
        usage_date,
        lead(usage_date) over (
            partition by account_id, user_id
            order by usage_date
        ) as next_usage_date
    from user_days
),

-- A user counts once per day: from a day of usage until the next one, or until the end of the window.
active_users as (
    select
        user_spans.account_id,
        run_days.as_of_date,
        count(*) as users
    from user_spans
    inner join run_days
        on
            run_days.as_of_date >= user_spans.usage_date
            and run_days.as_of_date < user_spans.usage_date + $active_user_window_days
            and (
                user_spans.next_usage_date is null
                or run_days.as_of_date < user_spans.next_usage_date
            )
    group by user_spans.account_id, run_days.as_of_date
)

select
    account_days.tenant_id,
    account_days.account_id,
    account_days.as_of_date,
    coalesce(usage_windows.events_in_window, 0) as events_in_window,
    coalesce(usage_windows.events_in_window_before, 0) as events_in_window_before,
    coalesce(active_users.users, 0) as active_users_in_window,
    coalesce(usage_windows.login_days_in_window, 0) as login_days_in_window,
    cast(date_diff('day', usage_windows.last_login_date, account_days.as_of_date) as bigint)
        as days_since_last_login,
    coalesce(first_days.first_usage_date <= account_days.as_of_date, false) as ever_active,
    coalesce(first_days.first_login_date <= account_days.as_of_date, false) as ever_logged_in,
    coalesce(first_days.first_user_date <= account_days.as_of_date, false) as ever_named_user,
    coalesce(tenant_first_days.first_feature_date <= account_days.as_of_date, false)
        as tenant_ever_named_feature
from account_days
left join usage_windows
    on
        account_days.account_id = usage_windows.account_id
        and account_days.as_of_date = usage_windows.as_of_date
left join active_users
    on
        account_days.account_id = active_users.account_id
        and account_days.as_of_date = active_users.as_of_date
left join first_days
    on account_days.account_id = first_days.account_id
left join tenant_first_days
    on account_days.tenant_id = tenant_first_days.tenant_id
order by account_days.as_of_date, account_days.tenant_id, account_days.account_id
