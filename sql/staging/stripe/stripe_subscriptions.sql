-- Grain: one row per subscription.
-- Definition: `ignored` is the rule that leaves a subscription out: `include_test_mode` (test mode, which the source
-- does not include), `_fivetran_active` (Fivetran's history has no current row), `deleted` (deleted without an end;
-- a cancelled subscription has an end), `incomplete` (the first payment was never made: incomplete_expired, and
-- incomplete without a trial). `ended_at` is the end that Stripe records, `end_reason` its reason. `ends_at` is the
-- requested end; `end_asked_at` is the time of the request. `items` is the JSON list of items, if the record has
-- one; a record of an API version without items is itself an item.
-- Worked example: cancel_at_period_end true, current_period_end 2026-12-31 => ends_at 2026-12-31, ended_at null.

with landed_periods as (
    select
        _source,
        coalesce(
            reference_id(record ->> '$.subscription_id'),
            reference_id(record ->> '$.subscription')
        ) as subscription_id,
        max(vendor_time(record ->> '$.current_period_end')) as period_end
    from staging.stripe_records
    where kind = 'subscription_items' and not is_deleted
    group by all
),

records as (
    select
        records._source,
        records.record_id as subscription_id,
        records.record,
        lower(trim(records.record ->> '$.status')) as status,
        case when json_valid(records.record ->> '$.items') then records.record ->> '$.items' end
            as items,
        coalesce(
            case
                when json_valid(records.record ->> '$.cancellation_details')
                    then json_extract_string(
                        records.record ->> '$.cancellation_details', '$.reason'
                    )
            end,
            records.record ->> '$.cancellation_details_reason'
        ) as end_reason,
        case when json_valid(records.record ->> '$.plan') then records.record ->> '$.plan' end
            as plan,
        coalesce(flag(records.record ->> '$.livemode'), true) as is_live,
        coalesce(flag(records.record ->> '$._fivetran_active'), true) as is_active,
        coalesce(flag(records.record ->> '$.cancel_at_period_end'), false) as ends_with_period,
        coalesce(flag(sources.settings ->> '$.include_test_mode'), false) as includes_test_mode,
        coalesce(cast(sources.settings ->> '$.renewal_months' as integer), 6) as renewal_months,
        landed_periods.period_end as landed_period_end,
        records.is_deleted,
        records.version_at,
        records._source_file,
        records._source_line,
        records._loaded_at,
        records._load_id
    from staging.stripe_records as records
    inner join run.sources as sources
        on sources.system = 'stripe' and sources._source = records._source
    left join landed_periods
        on
            landed_periods._source = records._source
            and landed_periods.subscription_id = records.record_id
    where records.kind = 'subscriptions'
),

subscriptions as (
    select
        _source,
        subscription_id,
        coalesce(reference_id(record ->> '$.customer'), reference_id(record ->> '$.customer_id'))
            as customer_id,
        status,
        lower(trim(record ->> '$.currency')) as currency,
        coalesce(vendor_time(record ->> '$.start_date'), vendor_time(record ->> '$.created'))
            as started_at,
        coalesce(
            vendor_time(record ->> '$.ended_at'),
            case when status = 'canceled' then vendor_time(record ->> '$.canceled_at') end
        ) as ended_at,
        vendor_time(record ->> '$.canceled_at') as end_asked_at,
        end_reason,
        vendor_time(record ->> '$.cancel_at') as cancel_at,
        vendor_time(record ->> '$.trial_end') as trial_end,
        ends_with_period,
        vendor_time(record ->> '$.current_period_start') as period_start,
        vendor_time(record ->> '$.current_period_end') as period_end,
        coalesce(
            vendor_time(record ->> '$.current_period_end'),
            list_max(
                list_transform(
                    json_extract_string(items, '$.data[*].current_period_end'),
                    lambda item_end: vendor_time(item_end)
                )
            ),
            landed_period_end
        ) as last_period_end,
        case
            when json_array_length(items, '$.data') > 0 then json_extract(items, '$.data')
            when plan is not null
                then json_array(
                    json_object(
                        'id', subscription_id,
                        'quantity', record ->> '$.quantity',
                        'current_period_start', record ->> '$.current_period_start',
                        'current_period_end', record ->> '$.current_period_end',
                        'plan', cast(plan as json)
                    )
                )
        end as items,
        is_live,
        includes_test_mode,
        is_active,
        is_deleted,
        renewal_months,
        version_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from records
)

select
    _source,
    subscription_id,
    customer_id,
    status,
    currency,
    started_at,
    ended_at,
    coalesce(cancel_at, case when ends_with_period then last_period_end end) as ends_at,
    end_asked_at,
    end_reason,
    period_start,
    period_end,
    items,
    case
        when not is_live and not includes_test_mode then 'include_test_mode'
        when not is_active then '_fivetran_active'
        when is_deleted and ended_at is null then 'deleted'
        when
            status = 'incomplete_expired' or (status = 'incomplete' and trial_end is null)
            then 'incomplete'
    end as ignored,
    renewal_months,
    version_at,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from subscriptions
order by _source, subscription_id
