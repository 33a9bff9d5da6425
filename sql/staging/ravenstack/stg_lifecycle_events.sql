-- Grain: one row per churn event, and one per return of an account that churned.
-- Definition: every churn event is one. An account returns with its first subscription that starts after the day of a
-- churn event and before the day of the next one; a churn event without a subscription since the one before changes
-- nothing. An account starts on its signup_date (stg_accounts), not with an event.
-- Worked example: churned 2024-03-01 and 2024-05-01, subscriptions from 2024-01-01, 2024-04-10 and 2024-04-20 =>
-- churned 2024-03-01, returned 2024-04-10, churned 2024-05-01.

with churn_events as (
    select
        record_id as event_id,
        identifier_text(record ->> '$.account_id') as account_id,
        record ->> '$.churn_date' as churn_date,
        vendor_time(record ->> '$.churn_date') as churned_at,
        record ->> '$.reason_code' as reason_code,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from staging.ravenstack_records
    where kind = 'churn_events'
),

churn_spans as (
    select
        account_id,
        churned_at,
        lead(churned_at) over (partition by account_id order by churned_at, event_id)
            as next_churned_at
    from churn_events
),

subscriptions as (
    select
        record_id as subscription_id,
        identifier_text(record ->> '$.account_id') as account_id,
        record ->> '$.start_date' as start_date,
        vendor_time(record ->> '$.start_date') as started_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from staging.ravenstack_records
    where kind = 'subscriptions'
),

returns as (
    select
        subscriptions.subscription_id,
        subscriptions.account_id,
        subscriptions.start_date,
        subscriptions._source_file,
        subscriptions._source_line,
        subscriptions._loaded_at,
        subscriptions._load_id,
        row_number() over (
            partition by subscriptions.account_id, churn_spans.churned_at
            order by subscriptions.started_at, subscriptions.subscription_id
        ) as position
    from churn_spans
    inner join subscriptions
        on
            churn_spans.account_id = subscriptions.account_id
            and churn_spans.churned_at < subscriptions.started_at
            and (
                churn_spans.next_churned_at is null
                or subscriptions.started_at < churn_spans.next_churned_at
            )
)

select
    event_id,
    account_id,
    'churned' as kind,
    churn_date as occurred_at,
    reason_code as reason,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from churn_events
union all
select
    subscription_id || '-returned' as event_id,
    account_id,
    'returned' as kind,
    start_date as occurred_at,
    cast(null as varchar) as reason,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from returns
where position = 1
order by event_id
