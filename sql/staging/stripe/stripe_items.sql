-- Grain: one row per item and statement: the current record of its subscription, or an event.
-- Definition: the `statement_source` is `current_record` or `event`. Each contains the complete subscription at its
-- time. `names_all_items` is false for an event with a truncated list of items: it states only the items that it
-- has. A price or plan may be an object or only its id. The unit amount is that of the price, in the currency of the
-- price. Deleted items of landed tables are left out.
-- Worked example: price {id: p1, unit_amount: 2000, recurring: {interval: month}} => price_id p1, unit_amount 2000,
-- billing_interval month, interval_count 1.

with subscription_versions as (
    select
        _source,
        'current_record' as statement_source,
        subscription_id,
        currency,
        true as names_all_items,
        cast(null as timestamp) as stated_at,
        period_start,
        period_end,
        cast(items as varchar) as items
    from staging.stripe_subscriptions
    where ignored is null
    union all
    select
        records._source,
        'event' as statement_source,
        identifier_text(subscription ->> '$.id') as subscription_id,
        lower(trim(subscription ->> '$.currency')) as currency,
        not coalesce(flag(subscription ->> '$.items.has_more'), false) as names_all_items,
        vendor_time(records.record ->> '$.created') as stated_at,
        vendor_time(subscription ->> '$.current_period_start') as period_start,
        vendor_time(subscription ->> '$.current_period_end') as period_end,
        cast(
            coalesce(
                json_extract(subscription, '$.items.data'),
                case when subscription ->> '$.plan' is not null then json_array(subscription) end
            ) as varchar
        ) as items
    from (
        select
            _source,
            record,
            json_extract(
                case when json_valid(record ->> '$.data') then record ->> '$.data' end, '$.object'
            ) as subscription
        from staging.stripe_records
        where kind = 'events'
    ) as records
),

version_items as (
    select
        _source,
        statement_source,
        subscription_id,
        currency,
        names_all_items,
        stated_at,
        period_start,
        period_end,
        unnest(cast(items as json[])) as item
    from subscription_versions
    where items is not null
),

items as (
    select
        _source,
        statement_source,
        subscription_id,
        identifier_text(item ->> '$.id') as item_id,
        names_all_items,
        stated_at,
        coalesce(reference_id(item ->> '$.price'), reference_id(item ->> '$.plan')) as price_id,
        whole_number(item ->> '$.quantity') as quantity,
        currency,
        lower(trim(coalesce(item ->> '$.price.currency', item ->> '$.plan.currency')))
            as price_currency,
        coalesce(
            plain_number(item ->> '$.price.unit_amount'),
            plain_number(item ->> '$.price.unit_amount_decimal'),
            plain_number(item ->> '$.plan.amount'),
            plain_number(item ->> '$.plan.amount_decimal')
        ) as unit_amount,
        lower(trim(coalesce(item ->> '$.price.recurring.interval', item ->> '$.plan.interval')))
            as billing_interval,
        whole_number(
            coalesce(item ->> '$.price.recurring.interval_count', item ->> '$.plan.interval_count')
        ) as interval_count,
        lower(
            trim(coalesce(item ->> '$.price.recurring.usage_type', item ->> '$.plan.usage_type'))
        ) as usage_type,
        lower(trim(coalesce(item ->> '$.price.billing_scheme', item ->> '$.plan.billing_scheme')))
            as billing_scheme,
        whole_number(
            coalesce(
                item ->> '$.price.transform_quantity.divide_by',
                item ->> '$.plan.transform_usage.divide_by'
            )
        ) as package_size,
        lower(trim(
            coalesce(
                item ->> '$.price.transform_quantity.round', item ->> '$.plan.transform_usage.round'
            )
        )) as package_round,
        coalesce(vendor_time(item ->> '$.current_period_start'), period_start) as period_start,
        coalesce(vendor_time(item ->> '$.current_period_end'), period_end) as period_end
    from version_items
    union all
    select
        records._source,
        'current_record' as statement_source,
        subscriptions.subscription_id,
        records.record_id as item_id,
        true as names_all_items,
        cast(null as timestamp) as stated_at,
        coalesce(
            reference_id(records.record ->> '$.price_id'),
            reference_id(records.record ->> '$.plan_id')
        ) as price_id,
        whole_number(records.record ->> '$.quantity') as quantity,
        subscriptions.currency,
        cast(null as varchar) as price_currency,
        cast(null as double) as unit_amount,
        cast(null as varchar) as billing_interval,
        cast(null as bigint) as interval_count,
        cast(null as varchar) as usage_type,
        cast(null as varchar) as billing_scheme,
        cast(null as bigint) as package_size,
        cast(null as varchar) as package_round,
        coalesce(
            vendor_time(records.record ->> '$.current_period_start'), subscriptions.period_start
        ) as period_start,
        coalesce(vendor_time(records.record ->> '$.current_period_end'), subscriptions.period_end)
            as period_end
    from staging.stripe_records as records
    inner join staging.stripe_subscriptions as subscriptions
        on
            subscriptions._source = records._source
            and subscriptions.subscription_id
            = coalesce(
                reference_id(records.record ->> '$.subscription_id'),
                reference_id(records.record ->> '$.subscription')
            )
    where
        records.kind = 'subscription_items'
        and not records.is_deleted
        and subscriptions.ignored is null
)

select
    _source,
    statement_source,
    subscription_id,
    item_id,
    names_all_items,
    stated_at,
    price_id,
    quantity,
    currency,
    price_currency,
    unit_amount,
    billing_interval,
    case when billing_interval is not null then coalesce(interval_count, 1) end as interval_count,
    usage_type,
    billing_scheme,
    package_size,
    package_round,
    period_start,
    period_end
from items
where subscription_id is not null and item_id is not null
order by _source, subscription_id, item_id, statement_source, stated_at
