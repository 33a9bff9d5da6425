-- Grain: one row per tenant, day that counts (see csm_days) and segment.
-- Definition: accounts counted by RAG and churn risk, means of score and coverage, and the MRR of accounts at high or
-- critical risk. MRR is summed in one currency, the one that most of the segment's accounts are billed in (the
-- alphabetically first among equals); at-risk accounts billed in another are counted beside it. Means are taken over
-- whole millionths, so that they do not depend on the order of the rows.
-- Worked example: scores 70.0 and 71.0, the second at high risk with 100 USD => mean_score 70.5, mrr_at_risk 100.

with scored as (
    select
        csm_health_scores.tenant_id,
        csm_health_scores.account_id,
        csm_health_scores.as_of_date,
        coalesce(account_days.segment, 'unsegmented') as segment,
        csm_health_scores.rag,
        csm_health_scores.churn_risk_level,
        csm_health_scores.churn_risk_level in ('high', 'critical') as is_at_risk,
        csm_health_scores.should_alert,
        cast(floor(csm_health_scores.score * 1000000 + cast(0.5 as double)) as bigint) as score_millionths,
        cast(floor(signals.signal_coverage * 1000000 + cast(0.5 as double)) as bigint) as coverage_millionths,
        subscriptions.mrr,
        subscriptions.currency
    from marts.csm_health_scores
    inner join marts.csm_health_signals as signals
        on
            csm_health_scores.account_id = signals.account_id
            and csm_health_scores.as_of_date = signals.as_of_date
    inner join intermediate.int_account_days as account_days
        on
            csm_health_scores.account_id = account_days.account_id
            and csm_health_scores.as_of_date = account_days.as_of_date
    inner join intermediate.int_account_subscriptions as subscriptions
        on
            csm_health_scores.account_id = subscriptions.account_id
            and csm_health_scores.as_of_date = subscriptions.as_of_date
    where
        csm_health_scores.as_of_date between $first_date and $last_date
        and signals.as_of_date between $first_date and $last_date
        and account_days.as_of_date between $first_date and $last_date
        and subscriptions.as_of_date between $first_date and $last_date
        and not exists (
            select 1
            from run.uncounted_days as uncounted
            where uncounted.as_of_date = csm_health_scores.as_of_date
        )
),

billed as (
    select
        tenant_id,
        as_of_date,
        segment,
        currency,
        count(*) as accounts
    from scored
    where mrr is not null and currency is not null
    group by tenant_id, as_of_date, segment, currency
),

leading_currency as (
    select
        tenant_id,
        as_of_date,
        segment,
        currency
    from billed
    qualify row_number() over (
        partition by tenant_id, as_of_date, segment
        order by accounts desc, currency
    ) = 1
),

summed as (
    select
        scored.tenant_id,
        scored.as_of_date,
        scored.segment,
        leading_currency.currency,
        count(*) as accounts,
        count(*) filter (where scored.rag = 'GREEN') as green_accounts,
        count(*) filter (where scored.rag = 'AMBER') as amber_accounts,
        count(*) filter (where scored.rag = 'RED') as red_accounts,
        count(*) filter (where scored.churn_risk_level = 'low') as low_risk_accounts,
        count(*) filter (where scored.churn_risk_level = 'medium') as medium_risk_accounts,
        count(*) filter (where scored.churn_risk_level = 'high') as high_risk_accounts,
        count(*) filter (where scored.churn_risk_level = 'critical') as critical_risk_accounts,
        count(*) filter (where scored.should_alert) as alerts,
        cast(sum(scored.score_millionths) as bigint) as score_millionths,
        cast(sum(scored.coverage_millionths) as bigint) as coverage_millionths,
        cast(
            sum(scored.mrr) filter (
                where scored.is_at_risk and scored.currency = leading_currency.currency
            ) as decimal(38, 2)
        ) as mrr_at_risk,
        count(*) filter (
            where
                scored.is_at_risk
                and scored.mrr is not null
                and scored.currency is distinct from leading_currency.currency
        ) as at_risk_in_other_currencies
    from scored
    left join leading_currency
        on
            scored.tenant_id = leading_currency.tenant_id
            and scored.as_of_date = leading_currency.as_of_date
            and scored.segment = leading_currency.segment
    group by scored.tenant_id, scored.as_of_date, scored.segment, leading_currency.currency
)

select
    tenant_id,
    as_of_date,
    segment,
    accounts,
    green_accounts,
    amber_accounts,
    red_accounts,
    low_risk_accounts,
    medium_risk_accounts,
    high_risk_accounts,
    critical_risk_accounts,
    alerts,
    cast(score_millionths as double) / accounts / 1000000 as mean_score,
    coalesce(mrr_at_risk, cast(0 as decimal(38, 2))) as mrr_at_risk,
    currency,
    at_risk_in_other_currencies,
    cast(coverage_millionths as double) / accounts / 1000000 as mean_coverage
from summed
order by as_of_date, tenant_id, segment
