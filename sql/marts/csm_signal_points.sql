-- Grain: one row per account, day that counts (see csm_days) and signal of the rubric.
-- Definition: the value, points and weight of each signal, one below the other instead of in columns of their own.
-- Values are of different types and therefore text: a rate has four decimals, halves rounded up, and an unknown value
-- is null. Points are those before the cap; those of a day and account sum to raw_score. The fact is the text of
-- int_signal_facts.
-- Worked example: 5 of 9 features and a growing usage => feature_adoption_rate '0.5556' with 11.11 of 20 points,
-- usage_trend 'growing' with 15 of 15, and nine further rows.

with scored_signals as (
    select
        csm_health_scores.tenant_id,
        csm_health_scores.account_id,
        csm_health_scores.as_of_date,
        signals.feature_adoption_rate,
        signals.usage_trend,
        signals.login_frequency_days,
        signals.days_since_last_interaction,
        signals.invoice_payment_status,
        signals.support_sentiment,
        signals.days_to_renewal,
        signals.seats_utilization_rate,
        signals.stakeholder_engagement,
        signals.nps_score,
        signals.escalation_count_90_days,
        csm_health_scores.feature_adoption_rate_points,
        csm_health_scores.usage_trend_points,
        csm_health_scores.login_frequency_days_points,
        csm_health_scores.days_since_last_interaction_points,
        csm_health_scores.invoice_payment_status_points,
        csm_health_scores.support_sentiment_points,
        csm_health_scores.days_to_renewal_points,
        csm_health_scores.seats_utilization_rate_points,
        csm_health_scores.stakeholder_engagement_points,
        csm_health_scores.nps_score_points,
        csm_health_scores.escalation_count_90_days_points,
        facts.feature_adoption_rate as feature_adoption_rate_fact,
        facts.usage_trend as usage_trend_fact,
        facts.login_frequency_days as login_frequency_days_fact,
        facts.days_since_last_interaction as days_since_last_interaction_fact,
        facts.invoice_payment_status as invoice_payment_status_fact,
        facts.support_sentiment as support_sentiment_fact,
        facts.days_to_renewal as days_to_renewal_fact,
        facts.seats_utilization_rate as seats_utilization_rate_fact,
        facts.stakeholder_engagement as stakeholder_engagement_fact,
        facts.nps_score as nps_score_fact,
        facts.escalation_count_90_days as escalation_count_90_days_fact
    from marts.csm_health_scores
    inner join marts.csm_health_signals as signals
        on
            csm_health_scores.account_id = signals.account_id
            and csm_health_scores.as_of_date = signals.as_of_date
    left join intermediate.int_signal_facts as facts
        on
            csm_health_scores.account_id = facts.account_id
            and csm_health_scores.as_of_date = facts.as_of_date
            and facts.as_of_date between $first_date and $last_date
    where
        csm_health_scores.as_of_date between $first_date and $last_date
        and signals.as_of_date between $first_date and $last_date
        and not exists (
            select 1
            from run.uncounted_days as uncounted
            where uncounted.as_of_date = csm_health_scores.as_of_date
        )
)

select
    tenant_id,
    account_id,
    as_of_date,
    'feature_adoption_rate' as signal,
    cast(
        cast(floor(feature_adoption_rate * 10000 + cast(0.5 as double)) as decimal(18, 0))
        * cast(0.0001 as decimal(5, 4)) as varchar
    ) as value,
    feature_adoption_rate_points as points,
    $feature_adoption_rate_weight as weight,
    feature_adoption_rate_fact as fact
from scored_signals
union all
select
    tenant_id,
    account_id,
    as_of_date,
    'usage_trend' as signal,
    cast(usage_trend as varchar) as value,
    usage_trend_points as points,
    $usage_trend_weight as weight,
    usage_trend_fact as fact
from scored_signals
union all
select
    tenant_id,
    account_id,
    as_of_date,
    'login_frequency_days' as signal,
    cast(login_frequency_days as varchar) as value,
    login_frequency_days_points as points,
    $login_frequency_days_weight as weight,
    login_frequency_days_fact as fact
from scored_signals
union all
select
    tenant_id,
    account_id,
    as_of_date,
    'days_since_last_interaction' as signal,
    cast(days_since_last_interaction as varchar) as value,
    days_since_last_interaction_points as points,
    $days_since_last_interaction_weight as weight,
    days_since_last_interaction_fact as fact
from scored_signals
union all
select
    tenant_id,
    account_id,
    as_of_date,
    'invoice_payment_status' as signal,
    cast(invoice_payment_status as varchar) as value,
    invoice_payment_status_points as points,
    $invoice_payment_status_weight as weight,
    invoice_payment_status_fact as fact
from scored_signals
union all
select
    tenant_id,
    account_id,
    as_of_date,
    'support_sentiment' as signal,
    cast(support_sentiment as varchar) as value,
    support_sentiment_points as points,
    $support_sentiment_weight as weight,
    support_sentiment_fact as fact
from scored_signals
union all
select
    tenant_id,
    account_id,
    as_of_date,
    'days_to_renewal' as signal,
    cast(days_to_renewal as varchar) as value,
    days_to_renewal_points as points,
    $days_to_renewal_weight as weight,
    days_to_renewal_fact as fact
from scored_signals
union all
select
    tenant_id,
    account_id,
    as_of_date,
    'seats_utilization_rate' as signal,
    cast(
        cast(floor(seats_utilization_rate * 10000 + cast(0.5 as double)) as decimal(18, 0))
        * cast(0.0001 as decimal(5, 4)) as varchar
    ) as value,
    seats_utilization_rate_points as points,
    $seats_utilization_rate_weight as weight,
    seats_utilization_rate_fact as fact
from scored_signals
union all
select
    tenant_id,
    account_id,
    as_of_date,
    'stakeholder_engagement' as signal,
    cast(stakeholder_engagement as varchar) as value,
    stakeholder_engagement_points as points,
    $stakeholder_engagement_weight as weight,
    stakeholder_engagement_fact as fact
from scored_signals
union all
select
    tenant_id,
    account_id,
    as_of_date,
    'nps_score' as signal,
    cast(nps_score as varchar) as value,
    nps_score_points as points,
    $nps_score_weight as weight,
    nps_score_fact as fact
from scored_signals
union all
select
    tenant_id,
    account_id,
    as_of_date,
    'escalation_count_90_days' as signal,
    cast(escalation_count_90_days as varchar) as value,
    escalation_count_90_days_points as points,
    $escalation_count_90_days_weight as weight,
    escalation_count_90_days_fact as fact
from scored_signals
order by as_of_date, tenant_id, account_id, signal
