-- Grain: one row per account, day that counts (see csm_days) and kind of disagreement.
-- Definition (docs/pulse.md): score_against_pulse is a GREEN account with a pulse of 1 or 2, or a RED
-- one with a pulse of 4 or 5. score_against_mrr is a GREEN account whose MRR is lower than 90 days
-- before, or a RED one whose MRR is higher, both amounts in the same currency and on days that count.
-- Worked example: GREEN, pulse 2, MRR 100 USD and 120 USD 90 days before => one row of each kind.

with scored_accounts as (
    select
        scores.tenant_id,
        scores.account_id,
        scores.as_of_date,
        scores.score,
        scores.rag
    from marts.csm_health_scores as scores
    where
        scores.as_of_date between $first_date and $last_date
        and not exists (
            select 1
            from run.uncounted_days as uncounted
            where uncounted.as_of_date = scores.as_of_date
        )
),

account_days as (
    select
        account_id,
        as_of_date,
        account_name,
        csm_owner,
        mrr,
        currency
    from marts.csm_accounts_daily
    where as_of_date between $first_date and $last_date
),

earlier_days as (
    select
        daily.account_id,
        daily.as_of_date + 90 as as_of_date,
        daily.mrr,
        daily.currency
    from marts.csm_accounts_daily as daily
    where
        daily.as_of_date between $first_date - 90 and $last_date - 90
        and not exists (
            select 1
            from run.uncounted_days as uncounted
            where uncounted.as_of_date = daily.as_of_date
        )
),

pulses as (
    select
        account_id,
        as_of_date,
        pulse,
        pulse_age_days
    from marts.csm_pulses_daily
    where as_of_date between $first_date and $last_date
),

compared_accounts as (
    select
        scored_accounts.tenant_id,
        scored_accounts.account_id,
        scored_accounts.as_of_date,
        account_days.account_name,
        account_days.csm_owner,
        scored_accounts.score,
        scored_accounts.rag,
        pulses.pulse,
        pulses.pulse_age_days,
        earlier_days.mrr as mrr_before,
        account_days.mrr,
        account_days.currency
    from scored_accounts
    inner join account_days
        on
            scored_accounts.account_id = account_days.account_id
            and scored_accounts.as_of_date = account_days.as_of_date
    left join pulses
        on
            scored_accounts.account_id = pulses.account_id
            and scored_accounts.as_of_date = pulses.as_of_date
    left join earlier_days
        on
            account_days.account_id = earlier_days.account_id
            and account_days.as_of_date = earlier_days.as_of_date
            and account_days.currency = earlier_days.currency
),

kinds as (
    select 'score_against_pulse' as kind
    union all
    select 'score_against_mrr' as kind
)

select
    compared_accounts.tenant_id,
    compared_accounts.account_id,
    compared_accounts.as_of_date,
    kinds.kind,
    compared_accounts.account_name,
    compared_accounts.csm_owner,
    compared_accounts.score,
    compared_accounts.rag,
    compared_accounts.pulse,
    compared_accounts.pulse_age_days,
    compared_accounts.mrr_before,
    compared_accounts.mrr,
    compared_accounts.currency
from compared_accounts
cross join kinds
where
    (
        kinds.kind = 'score_against_pulse'
        and (
            (compared_accounts.rag = 'GREEN' and compared_accounts.pulse <= 2)
            or (compared_accounts.rag = 'RED' and compared_accounts.pulse >= 4)
        )
    )
    or (
        kinds.kind = 'score_against_mrr'
        and (
            (
                compared_accounts.rag = 'GREEN'
                and compared_accounts.mrr < compared_accounts.mrr_before
            )
            or (
                compared_accounts.rag = 'RED'
                and compared_accounts.mrr > compared_accounts.mrr_before
            )
        )
    )
order by
    compared_accounts.as_of_date,
    compared_accounts.tenant_id,
    compared_accounts.account_id,
    kinds.kind
