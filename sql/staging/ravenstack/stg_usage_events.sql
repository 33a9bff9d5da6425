-- Grain: one row per usage row, which has the count of a subscription, feature and day.
-- Definition: the account is that of the subscription. Users are not recorded, so user_id is null; hours are not
-- recorded, so the time is the first instant of the day. 21 values of usage_id appear on two rows that differ in
-- subscription, day and count: these are different rows whose random ids are equal by chance, so the key is usage_id
-- and subscription_id. Rows outside the life of their subscription are kept: the account used the product on that
-- day. Identifiers are compared without surrounding blanks. A row of a subscription that does not exist or has no
-- account is rejected before this model.
-- Worked example: U-1c6c24 of S-0fcf7d, feature_20, 2023-07-27, 9 => event 'U-1c6c24/S-0fcf7d', quantity 9.

with usage_rows as (
    select
        identifier_text(record ->> '$.usage_id') as usage_id,
        identifier_text(record ->> '$.subscription_id') as subscription_id,
        record ->> '$.usage_date' as usage_date,
        record ->> '$.feature_name' as feature_name,
        record ->> '$.usage_count' as usage_count,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from staging.ravenstack_records
    where kind = 'feature_usage'
),

latest_subscriptions as (
    select
        identifier_text(subscription_id) as subscription_id,
        arg_max(account_id, (_load_id, _source_file, _source_line)) as account_id
    from raw.ravenstack__subscriptions
    where is_given(account_id)
    group by identifier_text(subscription_id)
)

select
    usage_rows.usage_id || '/' || usage_rows.subscription_id as event_id,
    latest_subscriptions.account_id,
    cast(null as varchar) as user_id,
    'feature_used' as event_name,
    usage_rows.feature_name as feature,
    usage_rows.usage_count as quantity,
    usage_rows.usage_date as occurred_at,
    usage_rows._source_file,
    usage_rows._source_line,
    usage_rows._loaded_at,
    usage_rows._load_id
from usage_rows
left join latest_subscriptions
    on usage_rows.subscription_id = latest_subscriptions.subscription_id
