-- Grain: one row per statement that an item of a subscription had a quantity and a price from a time on.
-- Definition: four kinds of statement. The current record (kind 3) and every version of it in Stripe's events (kind 2)
-- speak for all items of the subscription at once; so does a regular invoice, by the lines that bill an item for the
-- period they begin (kind 1). A line of a proration (kind 0) speaks for its item only, from the moment of the change; those that give
-- money back say nothing. Metered items have no seats. A price without a unit amount, such as a tiered one, is not known.
-- When the current record came about is not told: it is dated by the period that it is in.
-- Worked example: a line "5 seats, 1 January to 1 February" => quantity 5 from 1 January; a proration "8 seats, 15
-- January to 1 February" => quantity 8 from 15 January.

with event_records as (
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.stripe__events
),

events as (
    select
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from event_records
    qualify row_number() over (
        partition by _source, record ->> '$.id'
        order by _loaded_at desc, _load_id desc, _source_file desc, _source_line desc
    ) = 1
),

invoice_records as (
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.stripe__invoices
    union all
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.stripe__airbyte_invoices
),

invoices as (
    select
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from invoice_records
    qualify row_number() over (
        partition by _source, record ->> '$.id'
        order by _loaded_at desc, _load_id desc, _source_file desc, _source_line desc
    ) = 1
),

invoice_line_item_records as (
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.stripe__fivetran_invoice_line_item
),

invoice_line_items as (
    select
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from invoice_line_item_records
    qualify row_number() over (
        partition by _source, record ->> '$.id'
        order by _loaded_at desc, _load_id desc, _source_file desc, _source_line desc
    ) = 1
),

subscription_item_records as (
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.stripe__fivetran_subscription_item
),

subscription_items as (
    select
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from subscription_item_records
    qualify row_number() over (
        partition by _source, record ->> '$.id'
        order by _loaded_at desc, _load_id desc, _source_file desc, _source_line desc
    ) = 1
),

price_records as (
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.stripe__fivetran_price
    union all
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.stripe__fivetran_plan
),

prices as (
    select
        _source,
        record ->> '$.id' as price_id,
        coalesce(record ->> '$.unit_amount', record ->> '$.unit_amount_decimal', record ->> '$.amount') as unit_amount,
        record ->> '$.currency' as currency,
        coalesce(record ->> '$.recurring_interval', record ->> '$.interval') as billing_interval,
        coalesce(record ->> '$.recurring_interval_count', record ->> '$.interval_count', '1') as interval_count,
        coalesce(record ->> '$.recurring_usage_type', record ->> '$.usage_type', 'licensed') as usage_type
    from price_records
    qualify row_number() over (partition by _source, record ->> '$.id' order by _load_id desc, _source_line desc) = 1
),

versions as (
    select _source, record as subscription, items, null as stated, 3 as kind
    from staging.stripe_subscriptions
    union all
    select
        _source,
        cast(record -> '$.data.object' as varchar) as subscription,
        coalesce(record -> '$.data.object.items.data', json_array(record -> '$.data.object')) as items,
        record ->> '$.created' as stated,
        2 as kind
    from events
    where record ->> '$.type' in ('customer.subscription.created', 'customer.subscription.updated')
),

version_items as (
    select _source, subscription, stated, kind, unnest(cast(items as json[])) as item
    from versions
    where items is not null
),

invoice_lines as (
    select
        _source,
        record as invoice,
        unnest(cast(json_extract(record ->> '$.lines', '$.data') as json[])) as line
    from invoices
    where
        json_valid(record ->> '$.lines')
        and coalesce(lower(record ->> '$.status'), '') not in ('draft', 'void', 'deleted')
),

stated as (
    select
        _source,
        kind,
        subscription ->> '$.id' as subscription_id,
        item ->> '$.id' as item_id,
        item ->> '$.quantity' as quantity,
        coalesce(item ->> '$.price.unit_amount', item ->> '$.price.unit_amount_decimal', item ->> '$.plan.amount') as unit_amount,
        lower(coalesce(item ->> '$.price.currency', item ->> '$.plan.currency', subscription ->> '$.currency')) as currency,
        coalesce(item ->> '$.price.recurring.interval', item ->> '$.plan.interval') as billing_interval,
        coalesce(item ->> '$.price.recurring.interval_count', item ->> '$.plan.interval_count', '1') as interval_count,
        coalesce(item ->> '$.price.recurring.usage_type', item ->> '$.plan.usage_type', 'licensed') as usage_type,
        coalesce(item ->> '$.current_period_start', subscription ->> '$.current_period_start') as period_start,
        coalesce(item ->> '$.current_period_end', subscription ->> '$.current_period_end') as period_end,
        stated as stated_at,
        '1' as amount
    from version_items
    union all
    select
        items._source,
        3 as kind,
        items.record ->> '$.subscription_id' as subscription_id,
        items.record ->> '$.id' as item_id,
        items.record ->> '$.quantity' as quantity,
        prices.unit_amount,
        prices.currency,
        prices.billing_interval,
        prices.interval_count,
        prices.usage_type,
        items.record ->> '$.current_period_start' as period_start,
        items.record ->> '$.current_period_end' as period_end,
        null as stated_at,
        '1' as amount
    from subscription_items as items
    left join prices
        on prices._source = items._source
        and prices.price_id = coalesce(items.record ->> '$.price_id', items.record ->> '$.plan_id')
    union all
    select
        _source,
        case
            when
                lower(coalesce(
                    line ->> '$.proration',
                    line ->> '$.parent.subscription_item_details.proration',
                    line ->> '$.parent.invoice_item_details.proration'
                )) = 'true'
                then 0
            else 1
        end as kind,
        coalesce(
            line ->> '$.subscription',
            line ->> '$.parent.subscription_item_details.subscription',
            line ->> '$.parent.invoice_item_details.subscription',
            invoice ->> '$.parent.subscription_details.subscription',
            invoice ->> '$.subscription'
        ) as subscription_id,
        coalesce(
            line ->> '$.subscription_item', line ->> '$.parent.subscription_item_details.subscription_item'
        ) as item_id,
        line ->> '$.quantity' as quantity,
        coalesce(
            line ->> '$.price.unit_amount', line ->> '$.plan.amount', line ->> '$.pricing.unit_amount_decimal'
        ) as unit_amount,
        line ->> '$.currency' as currency,
        coalesce(line ->> '$.price.recurring.interval', line ->> '$.plan.interval') as billing_interval,
        coalesce(line ->> '$.price.recurring.interval_count', line ->> '$.plan.interval_count', '1') as interval_count,
        coalesce(line ->> '$.price.recurring.usage_type', line ->> '$.plan.usage_type', 'licensed') as usage_type,
        line ->> '$.period.start' as period_start,
        line ->> '$.period.end' as period_end,
        line ->> '$.period.start' as stated_at,
        line ->> '$.amount' as amount
    from invoice_lines
    union all
    select
        lines._source,
        case when lower(coalesce(lines.record ->> '$.proration', 'false')) = 'true' then 0 else 1 end as kind,
        lines.record ->> '$.subscription_id' as subscription_id,
        lines.record ->> '$.subscription_item_id' as item_id,
        lines.record ->> '$.quantity' as quantity,
        prices.unit_amount,
        lines.record ->> '$.currency' as currency,
        prices.billing_interval,
        prices.interval_count,
        prices.usage_type,
        lines.record ->> '$.period_start' as period_start,
        lines.record ->> '$.period_end' as period_end,
        lines.record ->> '$.period_start' as stated_at,
        lines.record ->> '$.amount' as amount
    from invoice_line_items as lines
    left join prices
        on prices._source = lines._source
        and prices.price_id = coalesce(lines.record ->> '$.price_id', lines.record ->> '$.plan_id')
),

numbers as (
    select
        _source,
        kind,
        subscription_id,
        item_id,
        case when usage_type = 'metered' then 0 else try_cast(quantity as bigint) end as seats,
        case when usage_type = 'metered' then 0 else try_cast(unit_amount as double) end as unit_amount,
        lower(currency) as currency,
        billing_interval,
        coalesce(try_cast(interval_count as integer), 1) as interval_count,
        try_cast(coalesce(cast(make_timestamp(try_cast(coalesce(stated_at, period_start) as bigint) * 1000000) as varchar), coalesce(stated_at, period_start)) as timestamp) as stated_at,
        try_cast(coalesce(cast(make_timestamp(try_cast(period_end as bigint) * 1000000) as varchar), period_end) as timestamp) as period_end
    from stated
    where item_id is not null and subscription_id is not null and coalesce(try_cast(amount as bigint), 0) >= 0
)

select
    _source,
    kind,
    subscription_id,
    item_id,
    seats,
    currency,
    case billing_interval when 'year' then 12 * interval_count when 'month' then interval_count else 0 end
        as billing_months,
    seats * unit_amount * case billing_interval
        when 'year' then cast(1 as double) / (12 * interval_count)
        when 'month' then cast(1 as double) / interval_count
        when 'week' then cast(52 as double) / (12 * interval_count)
        when 'day' then cast(365 as double) / (12 * interval_count)
    end / case
        when
            currency in (
                'bif', 'clp', 'djf', 'gnf', 'jpy', 'kmf', 'krw', 'mga', 'pyg', 'rwf', 'vnd', 'vuv', 'xaf', 'xof', 'xpf'
            )
            then 1
        when currency in ('bhd', 'iqd', 'jod', 'kwd', 'lyd', 'omr', 'tnd') then 1000
        else 100
    end as mrr,
    stated_at,
    period_end
from numbers
order by _source, subscription_id, item_id, stated_at, kind
