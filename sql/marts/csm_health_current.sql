-- Grain: one row per account that was ever scored.
-- Definition: the account's latest row of csm_health_signals and csm_health_scores with who it is, its latest scored day
-- before, and the change since exactly 28 days before. An account that left keeps its last row: see as_of_date.
-- Worked example: 60.0 on 2026-06-02, 71.5 on 2026-06-29 and 72.0 on 2026-06-30 => previous_score 71.5, score_change_28d 12.0.

with latest_days as (
    select
        tenant_id,
        account_id,
        max(as_of_date) as as_of_date
    from marts.csm_health_scores
    group by tenant_id, account_id
),

previous_days as (
    select
        csm_health_scores.tenant_id,
        csm_health_scores.account_id,
        max(csm_health_scores.as_of_date) as as_of_date
    from marts.csm_health_scores
    inner join latest_days
        on
            csm_health_scores.tenant_id = latest_days.tenant_id
            and csm_health_scores.account_id = latest_days.account_id
            and csm_health_scores.as_of_date < latest_days.as_of_date
    group by csm_health_scores.tenant_id, csm_health_scores.account_id
),

previous as (
    select
        csm_health_scores.tenant_id,
        csm_health_scores.account_id,
        csm_health_scores.score,
        csm_health_scores.rag
    from marts.csm_health_scores
    inner join previous_days
        on
            csm_health_scores.tenant_id = previous_days.tenant_id
            and csm_health_scores.account_id = previous_days.account_id
            and csm_health_scores.as_of_date = previous_days.as_of_date
),

month_before as (
    select
        csm_health_scores.tenant_id,
        csm_health_scores.account_id,
        csm_health_scores.score
    from marts.csm_health_scores
    inner join latest_days
        on
            csm_health_scores.tenant_id = latest_days.tenant_id
            and csm_health_scores.account_id = latest_days.account_id
            and csm_health_scores.as_of_date = latest_days.as_of_date - 28
)

select
    scores.tenant_id,
    scores.account_id,
    scores.as_of_date,
    account_days.account_name,
    account_days.segment,
    account_days.plan,
    account_days.csm_owner,
    scores.score,
    scores.raw_score,
    scores.rag,
    scores.churn_risk_level,
    scores.churn_triggered_by,
    scores.should_alert,
    previous.score as previous_score,
    previous.rag as previous_rag,
    scores.score - month_before.score as score_change_28d,
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
    scores.scored_at
from latest_days
inner join marts.csm_health_scores as scores
    on
        latest_days.tenant_id = scores.tenant_id
        and latest_days.account_id = scores.account_id
        and latest_days.as_of_date = scores.as_of_date
inner join marts.csm_health_signals as signals
    on
        latest_days.tenant_id = signals.tenant_id
        and latest_days.account_id = signals.account_id
        and latest_days.as_of_date = signals.as_of_date
inner join intermediate.int_account_days as account_days
    on
        latest_days.tenant_id = account_days.tenant_id
        and latest_days.account_id = account_days.account_id
        and latest_days.as_of_date = account_days.as_of_date
left join previous
    on
        latest_days.tenant_id = previous.tenant_id
        and latest_days.account_id = previous.account_id
left join month_before
    on
        latest_days.tenant_id = month_before.tenant_id
        and latest_days.account_id = month_before.account_id
order by scores.tenant_id, scores.account_id
