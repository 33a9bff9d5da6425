-- Grain: one row per account that was ever scored on a day that counts (see csm_days).
-- Definition: the account's latest row of csm_health_signals and csm_health_scores with its
-- attributes and contract, its previous scored day, and the change since exactly 28 days before.
-- is_customer is whether that row is of the newest day that counts; an account that left keeps its
-- last row. ARR is 12 times MRR. The pulse and disagrees are those of the row's day.
-- Worked example: 60.0 on 2026-06-02, 71.5 on 2026-06-29 and 72.0 on 2026-06-30, the newest day
-- => previous_score 71.5, score_change_28d 12.0, is_customer.

with uncounted_days as (
    select as_of_date
    from run.days_status
    where status not in ('complete', 'accepted')
),

latest_days as (
    select
        account_id,
        max(as_of_date) as as_of_date
    from marts.csm_health_scores
    where
        not exists (
            select 1
            from uncounted_days
            where uncounted_days.as_of_date = csm_health_scores.as_of_date
        )
    group by account_id
),

newest_day as (
    select max(as_of_date) as as_of_date
    from latest_days
),

previous_days as (
    select
        csm_health_scores.account_id,
        max(csm_health_scores.as_of_date) as as_of_date
    from marts.csm_health_scores
    inner join latest_days
        on
            csm_health_scores.account_id = latest_days.account_id
            and csm_health_scores.as_of_date < latest_days.as_of_date
    where
        not exists (
            select 1
            from uncounted_days
            where uncounted_days.as_of_date = csm_health_scores.as_of_date
        )
    group by csm_health_scores.account_id
),

previous_scores as (
    select
        csm_health_scores.account_id,
        csm_health_scores.score,
        csm_health_scores.rag
    from marts.csm_health_scores
    inner join previous_days
        on
            csm_health_scores.account_id = previous_days.account_id
            and csm_health_scores.as_of_date = previous_days.as_of_date
),

scores_28_days_before as (
    select
        csm_health_scores.account_id,
        csm_health_scores.score
    from marts.csm_health_scores
    inner join latest_days
        on
            csm_health_scores.account_id = latest_days.account_id
            and csm_health_scores.as_of_date = latest_days.as_of_date - 28
    where
        not exists (
            select 1
            from uncounted_days
            where uncounted_days.as_of_date = csm_health_scores.as_of_date
        )
),

-- Separate joins: a join of whole histories with each other would have far more rows than the result.
scores as (
    select
        csm_health_scores.tenant_id,
        csm_health_scores.account_id,
        csm_health_scores.as_of_date,
        csm_health_scores.score,
        csm_health_scores.raw_score,
        csm_health_scores.rag,
        csm_health_scores.churn_risk_level,
        csm_health_scores.churn_triggered_by,
        csm_health_scores.should_alert,
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
        csm_health_scores.green_threshold,
        csm_health_scores.amber_threshold,
        csm_health_scores.churn_window_days,
        csm_health_scores.config_hash,
        csm_health_scores.scored_at
    from marts.csm_health_scores
    inner join latest_days
        on
            csm_health_scores.account_id = latest_days.account_id
            and csm_health_scores.as_of_date = latest_days.as_of_date
),

signals as (
    select
        csm_health_signals.account_id,
        csm_health_signals.feature_adoption_rate,
        csm_health_signals.usage_trend,
        csm_health_signals.login_frequency_days,
        csm_health_signals.days_since_last_interaction,
        csm_health_signals.invoice_payment_status,
        csm_health_signals.support_sentiment,
        csm_health_signals.open_ticket_count,
        csm_health_signals.days_to_renewal,
        csm_health_signals.seats_utilization_rate,
        csm_health_signals.stakeholder_engagement,
        csm_health_signals.nps_score,
        csm_health_signals.escalation_count_90_days,
        csm_health_signals.tam_health_rag,
        csm_health_signals.missing_signals,
        csm_health_signals.signal_coverage
    from marts.csm_health_signals
    inner join latest_days
        on
            csm_health_signals.account_id = latest_days.account_id
            and csm_health_signals.as_of_date = latest_days.as_of_date
),

account_days as (
    select
        int_account_days.account_id,
        int_account_days.account_name,
        int_account_days.segment,
        int_account_days.plan,
        int_account_days.csm_owner
    from intermediate.int_account_days
    inner join latest_days
        on
            int_account_days.account_id = latest_days.account_id
            and int_account_days.as_of_date = latest_days.as_of_date
),

subscriptions as (
    select
        int_account_subscriptions.account_id,
        int_account_subscriptions.seats,
        int_account_subscriptions.mrr,
        int_account_subscriptions.currency,
        int_account_subscriptions.mrr_reporting,
        int_account_subscriptions.reporting_currency,
        int_account_subscriptions.renewal_date
    from intermediate.int_account_subscriptions
    inner join latest_days
        on
            int_account_subscriptions.account_id = latest_days.account_id
            and int_account_subscriptions.as_of_date = latest_days.as_of_date
),

pulses as (
    select
        csm_pulses_daily.account_id,
        csm_pulses_daily.pulse,
        csm_pulses_daily.pulse_age_days,
        csm_pulses_daily.pulse_note
    from marts.csm_pulses_daily
    inner join latest_days
        on
            csm_pulses_daily.account_id = latest_days.account_id
            and csm_pulses_daily.as_of_date = latest_days.as_of_date
),

disagreements as (
    select csm_disagreements.account_id
    from marts.csm_disagreements
    inner join latest_days
        on
            csm_disagreements.account_id = latest_days.account_id
            and csm_disagreements.as_of_date = latest_days.as_of_date
    group by csm_disagreements.account_id
)

select
    account_days.account_name,
    account_days.csm_owner,
    subscriptions.seats,
    subscriptions.mrr,
    cast(subscriptions.mrr * 12 as decimal(38, 2)) as arr,
    subscriptions.currency,
    subscriptions.mrr_reporting,
    subscriptions.reporting_currency,
    subscriptions.renewal_date,
    scores.as_of_date = newest_day.as_of_date as is_customer,
    scores.tenant_id,
    scores.account_id,
    scores.as_of_date,
    account_days.segment,
    account_days.plan,
    scores.score,
    scores.raw_score,
    scores.rag,
    scores.churn_risk_level,
    scores.churn_triggered_by,
    scores.should_alert,
    previous_scores.score as previous_score,
    previous_scores.rag as previous_rag,
    scores.score - scores_28_days_before.score as score_change_28d,
    signals.feature_adoption_rate,
    signals.usage_trend,
    signals.login_frequency_days,
    signals.days_since_last_interaction,
    signals.invoice_payment_status,
    signals.support_sentiment,
    signals.open_ticket_count,
    signals.days_to_renewal,
    signals.seats_utilization_rate,
    signals.stakeholder_engagement,
    signals.nps_score,
    signals.escalation_count_90_days,
    signals.tam_health_rag,
    signals.missing_signals,
    signals.signal_coverage,
    scores.feature_adoption_rate_points,
    scores.usage_trend_points,
    scores.login_frequency_days_points,
    scores.days_since_last_interaction_points,
    scores.invoice_payment_status_points,
    scores.support_sentiment_points,
    scores.days_to_renewal_points,
    scores.seats_utilization_rate_points,
    scores.stakeholder_engagement_points,
    scores.nps_score_points,
    scores.escalation_count_90_days_points,
    scores.green_threshold,
    scores.amber_threshold,
    scores.churn_window_days,
    scores.config_hash,
    scores.scored_at,
    pulses.pulse,
    pulses.pulse_age_days,
    pulses.pulse_note,
    disagreements.account_id is not null as disagrees
from scores
cross join newest_day
inner join signals
    on scores.account_id = signals.account_id
inner join account_days
    on scores.account_id = account_days.account_id
left join subscriptions
    on scores.account_id = subscriptions.account_id
left join previous_scores
    on scores.account_id = previous_scores.account_id
left join scores_28_days_before
    on scores.account_id = scores_28_days_before.account_id
left join pulses
    on scores.account_id = pulses.account_id
left join disagreements
    on scores.account_id = disagreements.account_id
order by scores.tenant_id, scores.account_id
