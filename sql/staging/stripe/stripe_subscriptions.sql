-- Grain: one row per subscription, latest record of it, whatever shape it came in.
-- Definition: records of the test mode are left out unless the source's settings include them; so are subscriptions
-- whose first payment never came (incomplete_expired, and incomplete ones that are no trial): they never began.
-- `items` is the JSON list of the subscription's items, where the shape has it; a record of before there were items is
-- an item itself. It ends when Stripe ended it; `ends_at` is a day in the future on which it was told to end.
-- Worked example: cancel_at_period_end true, current_period_end 2026-12-31 => ends_at 2026-12-31, ended_at null.

with subscription_records as (
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.stripe__subscriptions
    union all
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.stripe__airbyte_subscriptions
    union all
    select record, _source, _source_file, _source_line, _loaded_at, _load_id
    from raw.stripe__fivetran_subscription
),

subscriptions as (
    select
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from subscription_records
    qualify row_number() over (
        partition by _source, record ->> '$.id'
        order by _loaded_at desc, _load_id desc, _source_file desc, _source_line desc
    ) = 1
),

opened as (
    select
        subscriptions._source,
        subscriptions.record ->> '$.id' as subscription_id,
        coalesce(subscriptions.record ->> '$.customer', subscriptions.record ->> '$.customer_id') as customer_id,
        lower(subscriptions.record ->> '$.status') as status,
        lower(coalesce(subscriptions.record ->> '$.livemode', 'true')) as livemode,
        coalesce(subscriptions.record ->> '$.start_date', subscriptions.record ->> '$.created') as start_date,
        subscriptions.record ->> '$.ended_at' as ended,
        subscriptions.record ->> '$.canceled_at' as canceled,
        subscriptions.record ->> '$.cancel_at' as cancel_at,
        subscriptions.record ->> '$.trial_end' as trial_end,
        lower(coalesce(subscriptions.record ->> '$.cancel_at_period_end', 'false')) as ends_with_period,
        coalesce(
            subscriptions.record ->> '$.current_period_end', subscriptions.record ->> '$.items.data[0].current_period_end'
        ) as period_end,
        subscriptions.record ->> '$.items' as items,
        subscriptions.record as record,
        cast(coalesce(sources.settings ->> '$.renewal_months', '6') as integer) as renewal_months,
        sources.settings ->> '$.include_test_mode' as include_test_mode,
        subscriptions._source_file,
        subscriptions._source_line,
        subscriptions._loaded_at,
        subscriptions._load_id
    from subscriptions
    inner join run.sources as sources on sources.system = 'stripe' and sources._source = subscriptions._source
    where coalesce(lower(subscriptions.record ->> '$._fivetran_active'), 'true') = 'true'
),

dated as (
    select
        _source,
        subscription_id,
        customer_id,
        status,
        try_cast(coalesce(cast(make_timestamp(try_cast(start_date as bigint) * 1000000) as varchar), start_date) as timestamp) as started_at,
        case
            when ended is not null then try_cast(coalesce(cast(make_timestamp(try_cast(ended as bigint) * 1000000) as varchar), ended) as timestamp)
            when status = 'canceled' then try_cast(coalesce(cast(make_timestamp(try_cast(canceled as bigint) * 1000000) as varchar), canceled) as timestamp)
        end as ended_at,
        try_cast(coalesce(cast(make_timestamp(try_cast(coalesce(cancel_at, case when ends_with_period = 'true' then period_end end) as bigint) * 1000000) as varchar), coalesce(cancel_at, case when ends_with_period = 'true' then period_end end)) as timestamp) as ends_at,
        case
            when json_valid(items) and json_array_length(items, '$.data') > 0 then json_extract(items, '$.data')
            when json_extract(record, '$.plan') is not null then json_array(cast(record as json))
        end as items,
        record,
        renewal_months,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from opened
    where
        (livemode = 'true' or include_test_mode = 'true')
        and not (status = 'incomplete_expired' or (status = 'incomplete' and trial_end is null))
)

select
    _source,
    subscription_id,
    customer_id,
    status,
    started_at,
    ended_at,
    ends_at,
    items,
    record,
    renewal_months,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from dated
order by _source, subscription_id
