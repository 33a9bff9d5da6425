-- Grain: one row per entity and day that any record of the entity is dated.
-- Definition: how many records each entity has of a day, and of how many accounts. Usage events
-- that no account has are not counted. The last row of an entity up to a day shows since when its
-- sources are silent.
-- Worked example: two tickets of one account opened on 2026-06-01 => entity tickets, record_date
-- 2026-06-01, records 2, accounts 1.

with record_dates as (
    select
        'usage_events' as entity,
        account_id,
        usage_date as record_date,
        events as records
    from intermediate.int_usage_daily_accounts
    union all
    select
        'subscriptions' as entity,
        account_id,
        cast(started_at as date) as record_date,
        1 as records
    from staging.stg_subscriptions
    union all
    select
        'invoices' as entity,
        account_id,
        cast(issued_at as date) as record_date,
        1 as records
    from staging.stg_invoices
    union all
    select
        'tickets' as entity,
        account_id,
        cast(opened_at as date) as record_date,
        1 as records
    from staging.stg_tickets
    union all
    select
        'nps_responses' as entity,
        account_id,
        cast(responded_at as date) as record_date,
        1 as records
    from staging.stg_nps_responses
    union all
    select
        'interactions' as entity,
        account_id,
        cast(occurred_at as date) as record_date,
        1 as records
    from staging.stg_interactions
    union all
    select
        'tam_assessments' as entity,
        account_id,
        cast(assessed_at as date) as record_date,
        1 as records
    from staging.stg_tam_assessments
)

select
    entity,
    record_date,
    cast(sum(records) as bigint) as records,
    count(distinct account_id) as accounts
from record_dates
where record_date is not null
group by entity, record_date
order by entity, record_date
