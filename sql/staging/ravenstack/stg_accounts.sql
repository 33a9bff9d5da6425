-- Grain: one row per account.
-- Definition: an account starts on its signup_date and ends with its latest churn event, unless one of its
-- subscriptions started after that day (the account returned). accounts.churn_flag and the subscriptions do not
-- agree with the churn events, and only the events have a date. The segment is the industry, the only grouping of
-- customers in the data. Identifiers are compared without surrounding blanks.
-- Worked example: churned 2024-03-01 and 2024-05-01, last subscription started 2024-04-10 => churned_at 2024-05-01;
-- last subscription started 2024-05-02 => churned_at null.

with accounts as (
    select
        record_id as account_id,
        record ->> '$.account_name' as account_name,
        record ->> '$.industry' as industry,
        record ->> '$.plan_tier' as plan_tier,
        record ->> '$.signup_date' as signup_date,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from staging.ravenstack_records
    where kind = 'accounts'
),

last_churns as (
    select
        identifier_text(record ->> '$.account_id') as account_id,
        max(vendor_time(record ->> '$.churn_date')) as last_churned_at
    from staging.ravenstack_records
    where kind = 'churn_events'
    group by identifier_text(record ->> '$.account_id')
),

last_starts as (
    select
        identifier_text(record ->> '$.account_id') as account_id,
        max(vendor_time(record ->> '$.start_date')) as last_started_at
    from staging.ravenstack_records
    where kind = 'subscriptions'
    group by identifier_text(record ->> '$.account_id')
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
    cast(null as varchar) as valid_from,
    accounts._source_file,
    accounts._source_line,
    accounts._loaded_at,
    accounts._load_id
from accounts
left join last_churns
    on accounts.account_id = last_churns.account_id
left join last_starts
    on accounts.account_id = last_starts.account_id
order by accounts.account_id
