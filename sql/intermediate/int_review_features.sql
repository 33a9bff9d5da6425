-- Grain: one row per business review (int_review_periods) and feature with usage in its period or in the period before.
-- Definition (docs/signals.md, "Quarterly business reviews"): the events that name the feature, listed in the catalogue
-- or not. The metrics of the setting roi are computed from them.
-- Worked example: Q2 2026, exports with quantity 2 on 2026-06-30 and 8 on 2026-03-31 => events 2, events_previous 8.

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
        feature,
        events
    from intermediate.int_usage_daily
    where
        feature is not null
        and usage_date between $first_date - 184 and $last_date
),

review_usage as (
    select
        review_periods.tenant_id,
        review_periods.account_id,
        review_periods.as_of_date,
        review_periods.period,
        review_periods.trigger,
        usage_daily.feature,
        usage_daily.events,
        usage_daily.usage_date >= review_periods.period_start as is_in_period
    from review_periods
    inner join usage_daily
        on
            review_periods.account_id = usage_daily.account_id
            and usage_daily.usage_date >= review_periods.previous_start
            and usage_daily.usage_date <= review_periods.period_end
)

select
    tenant_id,
    account_id,
    as_of_date,
    period,
    trigger,
    feature,
    coalesce(cast(sum(events) filter (where is_in_period) as bigint), 0) as events,
    coalesce(cast(sum(events) filter (where not is_in_period) as bigint), 0) as events_previous
from review_usage
group by tenant_id, account_id, as_of_date, period, trigger, feature
order by as_of_date, tenant_id, account_id, period, trigger, feature
