-- Grain: one row per account, period and trigger, in the partition in which the review falls due.
-- Definition (signals.md, "Quarterly business reviews"): quarterly, on the first day of a quarter, about the quarter
-- that ended; contract_proximity, on the first day within 90 days of the renewal, about the 90 days up to that day.
-- Health at the start is that of the latest scored day on or before it, at most 28 days back, else of the first scored
-- day within. Only scored days that count are read (see csm_days), and a contract_proximity review falls due on a day
-- that counts.
-- Worked example: 2026-07-01 => "Q2 2026" from 2026-04-01 to 2026-06-30, compared with the 91 days before it.

with account_days as (
    select
        account_days.tenant_id,
        account_days.account_id,
        account_days.as_of_date,
        account_days.account_name,
        account_days.segment,
        account_days.plan,
        subscriptions.seats,
        subscriptions.mrr,
        subscriptions.currency,
        subscriptions.renewal_date,
        subscriptions.days_to_renewal
    from intermediate.int_account_days as account_days
    inner join intermediate.int_account_subscriptions as subscriptions
        on
            account_days.account_id = subscriptions.account_id
            and account_days.as_of_date = subscriptions.as_of_date
    where
        account_days.as_of_date between $first_date and $last_date
        and subscriptions.as_of_date between $first_date and $last_date
),

-- The day before is rebuilt from the records, so that a review does not depend on which days were materialised.
days_before as (
    select
        account_days.account_id,
        account_days.as_of_date,
        min(date_diff('day', account_days.as_of_date - 1, cast(subscriptions.renews_at as date))) as days_to_renewal
    from account_days
    inner join staging.stg_accounts as accounts
        on
            account_days.account_id = accounts.account_id
            and (accounts.created_at is null or cast(accounts.created_at as date) <= account_days.as_of_date - 1)
    inner join staging.stg_subscriptions as subscriptions
        on
            account_days.account_id = subscriptions.account_id
            and cast(subscriptions.started_at as date) <= account_days.as_of_date - 1
            and (
                subscriptions.ended_at is null
                or cast(subscriptions.ended_at as date) > account_days.as_of_date - 1
            )
            and (subscriptions.term_months is null or subscriptions.term_months >= $min_term_months)
    group by account_days.account_id, account_days.as_of_date
),

reviews as (
    select
        account_days.tenant_id,
        account_days.account_id,
        account_days.as_of_date,
        'Q' || cast(extract(quarter from account_days.as_of_date - 1) as varchar) || ' '
        || cast(extract(year from account_days.as_of_date - 1) as varchar) as period,
        'quarterly' as trigger,
        case
            when extract(month from account_days.as_of_date) = 1
                then make_date(cast(extract(year from account_days.as_of_date) as integer) - 1, 10, 1)
            else
                make_date(
                    cast(extract(year from account_days.as_of_date) as integer),
                    cast(extract(month from account_days.as_of_date) as integer) - 3,
                    1
                )
        end as period_start,
        account_days.as_of_date - 1 as period_end
    from account_days
    where
        extract(day from account_days.as_of_date) = 1
        and extract(month from account_days.as_of_date) in (1, 4, 7, 10)
    union all
    select
        account_days.tenant_id,
        account_days.account_id,
        account_days.as_of_date,
        'Renewal ' || cast(account_days.renewal_date as varchar) as period,
        'contract_proximity' as trigger,
        account_days.as_of_date - 89 as period_start,
        account_days.as_of_date as period_end
    from account_days
    left join days_before
        on
            account_days.account_id = days_before.account_id
            and account_days.as_of_date = days_before.as_of_date
    where
        account_days.days_to_renewal between 0 and 90
        and (
            account_days.as_of_date = $partitions_start
            or days_before.days_to_renewal is null
            or days_before.days_to_renewal > 90
        )
        and not exists (
            select 1
            from run.uncounted_days as uncounted
            where uncounted.as_of_date = account_days.as_of_date
        )
),

review_spans as (
    select
        tenant_id,
        account_id,
        as_of_date,
        period,
        trigger,
        period_start,
        period_end,
        period_start - cast(date_diff('day', period_start, period_end) + 1 as integer) as previous_start
    from reviews
),

scored_days as (
    select
        account_id,
        as_of_date,
        score,
        rag,
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
        as_of_date >= $first_date - 125
        and as_of_date <= $last_date
        and not exists (
            select 1
            from run.uncounted_days as uncounted
            where uncounted.as_of_date = csm_health_scores.as_of_date
        )
),

review_days as (
    select
        review_spans.account_id,
        review_spans.period,
        review_spans.trigger,
        max(scored_days.as_of_date) filter (
            where scored_days.as_of_date <= review_spans.period_start
        ) as day_before_start,
        min(scored_days.as_of_date) filter (
            where scored_days.as_of_date > review_spans.period_start
        ) as first_day_within,
        max(scored_days.as_of_date) filter (
            where scored_days.as_of_date >= review_spans.period_start
        ) as end_day
    from review_spans
    inner join scored_days
        on
            review_spans.account_id = scored_days.account_id
            and scored_days.as_of_date >= review_spans.period_start - 28
            and scored_days.as_of_date <= review_spans.period_end
    group by review_spans.account_id, review_spans.period, review_spans.trigger
),

health_days as (
    select
        account_id,
        period,
        trigger,
        coalesce(day_before_start, first_day_within) as start_day,
        end_day
    from review_days
),

path_steps as (
    select
        review_spans.account_id,
        review_spans.period,
        review_spans.trigger,
        scored_days.as_of_date,
        scored_days.rag,
        scored_days.score,
        lag(scored_days.rag) over (
            partition by review_spans.account_id, review_spans.period, review_spans.trigger
            order by scored_days.as_of_date
        ) as rag_before
    from review_spans
    inner join scored_days
        on
            review_spans.account_id = scored_days.account_id
            and scored_days.as_of_date >= review_spans.period_start
            and scored_days.as_of_date <= review_spans.period_end
),

paths as (
    select
        account_id,
        period,
        trigger,
        string_agg(rag, ' → ' order by as_of_date) filter (
            where rag_before is null or rag <> rag_before
        ) as rag_path,
        min(score) as lowest_score,
        max(score) as highest_score
    from path_steps
    group by account_id, period, trigger
),

-- Only the days that a review compares: the points of every scored day, joined with themselves by account, grow with
-- the square of the range.
compared_days as (
    select
        account_id,
        start_day as as_of_date
    from health_days
    union
    select
        account_id,
        end_day as as_of_date
    from health_days
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
        signal_column,
        points
    from compared_scores
    unpivot (
        points for signal_column in (
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

signal_weights (signal_column, signal, position, weight) as (
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
    ('escalation_count_90_days_points', 'escalation_count_90_days', 11, $escalation_count_90_days_weight)
),

signal_changes as (
    select
        health_days.account_id,
        health_days.period,
        health_days.trigger,
        signal_weights.signal,
        signal_weights.position,
        at_end.points - at_start.points as change,
        at_end.points / signal_weights.weight as share_of_weight
    from health_days
    inner join signal_points as at_end
        on
            health_days.account_id = at_end.account_id
            and health_days.end_day = at_end.as_of_date
    inner join signal_points as at_start
        on
            health_days.account_id = at_start.account_id
            and health_days.start_day = at_start.as_of_date
            and at_end.signal_column = at_start.signal_column
    inner join signal_weights
        on at_end.signal_column = signal_weights.signal_column
),

ranked_signals as (
    select
        account_id,
        period,
        trigger,
        signal,
        change,
        share_of_weight,
        row_number() over (
            partition by account_id, period, trigger
            order by change desc, position
        ) as up_rank,
        row_number() over (
            partition by account_id, period, trigger
            order by change, position
        ) as down_rank,
        row_number() over (
            partition by account_id, period, trigger
            order by share_of_weight, position
        ) as weak_rank
    from signal_changes
),

movers as (
    select
        account_id,
        period,
        trigger,
        max(signal) filter (where up_rank = 1 and change > 0) as up_signal_1,
        max(change) filter (where up_rank = 1 and change > 0) as up_points_1,
        max(signal) filter (where up_rank = 2 and change > 0) as up_signal_2,
        max(change) filter (where up_rank = 2 and change > 0) as up_points_2,
        max(signal) filter (where down_rank = 1 and change < 0) as down_signal_1,
        max(change) filter (where down_rank = 1 and change < 0) as down_points_1,
        max(signal) filter (where down_rank = 2 and change < 0) as down_signal_2,
        max(change) filter (where down_rank = 2 and change < 0) as down_points_2,
        max(signal) filter (where weak_rank = 1 and share_of_weight < 1) as weak_signal_1,
        max(signal) filter (where weak_rank = 2 and share_of_weight < 1) as weak_signal_2,
        max(signal) filter (where weak_rank = 3 and share_of_weight < 1) as weak_signal_3
    from ranked_signals
    group by account_id, period, trigger
),

usage_daily as (
    select
        account_id,
        usage_date,
        user_id,
        feature,
        events
    from intermediate.int_usage_daily
    where usage_date >= $first_date - 200 and usage_date <= $last_date
),

usage_figures as (
    select
        review_spans.account_id,
        review_spans.period,
        review_spans.trigger,
        count(distinct case
            when usage_daily.usage_date >= review_spans.period_start then usage_daily.user_id
        end) as active_users,
        count(distinct case
            when usage_daily.usage_date < review_spans.period_start then usage_daily.user_id
        end) as active_users_previous,
        cast(
            sum(usage_daily.events) filter (where usage_daily.usage_date >= review_spans.period_start) as bigint
        ) as events,
        cast(
            sum(usage_daily.events) filter (where usage_daily.usage_date < review_spans.period_start) as bigint
        ) as events_previous,
        count(distinct case
            when usage_daily.usage_date >= review_spans.period_start then features.feature
        end) as adopted_features,
        count(distinct case
            when usage_daily.usage_date < review_spans.period_start then features.feature
        end) as adopted_features_previous
    from review_spans
    inner join usage_daily
        on
            review_spans.account_id = usage_daily.account_id
            and usage_daily.usage_date >= review_spans.previous_start
            and usage_daily.usage_date <= review_spans.period_end
    left join staging.stg_features as features
        on
            usage_daily.feature = features.feature
            and (features._closed_at is null or cast(features._closed_at as date) > usage_daily.usage_date)
    group by review_spans.account_id, review_spans.period, review_spans.trigger
),

solved_tickets as (
    select
        review_spans.account_id,
        review_spans.period,
        review_spans.trigger,
        cast(tickets.solved_at as date) >= review_spans.period_start as is_in_period,
        -- Whole seconds on both sides: of parts of a second one engine counts the boundaries, another what has elapsed.
        cast(
            date_diff(
                'second',
                cast(date_trunc('second', tickets.opened_at) as timestamp),
                cast(date_trunc('second', tickets.solved_at) as timestamp)
            ) as bigint
        ) as seconds_to_solve,
        tickets.ticket_id
    from review_spans
    inner join staging.stg_tickets as tickets
        on
            review_spans.account_id = tickets.account_id
            and cast(tickets.solved_at as date) >= review_spans.previous_start
            and cast(tickets.solved_at as date) <= review_spans.period_end
),

ordered_tickets as (
    select
        account_id,
        period,
        trigger,
        is_in_period,
        seconds_to_solve,
        row_number() over (
            partition by account_id, period, trigger, is_in_period
            order by seconds_to_solve, ticket_id
        ) as place,
        count(*) over (partition by account_id, period, trigger, is_in_period) as tickets
    from solved_tickets
),

-- The median is the mean of the one or two tickets in the middle.
ticket_figures as (
    select
        account_id,
        period,
        trigger,
        count(*) filter (where is_in_period) as tickets_solved,
        count(*) filter (where not is_in_period) as tickets_solved_previous,
        cast(
            sum(seconds_to_solve) filter (
                where is_in_period and place in ((tickets + 1) // 2, (tickets + 2) // 2)
            ) as double
        ) / nullif(
            count(*) filter (where is_in_period and place in ((tickets + 1) // 2, (tickets + 2) // 2)), 0
        ) / 3600 as median_hours_to_solve,
        cast(
            sum(seconds_to_solve) filter (
                where not is_in_period and place in ((tickets + 1) // 2, (tickets + 2) // 2)
            ) as double
        ) / nullif(
            count(*) filter (where not is_in_period and place in ((tickets + 1) // 2, (tickets + 2) // 2)), 0
        ) / 3600 as median_hours_to_solve_previous
    from ordered_tickets
    group by account_id, period, trigger
)

select
    review_spans.tenant_id,
    review_spans.account_id,
    review_spans.period,
    review_spans.trigger,
    review_spans.as_of_date,
    account_days.account_name,
    account_days.segment,
    account_days.plan,
    review_spans.period_start,
    review_spans.period_end,
    account_days.renewal_date,
    account_days.days_to_renewal,
    account_days.seats,
    account_days.mrr,
    account_days.currency,
    health_days.start_day as health_start_date,
    health_days.end_day as health_end_date,
    at_start.score as score_start,
    at_end.score as score_end,
    at_start.rag as rag_start,
    at_end.rag as rag_end,
    paths.rag_path,
    paths.lowest_score,
    paths.highest_score,
    movers.up_signal_1,
    movers.up_points_1,
    movers.up_signal_2,
    movers.up_points_2,
    movers.down_signal_1,
    movers.down_points_1,
    movers.down_signal_2,
    movers.down_points_2,
    movers.weak_signal_1,
    movers.weak_signal_2,
    movers.weak_signal_3,
    coalesce(usage_figures.active_users, 0) as active_users,
    coalesce(usage_figures.active_users_previous, 0) as active_users_previous,
    coalesce(usage_figures.events, 0) as events,
    coalesce(usage_figures.events_previous, 0) as events_previous,
    coalesce(usage_figures.adopted_features, 0) as adopted_features,
    coalesce(usage_figures.adopted_features_previous, 0) as adopted_features_previous,
    coalesce(ticket_figures.tickets_solved, 0) as tickets_solved,
    coalesce(ticket_figures.tickets_solved_previous, 0) as tickets_solved_previous,
    ticket_figures.median_hours_to_solve,
    ticket_figures.median_hours_to_solve_previous
from review_spans
inner join account_days
    on
        review_spans.account_id = account_days.account_id
        and review_spans.as_of_date = account_days.as_of_date
left join health_days
    on
        review_spans.account_id = health_days.account_id
        and review_spans.period = health_days.period
        and review_spans.trigger = health_days.trigger
left join scored_days as at_start
    on
        health_days.account_id = at_start.account_id
        and health_days.start_day = at_start.as_of_date
left join scored_days as at_end
    on
        health_days.account_id = at_end.account_id
        and health_days.end_day = at_end.as_of_date
left join paths
    on
        review_spans.account_id = paths.account_id
        and review_spans.period = paths.period
        and review_spans.trigger = paths.trigger
left join movers
    on
        review_spans.account_id = movers.account_id
        and review_spans.period = movers.period
        and review_spans.trigger = movers.trigger
left join usage_figures
    on
        review_spans.account_id = usage_figures.account_id
        and review_spans.period = usage_figures.period
        and review_spans.trigger = usage_figures.trigger
left join ticket_figures
    on
        review_spans.account_id = ticket_figures.account_id
        and review_spans.period = ticket_figures.period
        and review_spans.trigger = ticket_figures.trigger
order by review_spans.tenant_id, review_spans.account_id, review_spans.period, review_spans.trigger
