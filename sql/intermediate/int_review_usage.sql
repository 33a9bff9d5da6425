-- Grain: one row per business review (int_review_periods) with usage in its period or in the period before.
-- Definition (docs/signals.md, "Quarterly business reviews"): users, events and features of the period and of the
-- period before. A feature counts on the days on which the catalogue lists it.
-- Worked example: Q2 2026, events of 2 on 2026-06-30, of 8 on 2026-03-31 and of 16 on 2026-07-01 => events 2,
-- events_previous 8.

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

-- A quarter has at most 92 days: with the period before it, a review looks back 184 days.
usage_daily as (
    select
        account_id,
        usage_date,
        user_id,
        feature,
        events
    from intermediate.int_usage_daily
    where usage_date between $first_date - 184 and $last_date
),

listed_features as (
    select
        feature,
        cast(valid_from as date) as first_date,
        cast(valid_to as date) as end_date,
        row_number() over (partition by feature order by valid_from) as position
    from staging.stg_feature_versions
),

review_usage as (
    select
        review_periods.tenant_id,
        review_periods.account_id,
        review_periods.as_of_date,
        review_periods.period,
        review_periods.trigger,
        usage_daily.user_id,
        usage_daily.events,
        listed_features.feature,
        usage_daily.usage_date >= review_periods.period_start as is_in_period
    from review_periods
    inner join usage_daily
        on
            review_periods.account_id = usage_daily.account_id
            and usage_daily.usage_date >= review_periods.previous_start
            and usage_daily.usage_date <= review_periods.period_end
    left join listed_features
        on
            usage_daily.feature = listed_features.feature
            and (
                listed_features.position = 1
                or listed_features.first_date <= usage_daily.usage_date
            )
            and (
                listed_features.end_date is null
                or listed_features.end_date > usage_daily.usage_date
            )
)

select
    tenant_id,
    account_id,
    as_of_date,
    period,
    trigger,
    count(distinct case when is_in_period then user_id end) as active_users,
    count(distinct case when not is_in_period then user_id end) as active_users_previous,
    coalesce(cast(sum(events) filter (where is_in_period) as bigint), 0) as events,
    coalesce(cast(sum(events) filter (where not is_in_period) as bigint), 0) as events_previous,
    count(distinct case when is_in_period then feature end) as adopted_features,
    count(distinct case when not is_in_period then feature end) as adopted_features_previous
from review_usage
group by tenant_id, account_id, as_of_date, period, trigger
order by as_of_date, tenant_id, account_id, period, trigger
