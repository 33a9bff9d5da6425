-- Grain: one row per account, period and trigger, in the partition in which a business review is
-- due.
-- Definition (docs/signals.md, "Quarterly business reviews"): quarterly, on the first day of a
-- quarter, about the quarter that ended; contract_proximity, on the first day within 90 days of the
-- renewal, about the 90 days up to that day, unless fewer than $qbr_min_days days are left. An
-- account that leaves and returns has one review of a renewal. Each period is compared with the
-- period of equal length before it.
-- Worked example: 2026-07-01 => "Q2 2026" from 2026-04-01 to 2026-06-30, compared with the 91 days
-- from 2025-12-31.

with account_days as (
    select
        tenant_id,
        account_id,
        as_of_date
    from intermediate.int_account_days
    where as_of_date between $first_date and $last_date
),

renewals as (
    select
        account_id,
        as_of_date,
        renewal_date,
        days_to_renewal
    from intermediate.int_account_subscriptions
    where as_of_date between $first_date and $last_date
),

-- The previous day is read from the records, so a review does not depend on the materialised days.
renewals_day_before as (
    select
        account_days.account_id,
        account_days.as_of_date,
        min(date_diff('day', account_days.as_of_date - 1, cast(subscriptions.renews_at as date)))
            as days_to_renewal
    from account_days
    inner join intermediate.int_account_spells as spells
        on
            account_days.account_id = spells.account_id
            and (
                spells.started_at is null
                or cast(spells.started_at as date) <= account_days.as_of_date - 1
            )
            and (
                spells.ended_at is null
                or cast(spells.ended_at as date) > account_days.as_of_date - 1
            )
    inner join staging.stg_subscriptions as subscriptions
        on
            account_days.account_id = subscriptions.account_id
            and cast(subscriptions.started_at as date) <= account_days.as_of_date - 1
            and (
                subscriptions.ended_at is null
                or cast(subscriptions.ended_at as date) > account_days.as_of_date - 1
            )
            and (
                subscriptions.term_months is null or subscriptions.term_months >= $min_term_months
            )
    group by account_days.account_id, account_days.as_of_date
),

-- The renewal that was within 90 days on the last day before an account left: if the account
-- returns, this renewal has its review.
renewals_before_leaving as (
    select
        spells.account_id,
        cast(spells.ended_at as date) as left_date,
        min(cast(subscriptions.renews_at as date)) as renewal_date
    from intermediate.int_account_spells as spells
    inner join staging.stg_subscriptions as subscriptions
        on
            spells.account_id = subscriptions.account_id
            and cast(subscriptions.started_at as date) < cast(spells.ended_at as date)
            and (
                subscriptions.ended_at is null
                or cast(subscriptions.ended_at as date) >= cast(spells.ended_at as date)
            )
            and (
                subscriptions.term_months is null or subscriptions.term_months >= $min_term_months
            )
    where
        cast(spells.ended_at as date) > $partitions_start
        and (
            spells.started_at is null
            or cast(spells.started_at as date) < cast(spells.ended_at as date)
        )
    group by spells.account_id, cast(spells.ended_at as date)
    having
        min(cast(subscriptions.renews_at as date)) <= cast(spells.ended_at as date) - 1 + 90
),

-- A quarter begins in month 1, 4, 7 or 10; the quarter before it begins three months earlier.
quarterly_reviews as (
    select
        tenant_id,
        account_id,
        as_of_date,
        'Q' || cast(extract(quarter from as_of_date - 1) as varchar)
        || ' ' || cast(extract(year from as_of_date - 1) as varchar) as period,
        case
            when extract(month from as_of_date) = 1
                then make_date(cast(extract(year from as_of_date) as integer) - 1, 10, 1)
            else
                make_date(
                    cast(extract(year from as_of_date) as integer),
                    cast(extract(month from as_of_date) as integer) - 3,
                    1
                )
        end as period_start,
        as_of_date - 1 as period_end
    from account_days
    where
        extract(day from as_of_date) = 1
        and extract(month from as_of_date) in (1, 4, 7, 10)
),

-- The period has 90 days, its last day included: it begins 89 days before that day.
renewal_reviews as (
    select
        account_days.tenant_id,
        account_days.account_id,
        account_days.as_of_date,
        'Renewal ' || cast(renewals.renewal_date as varchar) as period,
        account_days.as_of_date - 89 as period_start,
        account_days.as_of_date as period_end
    from account_days
    inner join renewals
        on
            account_days.account_id = renewals.account_id
            and account_days.as_of_date = renewals.as_of_date
    left join renewals_day_before
        on
            account_days.account_id = renewals_day_before.account_id
            and account_days.as_of_date = renewals_day_before.as_of_date
    where
        renewals.days_to_renewal between $qbr_min_days and 90
        and (
            account_days.as_of_date = $partitions_start
            or renewals_day_before.days_to_renewal is null
            or renewals_day_before.days_to_renewal > 90
        )
        and not exists (
            select 1
            from renewals_before_leaving
            where
                renewals_before_leaving.account_id = account_days.account_id
                and renewals_before_leaving.renewal_date = renewals.renewal_date
                and renewals_before_leaving.left_date <= account_days.as_of_date
        )
),

reviews as (
    select
        tenant_id,
        account_id,
        as_of_date,
        period,
        'quarterly' as trigger,
        period_start,
        period_end
    from quarterly_reviews
    union all
    select
        tenant_id,
        account_id,
        as_of_date,
        period,
        'contract_proximity' as trigger,
        period_start,
        period_end
    from renewal_reviews
)

select
    tenant_id,
    account_id,
    as_of_date,
    period,
    trigger,
    period_start,
    period_end,
    period_start
    - cast(date_diff('day', period_start, period_end) + 1 as integer) as previous_start
from reviews
order by as_of_date, tenant_id, account_id, period, trigger
