-- Grain: one row per account and day on which a change of its RAG settled.
-- Definition (docs/signals.md, "Settled changes"): the settled RAG differs from that of the previous
-- scored day (csm_settled_bands). The day is compared with the scored day before the first day of the
-- new RAG; only days that count are compared (see csm_days). The signal that moved most is the one
-- with the largest change of points either way, the first of the scoring table among equals.
-- Worked example: 71.0 GREEN until 1 June, 64.0 AMBER from 2 June to 4 June with usage_trend down 7
-- => on 4 June: GREEN to AMBER, changed on 2 June, -7.0, usage_trend.

with settled_changes as (
    select
        tenant_id,
        account_id,
        as_of_date,
        previous_settled_rag as from_rag,
        settled_rag as to_rag,
        coalesce(rag_changed_on, as_of_date) as changed_on
    from marts.csm_settled_bands
    where
        as_of_date between $first_date and $last_date
        and settled_rag <> previous_settled_rag
),

-- A change began at most 54 days before it settled, and the scored day before is at most 28 days
-- earlier.
scored_days as (
    select
        account_id,
        as_of_date,
        score,
        feature_adoption_rate_points,
        usage_trend_points,
        login_frequency_days_points,
        days_since_last_interaction_points,
        invoice_payment_status_points,
        support_sentiment_points,
        days_to_renewal_points,
        seats_utilization_rate_points,
        stakeholder_engagement_points,
        nps_score_points,
        escalation_count_90_days_points,
        lag(as_of_date) over (
            partition by account_id
            order by as_of_date
        ) as previous_date
    from marts.csm_health_scores
    where
        as_of_date >= $first_date - 82
        and as_of_date <= $last_date
        and not exists (
            select 1
            from run.uncounted_days as uncounted
            where uncounted.as_of_date = csm_health_scores.as_of_date
        )
),

changes as (
    select
        settled_changes.tenant_id,
        settled_changes.account_id,
        settled_changes.as_of_date,
        settled_changes.changed_on,
        settled_changes.from_rag,
        settled_changes.to_rag,
        today.score - previous.score as score_change,
        today.feature_adoption_rate_points
        - previous.feature_adoption_rate_points as feature_adoption_rate,
        today.usage_trend_points - previous.usage_trend_points as usage_trend,
        today.login_frequency_days_points
        - previous.login_frequency_days_points as login_frequency_days,
        today.days_since_last_interaction_points
        - previous.days_since_last_interaction_points as days_since_last_interaction,
        today.invoice_payment_status_points
        - previous.invoice_payment_status_points as invoice_payment_status,
        today.support_sentiment_points - previous.support_sentiment_points as support_sentiment,
        today.days_to_renewal_points - previous.days_to_renewal_points as days_to_renewal,
        today.seats_utilization_rate_points
        - previous.seats_utilization_rate_points as seats_utilization_rate,
        today.stakeholder_engagement_points
        - previous.stakeholder_engagement_points as stakeholder_engagement,
        today.nps_score_points - previous.nps_score_points as nps_score,
        today.escalation_count_90_days_points
        - previous.escalation_count_90_days_points as escalation_count_90_days
    from settled_changes
    inner join scored_days as today
        on
            settled_changes.account_id = today.account_id
            and settled_changes.as_of_date = today.as_of_date
    inner join scored_days as first_day
        on
            settled_changes.account_id = first_day.account_id
            and settled_changes.changed_on = first_day.as_of_date
    inner join scored_days as previous
        on
            first_day.account_id = previous.account_id
            and first_day.previous_date = previous.as_of_date
),

largest_changes as (
    select
        tenant_id,
        account_id,
        as_of_date,
        changed_on,
        from_rag,
        to_rag,
        score_change,
        feature_adoption_rate,
        usage_trend,
        login_frequency_days,
        days_since_last_interaction,
        invoice_payment_status,
        support_sentiment,
        days_to_renewal,
        seats_utilization_rate,
        stakeholder_engagement,
        nps_score,
        escalation_count_90_days,
        greatest(
            abs(feature_adoption_rate),
            abs(usage_trend),
            abs(login_frequency_days),
            abs(days_since_last_interaction),
            abs(invoice_payment_status),
            abs(support_sentiment),
            abs(days_to_renewal),
            abs(seats_utilization_rate),
            abs(stakeholder_engagement),
            abs(nps_score),
            abs(escalation_count_90_days)
        ) as largest_change
    from changes
)

select
    tenant_id,
    account_id,
    as_of_date,
    as_of_date as settled_on,
    changed_on,
    from_rag,
    to_rag,
    score_change,
    case
        when largest_change = 0 then null
        when abs(feature_adoption_rate) = largest_change then 'feature_adoption_rate'
        when abs(usage_trend) = largest_change then 'usage_trend'
        when abs(login_frequency_days) = largest_change then 'login_frequency_days'
        when abs(days_since_last_interaction) = largest_change then 'days_since_last_interaction'
        when abs(invoice_payment_status) = largest_change then 'invoice_payment_status'
        when abs(support_sentiment) = largest_change then 'support_sentiment'
        when abs(days_to_renewal) = largest_change then 'days_to_renewal'
        when abs(seats_utilization_rate) = largest_change then 'seats_utilization_rate'
        when abs(stakeholder_engagement) = largest_change then 'stakeholder_engagement'
        when abs(nps_score) = largest_change then 'nps_score'
        when abs(escalation_count_90_days) = largest_change then 'escalation_count_90_days'
    end as top_signal,
    case
        when largest_change = 0 then null
        when abs(feature_adoption_rate) = largest_change then feature_adoption_rate
        when abs(usage_trend) = largest_change then usage_trend
        when abs(login_frequency_days) = largest_change then login_frequency_days
        when abs(days_since_last_interaction) = largest_change then days_since_last_interaction
        when abs(invoice_payment_status) = largest_change then invoice_payment_status
        when abs(support_sentiment) = largest_change then support_sentiment
        when abs(days_to_renewal) = largest_change then days_to_renewal
        when abs(seats_utilization_rate) = largest_change then seats_utilization_rate
        when abs(stakeholder_engagement) = largest_change then stakeholder_engagement
        when abs(nps_score) = largest_change then nps_score
        when abs(escalation_count_90_days) = largest_change then escalation_count_90_days
    end as top_signal_change
from largest_changes
order by as_of_date, tenant_id, account_id
