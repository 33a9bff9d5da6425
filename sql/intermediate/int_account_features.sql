-- Grain: one row per account, day of the run and feature released by that day and still listed at its end, in the
-- account's plan or not.
-- Definition (docs/signals.md, feature_adoption_rate): a feature is in the plan where its own plan is null or the
-- account's; it is adopted with at least one event of the account in the last $adoption_window_days days. Module, plan
-- and display name are those of the version that is valid at T, the first instant after as_of_date. A feature that is
-- no longer listed counts until it is closed: valid_to of its version is null or not before T.
-- Worked example: window 28; one event on 2026-06-01 => adopted as of 2026-06-01 to 2026-06-28.

with account_days as (
    select
        tenant_id,
        account_id,
        as_of_date,
        plan
    from intermediate.int_account_days
    where as_of_date between $first_date and $last_date
),

feature_versions as (
    select
        versions.feature,
        versions.module,
        versions.plan,
        versions.display_name,
        cast(features.released_at as date) as released_date,
        cast(versions.valid_from as date) as first_date,
        cast(versions.valid_to as date) as end_date,
        row_number() over (partition by versions.feature order by versions.valid_from) as position
    from staging.stg_features as features
    inner join staging.stg_feature_versions as versions
        on features.feature = versions.feature
),

run_days as (
    select as_of_date
    from run.days
),

user_days as (
    select
        account_id,
        feature,
        user_id,
        usage_date,
        events,
        lead(usage_date) over (
            partition by account_id, feature, user_id
            order by usage_date
        ) as next_usage_date
    from intermediate.int_usage_daily
    where
        feature is not null
        and usage_date > $first_date - $adoption_window_days
        and usage_date <= $last_date
),

-- A user counts once per day: from a day of usage until the next one, or until the end of the window.
active_users as (
    select
        user_days.account_id,
        user_days.feature,
        run_days.as_of_date,
        cast(count(*) as bigint) as users
    from user_days
    inner join run_days
        on
            run_days.as_of_date >= user_days.usage_date
            and run_days.as_of_date < user_days.usage_date + $adoption_window_days
            and (
                user_days.next_usage_date is null or run_days.as_of_date < user_days.next_usage_date
            )
    where user_days.user_id is not null
    group by user_days.account_id, user_days.feature, run_days.as_of_date
),

feature_days as (
    select
        account_id,
        feature,
        usage_date,
        cast(sum(events) as bigint) as events
    from user_days
    group by account_id, feature, usage_date
),

feature_usage as (
    select
        feature_days.account_id,
        feature_days.feature,
        run_days.as_of_date,
        cast(sum(feature_days.events) as bigint) as events
    from feature_days
    inner join run_days
        on
            run_days.as_of_date >= feature_days.usage_date
            and run_days.as_of_date < feature_days.usage_date + $adoption_window_days
    group by feature_days.account_id, feature_days.feature, run_days.as_of_date
)

select
    account_days.tenant_id,
    account_days.account_id,
    account_days.as_of_date,
    feature_versions.feature,
    feature_versions.module,
    feature_versions.display_name,
    feature_versions.plan is null
    or coalesce(feature_versions.plan = account_days.plan, false) as in_plan,
    coalesce(active_users.users, 0) as users_in_window,
    coalesce(feature_usage.events, 0) as events_in_window,
    feature_usage.events is not null as adopted
from account_days
inner join feature_versions
    on
        (
            feature_versions.released_date is null
            or feature_versions.released_date <= account_days.as_of_date
        )
        and (
            feature_versions.position = 1
            or feature_versions.first_date <= account_days.as_of_date
        )
        and (
            feature_versions.end_date is null
            or feature_versions.end_date > account_days.as_of_date
        )
left join feature_usage
    on
        account_days.account_id = feature_usage.account_id
        and account_days.as_of_date = feature_usage.as_of_date
        and feature_versions.feature = feature_usage.feature
left join active_users
    on
        account_days.account_id = active_users.account_id
        and account_days.as_of_date = active_users.as_of_date
        and feature_versions.feature = active_users.feature
order by
    account_days.as_of_date,
    account_days.tenant_id,
    account_days.account_id,
    feature_versions.feature
