-- Grain: one row per price (or plan) and currency in which it was charged.
-- Definition: price data from several sources, in this order: the record of the price, items of current
-- subscriptions, items in events, and invoice lines that contain it. Interval, usage type and package size are the
-- same in all currencies; the unit amount is in the currency of the row, and null for tiers or if it is not known.
-- `is_default` marks the currency of the price itself. Stripe's prices do not change, so a current record also
-- applies to earlier periods.
-- Worked example: a current invoice line has only price p1 and 2000 usd; an item of the current subscription has p1
-- with the interval month => p1, usd, 2000, month.

with price_records as (
    select
        _source,
        kind,
        record_id,
        record,
        case when json_valid(record ->> '$.recurring') then record ->> '$.recurring' end
            as recurring,
        coalesce(
            case
                when
                    json_valid(record ->> '$.transform_quantity')
                    then record ->> '$.transform_quantity'
            end,
            case
                when json_valid(record ->> '$.transform_usage') then record ->> '$.transform_usage'
            end
        ) as transform
    from staging.stripe_records
    where kind in ('prices', 'plans')
),

price_mentions as (
    select
        _source,
        case kind when 'prices' then 1 else 2 end as rank,
        record_id as price_id,
        lower(trim(record ->> '$.currency')) as currency,
        coalesce(
            plain_number(record ->> '$.unit_amount'),
            plain_number(record ->> '$.unit_amount_decimal'),
            plain_number(record ->> '$.amount'),
            plain_number(record ->> '$.amount_decimal')
        ) as unit_amount,
        lower(trim(coalesce(
            recurring ->> '$.interval', record ->> '$.recurring_interval', record ->> '$.interval'
        ))) as billing_interval,
        whole_number(coalesce(
            recurring ->> '$.interval_count',
            record ->> '$.recurring_interval_count',
            record ->> '$.interval_count',
            '1'
        )) as interval_count,
        lower(trim(coalesce(
            recurring ->> '$.usage_type',
            record ->> '$.recurring_usage_type',
            record ->> '$.usage_type'
        ))) as usage_type,
        lower(trim(record ->> '$.billing_scheme')) as billing_scheme,
        whole_number(coalesce(
            transform ->> '$.divide_by',
            record ->> '$.transform_quantity_divide_by',
            record ->> '$.transform_usage_divide_by'
        )) as package_size,
        lower(trim(coalesce(
            transform ->> '$.round',
            record ->> '$.transform_quantity_round',
            record ->> '$.transform_usage_round'
        ))) as package_round
    from price_records
    union all
    select
        _source,
        case statement_source when 'current_record' then 3 else 4 end as rank,
        price_id,
        coalesce(price_currency, currency) as currency,
        unit_amount,
        billing_interval,
        interval_count,
        usage_type,
        billing_scheme,
        package_size,
        package_round
    from staging.stripe_items
    where price_id is not null
    union all
    select
        _source,
        5 as rank,
        price_id,
        currency,
        unit_amount,
        billing_interval,
        interval_count,
        usage_type,
        billing_scheme,
        package_size,
        package_round
    from staging.stripe_lines
    where price_id is not null
    union all
    select
        _source,
        6 as rank,
        price_id,
        currency,
        cast(null as double) as unit_amount,
        cast(null as varchar) as billing_interval,
        cast(null as bigint) as interval_count,
        cast(null as varchar) as usage_type,
        cast(null as varchar) as billing_scheme,
        cast(null as bigint) as package_size,
        cast(null as varchar) as package_round
    from staging.stripe_items
    where price_id is not null
),

prices as (
    select
        _source,
        price_id,
        currency as default_currency,
        billing_interval,
        interval_count,
        usage_type,
        billing_scheme,
        package_size,
        package_round
    from price_mentions
    qualify row_number() over (
        partition by _source, price_id
        order by
            billing_interval is null, rank, currency nulls last, billing_interval, interval_count,
            usage_type nulls last,
            billing_scheme nulls last,
            package_size nulls last,
            package_round nulls last
    ) = 1
),

price_amounts as (
    select
        _source,
        price_id,
        currency,
        unit_amount
    from price_mentions
    qualify row_number() over (
        partition by _source, price_id, currency order by unit_amount is null, rank, unit_amount
    ) = 1
)

select
    price_amounts._source,
    price_amounts.price_id,
    price_amounts.currency,
    (price_amounts.currency is not distinct from prices.default_currency) as is_default,
    case when (prices.billing_scheme is distinct from 'tiered') then price_amounts.unit_amount end
        as unit_amount,
    prices.billing_interval,
    prices.interval_count,
    prices.usage_type,
    prices.billing_scheme,
    prices.package_size,
    prices.package_round
from price_amounts
inner join prices
    on prices._source = price_amounts._source and prices.price_id = price_amounts.price_id
order by price_amounts._source, price_amounts.price_id, price_amounts.currency
