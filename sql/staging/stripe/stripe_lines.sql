-- Grain: one row per invoice line that bills an item of a subscription.
-- Definition: lines of ignored and void invoices are left out, since they are not payable. A line has its price as
-- an object (`price`, `plan`) or, since version 2025-03-31.basil of Stripe's API, only its id in `pricing` with the
-- unit amount; its subscription is then in `parent`. Amounts are in minor units of the currency of the line. A line
-- is in arrears if its period had ended when the invoice was created.
-- Worked example: pricing {unit_amount_decimal: "2000", price_details: {price: p1}} => price_id p1, unit_amount
-- 2000, billing_interval null.

with invoice_lines as (
    select
        records._source,
        records.record_id as invoice_id,
        invoices.created_at as invoiced_at,
        reference_id(
            coalesce(
                json_extract_string(
                    case
                        when
                            json_valid(records.record ->> '$.parent')
                            then records.record ->> '$.parent'
                    end,
                    '$.subscription_details.subscription'
                ),
                records.record ->> '$.subscription',
                records.record ->> '$.subscription_id'
            )
        ) as subscription_id,
        unnest(cast(json_extract(records.record ->> '$.lines', '$.data') as json[])) as line
    from staging.stripe_records as records
    inner join staging.stripe_invoices as invoices
        on invoices._source = records._source and invoices.invoice_id = records.record_id
    where
        records.kind = 'invoices'
        and invoices.ignored is null
        and coalesce(invoices.status, '') <> 'void'
        and json_valid(records.record ->> '$.lines')
),

lines as (
    select
        _source,
        invoice_id,
        invoiced_at,
        coalesce(
            reference_id(
                coalesce(
                    line ->> '$.subscription',
                    line ->> '$.parent.subscription_item_details.subscription',
                    line ->> '$.parent.invoice_item_details.subscription'
                )
            ),
            subscription_id
        ) as subscription_id,
        reference_id(
            coalesce(
                line ->> '$.subscription_item',
                line ->> '$.parent.subscription_item_details.subscription_item'
            )
        ) as item_id,
        coalesce(
            flag(line ->> '$.proration'),
            flag(line ->> '$.parent.subscription_item_details.proration'),
            flag(line ->> '$.parent.invoice_item_details.proration'),
            false
        ) as is_proration,
        reference_id(
            coalesce(
                line ->> '$.price', line ->> '$.pricing.price_details.price', line ->> '$.plan'
            )
        ) as price_id,
        whole_number(line ->> '$.quantity') as quantity,
        whole_number(line ->> '$.amount') as amount,
        lower(trim(line ->> '$.currency')) as currency,
        lower(trim(
            coalesce(line ->> '$.price.currency', line ->> '$.plan.currency', line ->> '$.currency')
        )) as price_currency,
        coalesce(
            plain_number(line ->> '$.price.unit_amount'),
            plain_number(line ->> '$.price.unit_amount_decimal'),
            plain_number(line ->> '$.plan.amount'),
            plain_number(line ->> '$.plan.amount_decimal')
        ) as price_amount,
        plain_number(line ->> '$.pricing.unit_amount_decimal') as line_amount,
        lower(trim(coalesce(line ->> '$.price.recurring.interval', line ->> '$.plan.interval')))
            as billing_interval,
        whole_number(
            coalesce(line ->> '$.price.recurring.interval_count', line ->> '$.plan.interval_count')
        ) as interval_count,
        lower(
            trim(coalesce(line ->> '$.price.recurring.usage_type', line ->> '$.plan.usage_type'))
        ) as usage_type,
        lower(trim(coalesce(line ->> '$.price.billing_scheme', line ->> '$.plan.billing_scheme')))
            as billing_scheme,
        whole_number(
            coalesce(
                line ->> '$.price.transform_quantity.divide_by',
                line ->> '$.plan.transform_usage.divide_by'
            )
        ) as package_size,
        lower(trim(
            coalesce(
                line ->> '$.price.transform_quantity.round', line ->> '$.plan.transform_usage.round'
            )
        )) as package_round,
        vendor_time(line ->> '$.period.start') as period_start,
        vendor_time(line ->> '$.period.end') as period_end
    from invoice_lines
    union all
    select
        records._source,
        reference_id(records.record ->> '$.invoice_id') as invoice_id,
        invoices.created_at as invoiced_at,
        reference_id(records.record ->> '$.subscription_id') as subscription_id,
        reference_id(records.record ->> '$.subscription_item_id') as item_id,
        coalesce(flag(records.record ->> '$.proration'), false) as is_proration,
        coalesce(
            reference_id(records.record ->> '$.price_id'),
            reference_id(records.record ->> '$.plan_id')
        ) as price_id,
        whole_number(records.record ->> '$.quantity') as quantity,
        whole_number(records.record ->> '$.amount') as amount,
        lower(trim(records.record ->> '$.currency')) as currency,
        cast(null as varchar) as price_currency,
        cast(null as double) as price_amount,
        cast(null as double) as line_amount,
        cast(null as varchar) as billing_interval,
        cast(null as bigint) as interval_count,
        cast(null as varchar) as usage_type,
        cast(null as varchar) as billing_scheme,
        cast(null as bigint) as package_size,
        cast(null as varchar) as package_round,
        vendor_time(records.record ->> '$.period_start') as period_start,
        vendor_time(records.record ->> '$.period_end') as period_end
    from staging.stripe_records as records
    left join staging.stripe_invoices as invoices
        on
            invoices._source = records._source
            and invoices.invoice_id = reference_id(records.record ->> '$.invoice_id')
    where
        records.kind = 'invoice_lines'
        and not records.is_deleted
        and invoices.ignored is null
        and coalesce(invoices.status, '') <> 'void'
)

select
    _source,
    invoice_id,
    subscription_id,
    item_id,
    is_proration,
    price_id,
    quantity,
    amount,
    currency,
    case
        when price_currency = currency and price_amount is not null then price_amount
        else line_amount
    end as unit_amount,
    billing_interval,
    case when billing_interval is not null then coalesce(interval_count, 1) end as interval_count,
    usage_type,
    billing_scheme,
    package_size,
    package_round,
    period_start,
    period_end,
    coalesce(period_end <= invoiced_at, false) as is_in_arrears
from lines
where subscription_id is not null and item_id is not null and period_start is not null
order by _source, subscription_id, item_id, period_start, invoice_id
