-- Grain: one row per account and record of it.
-- Definition: an account starts on its signup_date and ends with its latest churn event, unless one of its
-- subscriptions started after that day (it came back). Neither accounts.churn_flag nor the subscriptions agree with the
-- churn events, and only the events have a date. Segment is the industry, the one grouping of customers that there is.
-- Worked example: churned 2024-03-01 and 2024-05-01, last subscription started 2024-04-10 => churned_at 2024-05-01;
-- last subscription started 2024-05-02 => churned_at null.

with accounts as (
    select
        account_id,
        account_name,
        industry,
        plan_tier,
        signup_date,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.ravenstack__accounts
),

latest_subscriptions as (
    select
        account_id,
        start_date
    from raw.ravenstack__subscriptions
    qualify
        row_number() over (
            partition by subscription_id order by _load_id desc, _source_file desc, _source_line desc
        ) = 1
),

last_churns as (
    select
        record ->> '$.account_id' as account_id,
        max(vendor_time(record ->> '$.churn_date')) as last_churned_at
    from staging.ravenstack_records
    where kind = 'churn_events'
    group by record ->> '$.account_id'
),

-- A subscription whose start does not parse is rejected where it is staged.
last_starts as (
    select
        account_id,
        max(vendor_time(start_date)) as last_started_at
    from latest_subscriptions
    group by account_id
)

select
    accounts.account_id,
    accounts.account_name,
    cast(null as varchar) as tenant_id,
    accounts.industry as segment,
    accounts.plan_tier as plan,
    cast(null as varchar) as csm_owner,
    accounts.signup_date as created_at,
    case
        when last_starts.last_started_at > last_churns.last_churned_at then null
        else last_churns.last_churned_at
    end as churned_at,
    accounts._source_file,
    accounts._source_line,
    accounts._loaded_at,
    accounts._load_id
from accounts
left join last_churns
    on accounts.account_id = last_churns.account_id
left join last_starts
    on accounts.account_id = last_starts.account_id
order by accounts.account_id, accounts._load_id, accounts._source_file, accounts._source_line
