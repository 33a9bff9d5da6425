-- Grain: one row per business review of an account that was scored around the period, and signal.
-- Definition (docs/signals.md, "Quarterly business reviews"): the points of each signal at the start and at the end of
-- the period. The start is the latest scored day on or before its first day, at most 28 days back, else the first
-- scored day within; the end is the latest scored day within. Only scored days that count are read (see csm_days), and
-- a contract_proximity review is due on a day that counts.
-- Worked example: usage_trend with 8 points on 2026-04-01 and 3 on 2026-06-30 => points_change -5, loss_rank 1.

with review_periods as (
    select
        tenant_id,
        account_id,
        as_of_date,
        period,
        trigger,
        period_start,
        period_end
    from intermediate.int_review_periods
    where
        as_of_date between $first_date and $last_date
        and (
            trigger = 'quarterly'
            or not exists (
                select 1
                from run.uncounted_days as uncounted
                where uncounted.as_of_date = int_review_periods.as_of_date
            )
        )
),

-- A quarter has at most 92 days, and its start may be 28 days before them: 120 days.
scored_days as (
    select
        account_id,
        as_of_date,
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
        escalation_count_90_days_points
    from marts.csm_health_scores
    where
        as_of_date between $first_date - 120 and $last_date
        and not exists (
            select 1
            from run.uncounted_days as uncounted
            where uncounted.as_of_date = csm_health_scores.as_of_date
        )
),

scored_days_of_reviews as (
    select
        review_periods.tenant_id,
        review_periods.account_id,
        review_periods.as_of_date,
        review_periods.period,
        review_periods.trigger,
        max(scored_days.as_of_date) filter (
            where scored_days.as_of_date <= review_periods.period_start
        ) as last_day_before,
        min(scored_days.as_of_date) filter (
            where scored_days.as_of_date > review_periods.period_start
        ) as first_day_within,
        max(scored_days.as_of_date) filter (
            where scored_days.as_of_date >= review_periods.period_start
        ) as last_day_within
    from review_periods
    inner join scored_days
        on
            review_periods.account_id = scored_days.account_id
            and scored_days.as_of_date >= review_periods.period_start - 28
            and scored_days.as_of_date <= review_periods.period_end
    group by
        review_periods.tenant_id,
        review_periods.account_id,
        review_periods.as_of_date,
        review_periods.period,
        review_periods.trigger
),

review_days as (
    select
        tenant_id,
        account_id,
        as_of_date,
        period,
        trigger,
        coalesce(last_day_before, first_day_within) as health_start_date,
        last_day_within as health_end_date
    from scored_days_of_reviews
),

-- Only the days that a review compares: joining all scored days of an account with themselves costs the square of the
-- range.
compared_days as (
    select
        account_id,
        health_start_date as as_of_date
    from review_days
    union
    select
        account_id,
        health_end_date as as_of_date
    from review_days
),

compared_scores as (
    select
        scored_days.account_id,
        scored_days.as_of_date,
        scored_days.feature_adoption_rate_points,
        scored_days.usage_trend_points,
        scored_days.login_frequency_days_points,
        scored_days.days_since_last_interaction_points,
        scored_days.invoice_payment_status_points,
        scored_days.support_sentiment_points,
        scored_days.days_to_renewal_points,
        scored_days.seats_utilization_rate_points,
        scored_days.stakeholder_engagement_points,
        scored_days.nps_score_points,
        scored_days.escalation_count_90_days_points
    from scored_days
    inner join compared_days
        on
            scored_days.account_id = compared_days.account_id
            and scored_days.as_of_date = compared_days.as_of_date
),

signal_points as (
    select
        account_id,
        as_of_date,
        points_column,
        points
    from compared_scores
    unpivot (
        points for points_column in (
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
            escalation_count_90_days_points
        )
    )
),

-- The position is the signal's place in the scoring table; the first comes first among equals.
signal_weights (points_column, signal, position, weight) as (
    values
    ('feature_adoption_rate_points', 'feature_adoption_rate', 1, $feature_adoption_rate_weight),
    ('usage_trend_points', 'usage_trend', 2, $usage_trend_weight),
    ('login_frequency_days_points', 'login_frequency_days', 3, $login_frequency_days_weight),
    (
        'days_since_last_interaction_points',
        'days_since_last_interaction',
        4,
        $days_since_last_interaction_weight
    ),
    ('invoice_payment_status_points', 'invoice_payment_status', 5, $invoice_payment_status_weight),
    ('support_sentiment_points', 'support_sentiment', 6, $support_sentiment_weight),
    ('days_to_renewal_points', 'days_to_renewal', 7, $days_to_renewal_weight),
    ('seats_utilization_rate_points', 'seats_utilization_rate', 8, $seats_utilization_rate_weight),
    ('stakeholder_engagement_points', 'stakeholder_engagement', 9, $stakeholder_engagement_weight),
    ('nps_score_points', 'nps_score', 10, $nps_score_weight),
    (
        'escalation_count_90_days_points',
        'escalation_count_90_days',
        11,
        $escalation_count_90_days_weight
    )
),

review_signals as (
    select
        review_days.tenant_id,
        review_days.account_id,
        review_days.as_of_date,
        review_days.period,
        review_days.trigger,
        signal_weights.signal,
        signal_weights.position,
        review_days.health_start_date,
        review_days.health_end_date,
        at_start.points as points_start,
        at_end.points as points_end,
        at_end.points - at_start.points as points_change,
        at_end.points / signal_weights.weight as share_of_weight
    from review_days
    cross join signal_weights
    left join signal_points as at_start
        on
            review_days.account_id = at_start.account_id
            and review_days.health_start_date = at_start.as_of_date
            and signal_weights.points_column = at_start.points_column
    left join signal_points as at_end
        on
            review_days.account_id = at_end.account_id
            and review_days.health_end_date = at_end.as_of_date
            and signal_weights.points_column = at_end.points_column
)

select
    tenant_id,
    account_id,
    as_of_date,
    period,
    trigger,
    signal,
    health_start_date,
    health_end_date,
    points_start,
    points_end,
    points_change,
    share_of_weight,
    row_number() over (
        partition by tenant_id, account_id, as_of_date, period, trigger
        order by points_change desc, position asc
    ) as gain_rank,
    row_number() over (
        partition by tenant_id, account_id, as_of_date, period, trigger
        order by points_change, position
    ) as loss_rank,
    row_number() over (
        partition by tenant_id, account_id, as_of_date, period, trigger
        order by share_of_weight, position
    ) as weakness_rank
from review_signals
order by as_of_date, tenant_id, account_id, period, trigger, signal
