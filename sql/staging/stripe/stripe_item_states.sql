-- Grain: one row per statement that an item of a subscription had a quantity and a price from a time on.
-- Definition: four kinds of statement. The current record (kind 3) and every version of it in Stripe's events (kind 2)
-- state all items of the subscription. A line of a regular invoice (kind 1) and of a proration (kind 0) state their
-- item only, from the start of the period that they bill; lines that give money back state nothing. What a statement
-- does not state of its price is looked up by the price's id, then by the item, if the line's period fits the item's
-- interval. Metered items have no seats and no price per month. A price without a unit amount, such as a tiered one, is
-- not known. When the current record came about is not stated: `stated_at` is null for it.
-- Worked example: a line "5 seats, 1 January to 1 February" => quantity 5 from 1 January; a proration "8 seats, 15
-- January to 1 February" => quantity 8 from 15 January.

with stated as (
    select
        _source,
        kind,
        subscription_id,
        item_id,
        names_all_items,
        price_id,
        quantity,
        coalesce(currency, price_currency) as currency,
        case when price_currency is null or currency is null or price_currency = currency then unit_amount end
            as unit_amount,
        billing_interval,
        interval_count,
        usage_type,
        billing_scheme,
        package_size,
        package_round,
        stated_at,
        period_start,
        period_end,
        false as is_in_arrears
    from staging.stripe_items
    union all
    select
        _source,
        case when is_proration then 0 else 1 end as kind,
        subscription_id,
        item_id,
        false as names_all_items,
        price_id,
        quantity,
        currency,
        unit_amount,
        billing_interval,
        interval_count,
        usage_type,
        billing_scheme,
        package_size,
        package_round,
        period_start as stated_at,
        period_start,
        period_end,
        is_in_arrears
    from staging.stripe_lines
    where coalesce(amount, 0) >= 0
),

priced as (
    select
        stated._source,
        stated.kind,
        stated.subscription_id,
        stated.item_id,
        stated.names_all_items,
        stated.quantity,
        coalesce(stated.currency, prices.currency) as currency,
        coalesce(stated.unit_amount, prices.unit_amount) as unit_amount,
        coalesce(stated.billing_interval, prices.billing_interval) as billing_interval,
        case when stated.billing_interval is null then prices.interval_count else stated.interval_count end
            as interval_count,
        coalesce(stated.usage_type, prices.usage_type) as usage_type,
        coalesce(stated.billing_scheme, prices.billing_scheme) as billing_scheme,
        coalesce(stated.package_size, prices.package_size) as package_size,
        coalesce(stated.package_round, prices.package_round) as package_round,
        stated.stated_at,
        stated.period_start,
        stated.period_end,
        stated.is_in_arrears,
        date_diff('day', cast(stated.period_start as date), cast(stated.period_end as date)) as period_days
    from stated
    left join staging.stripe_prices as prices
        on prices._source = stated._source
        and prices.price_id = stated.price_id
        and (prices.currency = stated.currency or (stated.currency is null and prices.is_default))
),

items as (
    select
        _source,
        subscription_id,
        item_id,
        billing_interval,
        interval_count,
        usage_type,
        billing_scheme,
        package_size,
        package_round
    from priced
    where billing_interval is not null
    qualify row_number() over (
        partition by _source, subscription_id, item_id
        order by kind desc, stated_at desc, billing_interval, interval_count, usage_type, billing_scheme, package_size
    ) = 1
),

-- The bounds are days of the shortest and the longest billing period; a proration bills a part of one.
looked_up as (
    select
        priced._source,
        priced.kind,
        priced.subscription_id,
        priced.item_id,
        priced.names_all_items,
        priced.quantity,
        priced.currency,
        priced.unit_amount,
        priced.is_in_arrears,
        priced.stated_at,
        priced.period_start,
        priced.period_end,
        priced.billing_interval is null and items.billing_interval is not null
        and priced.period_days <= items.interval_count
        * case items.billing_interval when 'year' then 366 when 'month' then 31 when 'week' then 7 else 1 end
        and (
            priced.kind = 0
            or priced.period_days >= items.interval_count
            * case items.billing_interval when 'year' then 365 when 'month' then 28 when 'week' then 7 else 1 end
        ) as is_by_item,
        priced.billing_interval,
        priced.interval_count,
        priced.usage_type,
        priced.billing_scheme,
        priced.package_size,
        priced.package_round,
        items.billing_interval as item_interval,
        items.interval_count as item_interval_count,
        items.usage_type as item_usage_type,
        items.billing_scheme as item_billing_scheme,
        items.package_size as item_package_size,
        items.package_round as item_package_round
    from priced
    left join items
        on items._source = priced._source
        and items.subscription_id = priced.subscription_id
        and items.item_id = priced.item_id
),

known as (
    select
        _source,
        kind,
        subscription_id,
        item_id,
        names_all_items,
        quantity,
        currency,
        unit_amount,
        case when is_by_item then item_interval else billing_interval end as billing_interval,
        case when is_by_item then item_interval_count else interval_count end as interval_count,
        coalesce(usage_type, item_usage_type, case when is_in_arrears then 'metered' else 'licensed' end) = 'metered'
            as is_metered,
        case when is_by_item then item_billing_scheme else billing_scheme end as billing_scheme,
        case when is_by_item then item_package_size else package_size end as package_size,
        case when is_by_item then item_package_round else package_round end as package_round,
        stated_at,
        period_start,
        period_end
    from looked_up
),

amounts as (
    select
        known._source,
        known.kind,
        known.subscription_id,
        known.item_id,
        known.names_all_items,
        case when known.is_metered then 0 else known.quantity end as seats,
        known.currency,
        case known.billing_interval
            when 'year' then 12 * known.interval_count
            when 'month' then known.interval_count
            when 'week' then 0
            when 'day' then 0
        end as billing_months,
        case known.billing_interval
            when 'year' then cast(1 as double) / (12 * nullif(known.interval_count, 0))
            when 'month' then cast(1 as double) / nullif(known.interval_count, 0)
            when 'week' then cast(52 as double) / (12 * nullif(known.interval_count, 0))
            when 'day' then cast(365 as double) / (12 * nullif(known.interval_count, 0))
        end as periods_per_month,
        case
            when known.package_size > 1 and known.package_round = 'down' then floor(known.quantity / known.package_size)
            when known.package_size > 1 then ceil(known.quantity / known.package_size)
            else known.quantity
        end as units,
        case when known.billing_scheme is distinct from 'tiered' then known.unit_amount end as unit_amount,
        coalesce(currencies.minor_units, 100) as minor_units,
        known.is_metered,
        known.stated_at,
        known.period_start,
        known.period_end
    from known
    left join staging.stripe_currencies as currencies on currencies.currency = known.currency
)

select
    _source,
    kind,
    subscription_id,
    item_id,
    names_all_items,
    seats,
    currency,
    billing_months,
    case when is_metered then cast(0 as double) else units * unit_amount * periods_per_month / minor_units end as mrr,
    stated_at,
    period_start,
    period_end
from amounts
order by _source, subscription_id, item_id, stated_at, kind
