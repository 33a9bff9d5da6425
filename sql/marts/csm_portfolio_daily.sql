-- Grain: one row per tenant, day that counts (see csm_days) and segment.
-- Definition: accounts counted by RAG and churn risk, means of score and coverage, and the MRR of
-- accounts at high or critical risk. MRR is summed in one currency, the one that most of the
-- segment's accounts are billed in (the alphabetically first among equals); at-risk accounts billed
-- in another are counted beside it. The converted sum has the MRR of each at-risk account in all
-- currencies (see int_account_subscriptions); an account with MRR in a currency without a rate is
-- left out and counted. Means are computed on values rounded to 1e-6, so that they do not depend on
-- the order of the rows.
-- Worked example: scores 70.0 and 71.0, the second at high risk with 100 USD => mean_score 70.5,
-- mrr_at_risk 100.

with scored_accounts as (
    select
        csm_health_scores.tenant_id,
        csm_health_scores.account_id,
        csm_health_scores.as_of_date,
        coalesce(account_days.segment, 'unsegmented') as segment,
        csm_health_scores.rag,
        csm_health_scores.churn_risk_level,
        csm_health_scores.churn_risk_level in ('high', 'critical') as is_at_risk,
        csm_health_scores.should_alert,
        cast(floor(csm_health_scores.score * 1000000 + cast(0.5 as double)) as bigint)
            as score_millionths,
        cast(floor(signals.signal_coverage * 1000000 + cast(0.5 as double)) as bigint)
            as coverage_millionths,
        subscriptions.mrr,
        subscriptions.currency,
        subscriptions.mrr_reporting,
        subscriptions.reporting_currency
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

accounts_by_currency as (
    select
        tenant_id,
        as_of_date,
        segment,
        currency,
        count(*) as accounts
    from scored_accounts
    where mrr is not null and currency is not null
    group by tenant_id, as_of_date, segment, currency
),

leading_currencies as (
    select
        tenant_id,
        as_of_date,
        segment,
        currency
    from accounts_by_currency
    qualify row_number() over (
        partition by tenant_id, as_of_date, segment
        order by accounts desc, currency asc
    ) = 1
),

segment_totals as (
    select
        scored_accounts.tenant_id,
        scored_accounts.as_of_date,
        scored_accounts.segment,
        leading_currencies.currency,
        count(*) as accounts,
        count(*) filter (where scored_accounts.rag = 'GREEN') as green_accounts,
        count(*) filter (where scored_accounts.rag = 'AMBER') as amber_accounts,
        count(*) filter (where scored_accounts.rag = 'RED') as red_accounts,
        count(*) filter (where scored_accounts.churn_risk_level = 'low') as low_risk_accounts,
        count(*) filter (where scored_accounts.churn_risk_level = 'medium') as medium_risk_accounts,
        count(*) filter (where scored_accounts.churn_risk_level = 'high') as high_risk_accounts,
        count(*) filter (where scored_accounts.churn_risk_level = 'critical')
            as critical_risk_accounts,
        count(*) filter (where scored_accounts.should_alert) as alerts,
        cast(sum(scored_accounts.score_millionths) as bigint) as score_millionths,
        cast(sum(scored_accounts.coverage_millionths) as bigint) as coverage_millionths,
        cast(
            sum(scored_accounts.mrr) filter (
                where scored_accounts.is_at_risk
                and scored_accounts.currency = leading_currencies.currency
            ) as decimal(38, 2)
        ) as mrr_at_risk,
        count(*) filter (
            where
            scored_accounts.is_at_risk
            and scored_accounts.mrr is not null
            and scored_accounts.currency is distinct from leading_currencies.currency
        ) as at_risk_in_other_currencies,
        cast(
            sum(scored_accounts.mrr_reporting) filter (where scored_accounts.is_at_risk)
            as decimal(38, 2)
        ) as mrr_at_risk_reporting,
        count(*) filter (
            where
            scored_accounts.is_at_risk
            and scored_accounts.reporting_currency is not null
            and scored_accounts.mrr > 0
            and scored_accounts.mrr_reporting is null
        ) as at_risk_without_rate,
        min(scored_accounts.reporting_currency) as reporting_currency
    from scored_accounts
    left join leading_currencies
        on
            scored_accounts.tenant_id = leading_currencies.tenant_id
            and scored_accounts.as_of_date = leading_currencies.as_of_date
            and scored_accounts.segment = leading_currencies.segment
    group by
        scored_accounts.tenant_id,
        scored_accounts.as_of_date,
        scored_accounts.segment,
        leading_currencies.currency
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
    cast(coverage_millionths as double) / accounts / 1000000 as mean_coverage,
    case
        when reporting_currency is not null
            then coalesce(mrr_at_risk_reporting, cast(0 as decimal(38, 2)))
    end as mrr_at_risk_reporting,
    at_risk_without_rate,
    reporting_currency
from segment_totals
order by as_of_date, tenant_id, segment
