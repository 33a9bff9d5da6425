-- Grain: one row per statement that a subscription item has a quantity and a price from a time on.
-- Definition: a statement has one of four sources. The current record (`current_record`) and each version of it in
-- Stripe's events (`event`) state all items of the subscription. A line of a regular invoice (`invoice_line`) or of
-- a proration (`proration`) states only its own item, from the start of the billed period; lines with a refund state
-- nothing. Of statements at the same time, the one with the highest `priority` counts. Price data that a statement
-- lacks is looked up by the id of the price, then by the item, if the period of the line fits the interval of the
-- item. Metered items have no seats and no monthly price. A price without a unit amount, such as a tiered one, is
-- null. The current record does not state when it became valid: its `stated_at` is null.
-- Worked example: a line "5 seats, 1 January to 1 February" => quantity 5 from 1 January; a proration "8 seats, 15
-- January to 1 February" => quantity 8 from 15 January.

with statements as (
    select
        _source,
        statement_source,
        case statement_source when 'current_record' then 3 else 2 end as priority,
        subscription_id,
        item_id,
        names_all_items,
        price_id,
        quantity,
        coalesce(currency, price_currency) as currency,
        case
            when
                price_currency is null or currency is null or price_currency = currency
                then unit_amount
        end as unit_amount,
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
        case when is_proration then 'proration' else 'invoice_line' end as statement_source,
        case when is_proration then 0 else 1 end as priority,
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

priced_statements as (
    select
        statements._source,
        statements.statement_source,
        statements.priority,
        statements.subscription_id,
        statements.item_id,
        statements.names_all_items,
        statements.quantity,
        coalesce(statements.currency, prices.currency) as currency,
        coalesce(statements.unit_amount, prices.unit_amount) as unit_amount,
        coalesce(statements.billing_interval, prices.billing_interval) as billing_interval,
        case
            when statements.billing_interval is null then prices.interval_count
            else statements.interval_count
        end as interval_count,
        coalesce(statements.usage_type, prices.usage_type) as usage_type,
        coalesce(statements.billing_scheme, prices.billing_scheme) as billing_scheme,
        coalesce(statements.package_size, prices.package_size) as package_size,
        coalesce(statements.package_round, prices.package_round) as package_round,
        statements.stated_at,
        statements.period_start,
        statements.period_end,
        statements.is_in_arrears,
        date_diff(
            'day', cast(statements.period_start as date), cast(statements.period_end as date)
        ) as period_days
    from statements
    left join staging.stripe_prices as prices
        on
            prices._source = statements._source
            and prices.price_id = statements.price_id
            and (
                prices.currency = statements.currency
                or (statements.currency is null and prices.is_default)
            )
),

item_intervals as (
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
    from priced_statements
    where billing_interval is not null
    qualify row_number() over (
        partition by _source, subscription_id, item_id
        order by
            priority desc,
            stated_at desc,
            billing_interval asc,
            interval_count asc,
            usage_type asc,
            billing_scheme asc,
            package_size asc
    ) = 1
),

-- The bounds are days of the shortest and the longest billing period; a proration bills a part of one.
item_priced_statements as (
    select
        priced_statements._source,
        priced_statements.statement_source,
        priced_statements.priority,
        priced_statements.subscription_id,
        priced_statements.item_id,
        priced_statements.names_all_items,
        priced_statements.quantity,
        priced_statements.currency,
        priced_statements.unit_amount,
        priced_statements.is_in_arrears,
        priced_statements.stated_at,
        priced_statements.period_start,
        priced_statements.period_end,
        priced_statements.billing_interval is null and item_intervals.billing_interval is not null
        and priced_statements.period_days <= item_intervals.interval_count
        * case item_intervals.billing_interval
            when 'year' then 366 when 'month' then 31 when 'week' then 7 else 1
        end
        and (
            priced_statements.statement_source = 'proration'
            or priced_statements.period_days >= item_intervals.interval_count
            * case item_intervals.billing_interval
                when 'year' then 365 when 'month' then 28 when 'week' then 7 else 1
            end
        ) as is_by_item,
        priced_statements.billing_interval,
        priced_statements.interval_count,
        priced_statements.usage_type,
        priced_statements.billing_scheme,
        priced_statements.package_size,
        priced_statements.package_round,
        item_intervals.billing_interval as item_interval,
        item_intervals.interval_count as item_interval_count,
        item_intervals.usage_type as item_usage_type,
        item_intervals.billing_scheme as item_billing_scheme,
        item_intervals.package_size as item_package_size,
        item_intervals.package_round as item_package_round
    from priced_statements
    left join item_intervals
        on
            item_intervals._source = priced_statements._source
            and item_intervals.subscription_id = priced_statements.subscription_id
            and item_intervals.item_id = priced_statements.item_id
),

complete_statements as (
    select
        _source,
        statement_source,
        priority,
        subscription_id,
        item_id,
        names_all_items,
        quantity,
        currency,
        unit_amount,
        case when is_by_item then item_interval else billing_interval end as billing_interval,
        case when is_by_item then item_interval_count else interval_count end as interval_count,
        case
            when usage_type is not null then usage_type = 'metered'
            when item_usage_type is not null then item_usage_type = 'metered'
            else is_in_arrears
        end as is_metered,
        case when is_by_item then item_billing_scheme else billing_scheme end as billing_scheme,
        case when is_by_item then item_package_size else package_size end as package_size,
        case when is_by_item then item_package_round else package_round end as package_round,
        stated_at,
        period_start,
        period_end
    from item_priced_statements
),

amounts as (
    select
        complete_statements._source,
        complete_statements.statement_source,
        complete_statements.priority,
        complete_statements.subscription_id,
        complete_statements.item_id,
        complete_statements.names_all_items,
        case when complete_statements.is_metered then 0 else complete_statements.quantity end
            as seats,
        complete_statements.currency,
        case complete_statements.billing_interval
            when 'year' then 12 * complete_statements.interval_count
            when 'month' then complete_statements.interval_count
            when 'week' then 0
            when 'day' then 0
        end as billing_months,
        -- A year has 12 months, 52 weeks or 365 days.
        case complete_statements.billing_interval
            when 'year'
                then cast(1 as double) / (12 * nullif(complete_statements.interval_count, 0))
            when 'month' then cast(1 as double) / nullif(complete_statements.interval_count, 0)
            when 'week'
                then cast(52 as double) / (12 * nullif(complete_statements.interval_count, 0))
            when 'day'
                then cast(365 as double) / (12 * nullif(complete_statements.interval_count, 0))
        end as periods_per_month,
        case
            when
                complete_statements.package_size > 1 and complete_statements.package_round = 'down'
                then floor(complete_statements.quantity / complete_statements.package_size)
            when
                complete_statements.package_size > 1
                then ceil(complete_statements.quantity / complete_statements.package_size)
            else complete_statements.quantity
        end as units,
        case
            when
                (complete_statements.billing_scheme is distinct from 'tiered')
                then complete_statements.unit_amount
        end as unit_amount,
        coalesce(currencies.minor_units, 100) as minor_units,
        complete_statements.is_metered,
        complete_statements.stated_at,
        complete_statements.period_start,
        complete_statements.period_end
    from complete_statements
    left join staging.stripe_currencies as currencies
        on currencies.currency = complete_statements.currency
)

select
    _source,
    statement_source,
    priority,
    subscription_id,
    item_id,
    names_all_items,
    seats,
    currency,
    billing_months,
    case
        when is_metered then cast(0 as double)
        else units * unit_amount * periods_per_month / minor_units
    end as mrr,
    stated_at,
    period_start,
    period_end
from amounts
order by _source, subscription_id, item_id, stated_at, priority
