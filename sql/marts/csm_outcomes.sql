-- Grain: one row per account and spell that started by the newest day that counts (see csm_days).
-- Definition: what became of the account. ended_on is the first day on which the account is not in
-- the population (docs/signals.md), and the last day of the spell is the day before it. An end
-- after the newest day is not known on that day: such a spell is active, as is one without an end.
-- mrr_at_end is the MRR on the last day of the spell, or on the newest day if the spell is active:
-- the sum over the subscriptions in their alphabetically first currency, as in csm_accounts_daily.
-- Worked example: the newest day is 2026-06-30. A churned on 2026-06-10 at noon => started_on
-- 2025-01-01, ended_on 2026-06-10, churned, with the MRR of 2026-06-09. B churns on 2026-07-02 =>
-- active, with the MRR of 2026-06-30.

with uncounted_days as (
    select as_of_date
    from run.days_status
    where status not in ('complete', 'accepted')
),

newest_day as (
    select max(as_of_date) as as_of_date
    from marts.csm_health_scores
    where
        not exists (
            select 1
            from uncounted_days
            where uncounted_days.as_of_date = csm_health_scores.as_of_date
        )
),

spells as (
    select
        int_account_spells.tenant_id,
        int_account_spells.account_id,
        int_account_spells.spell,
        newest_day.as_of_date,
        cast(int_account_spells.started_at as date) as started_on,
        case
            when cast(int_account_spells.ended_at as date) <= newest_day.as_of_date
                then cast(int_account_spells.ended_at as date)
        end as ended_on,
        int_account_spells.reason
    from intermediate.int_account_spells
    inner join newest_day
        on
            coalesce(cast(int_account_spells.started_at as date), newest_day.as_of_date)
            <= newest_day.as_of_date
),

-- A spell that starts and ends on the same day has no last day, and so no MRR.
last_days as (
    select
        account_id,
        spell,
        case
            when ended_on is null then as_of_date
            when started_on is null or started_on < ended_on then ended_on - 1
        end as last_day
    from spells
),

live_subscriptions as (
    select
        last_days.account_id,
        last_days.spell,
        stg_subscriptions.mrr,
        stg_subscriptions.currency,
        min(stg_subscriptions.currency) over (
            partition by last_days.account_id, last_days.spell
        ) as leading_currency
    from last_days
    inner join staging.stg_subscriptions
        on
            last_days.account_id = stg_subscriptions.account_id
            and cast(stg_subscriptions.started_at as date) <= last_days.last_day
            and (
                stg_subscriptions.ended_at is null
                or cast(stg_subscriptions.ended_at as date) > last_days.last_day
            )
),

subscription_totals as (
    select
        account_id,
        spell,
        cast(
            sum(mrr) filter (where currency is not distinct from leading_currency) as decimal(38, 2)
        ) as mrr,
        min(leading_currency) as currency
    from live_subscriptions
    group by account_id, spell
)

select
    spells.tenant_id,
    spells.account_id,
    spells.spell,
    spells.as_of_date,
    spells.started_on,
    spells.ended_on,
    case when spells.ended_on is null then 'active' else 'churned' end as outcome,
    case when spells.ended_on is not null then spells.reason end as reason,
    subscription_totals.mrr as mrr_at_end,
    subscription_totals.currency
from spells
left join subscription_totals
    on
        spells.account_id = subscription_totals.account_id
        and spells.spell = subscription_totals.spell
order by spells.tenant_id, spells.account_id, spells.spell
