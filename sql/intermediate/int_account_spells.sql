-- Grain: one row per account and spell: a time from which on the account is a customer, until it leaves.
-- Definition (docs/signals.md, "Time and population"): lifecycle events change whether the account is a customer, as do
-- the times of its record: created_at starts the first spell, unless the first event is started, and churned_at ends
-- one. A spell begins with started or returned and ends with the next churned. A change to what the account already is
-- has no effect. At the same moment the account first leaves, then returns.
-- Worked example: created 2025-01-01, churned 2026-03-01, returned 2026-05-01 => one spell from 2025-01-01 to
-- 2026-03-01, and one from 2026-05-01 without an end.

with accounts as (
    select
        tenant_id,
        account_id,
        created_at,
        churned_at
    from staging.stg_accounts
),

ordered_events as (
    select
        account_id,
        event_id,
        kind,
        occurred_at,
        reason,
        row_number() over (
            partition by account_id
            order by occurred_at, kind, event_id
        ) as position
    from staging.stg_lifecycle_events
),

moments as (
    select
        account_id,
        occurred_at,
        kind <> 'churned' as is_customer,
        case when kind = 'churned' then 1 else 2 end as precedence,
        event_id,
        reason
    from ordered_events
    union all
    select
        accounts.account_id,
        accounts.created_at as occurred_at,
        true as is_customer,
        0 as precedence,
        cast(null as varchar) as event_id,
        cast(null as varchar) as reason
    from accounts
    left join ordered_events
        on
            accounts.account_id = ordered_events.account_id
            and ordered_events.position = 1
    where ordered_events.kind is null or ordered_events.kind <> 'started'
    union all
    select
        account_id,
        greatest(created_at, churned_at) as occurred_at,
        false as is_customer,
        1 as precedence,
        cast(null as varchar) as event_id,
        cast(null as varchar) as reason
    from accounts
    where churned_at is not null
),

ordered_moments as (
    select
        account_id,
        occurred_at,
        is_customer,
        reason,
        coalesce(
            lag(is_customer) over (
                partition by account_id
                order by occurred_at nulls first, precedence, event_id nulls last
            ),
            false
        ) as was_customer,
        row_number() over (
            partition by account_id
            order by occurred_at nulls first, precedence, event_id nulls last
        ) as position
    from moments
),

changes as (
    select
        account_id,
        occurred_at as started_at,
        is_customer,
        position,
        lead(occurred_at) over (partition by account_id order by position) as ended_at,
        lead(reason) over (partition by account_id order by position) as reason
    from ordered_moments
    where is_customer <> was_customer
)

select
    accounts.tenant_id,
    accounts.account_id,
    row_number() over (partition by accounts.account_id order by changes.position) as spell,
    changes.started_at,
    changes.ended_at,
    changes.reason
from accounts
inner join changes
    on accounts.account_id = changes.account_id
where changes.is_customer
order by accounts.tenant_id, accounts.account_id, spell
