-- Grain: one row per account, period and trigger, in the partition in which the review is due.
-- Definition (docs/signals.md, "Quarterly business reviews"): the periods of int_review_periods with the health of the
-- account (csm_review_signals), its usage and its tickets. Only scored days that count are read (see csm_days), and a
-- contract_proximity review is due on a day that counts.
-- Worked example: 2026-07-01 => "Q2 2026" from 2026-04-01 to 2026-06-30, compared with the 91 days before it.

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

account_days as (
    select
        account_id,
        as_of_date,
        account_name,
        segment,
        plan
    from intermediate.int_account_days
    where as_of_date between $first_date and $last_date
),

subscriptions as (
    select
        account_id,
        as_of_date,
        renewal_date,
        days_to_renewal,
        seats,
        mrr,
        currency
    from intermediate.int_account_subscriptions
    where as_of_date between $first_date and $last_date
),

usage_figures as (
    select
        account_id,
        as_of_date,
        period,
        trigger,
        active_users,
        active_users_previous,
        events,
        events_previous,
        adopted_features,
        adopted_features_previous
    from intermediate.int_review_usage
    where as_of_date between $first_date and $last_date
),

ticket_figures as (
    select
        account_id,
        as_of_date,
        period,
        trigger,
        tickets_solved,
        tickets_solved_previous,
        median_hours_to_solve,
        median_hours_to_solve_previous
    from intermediate.int_review_tickets
    where as_of_date between $first_date and $last_date
),

open_topics as (
    select
        tickets.account_id,
        tickets.as_of_date,
        tickets.open_tickets,
        tickets.oldest_open_days,
        invoices.unpaid_invoices,
        invoices.days_past_due
    from intermediate.int_account_support as tickets
    inner join intermediate.int_account_invoices as invoices
        on
            tickets.account_id = invoices.account_id
            and tickets.as_of_date = invoices.as_of_date
    where
        tickets.as_of_date between $first_date and $last_date
        and invoices.as_of_date between $first_date and $last_date
),

-- A review names at most two gains, two losses and the three weakest signals.
health_changes as (
    select
        account_id,
        as_of_date,
        period,
        trigger,
        max(health_start_date) as health_start_date,
        max(health_end_date) as health_end_date,
        max(signal) filter (where gain_rank = 1 and points_change > 0) as up_signal_1,
        max(points_change) filter (where gain_rank = 1 and points_change > 0) as up_points_1,
        max(signal) filter (where gain_rank = 2 and points_change > 0) as up_signal_2,
        max(points_change) filter (where gain_rank = 2 and points_change > 0) as up_points_2,
        max(signal) filter (where loss_rank = 1 and points_change < 0) as down_signal_1,
        max(points_change) filter (where loss_rank = 1 and points_change < 0) as down_points_1,
        max(signal) filter (where loss_rank = 2 and points_change < 0) as down_signal_2,
        max(points_change) filter (where loss_rank = 2 and points_change < 0) as down_points_2,
        max(signal) filter (where weakness_rank = 1 and share_of_weight < 1) as weak_signal_1,
        max(signal) filter (where weakness_rank = 2 and share_of_weight < 1) as weak_signal_2,
        max(signal) filter (where weakness_rank = 3 and share_of_weight < 1) as weak_signal_3
    from marts.csm_review_signals
    where as_of_date between $first_date and $last_date
    group by account_id, as_of_date, period, trigger
),

-- A quarter has at most 92 days, and its start may be 28 days before them: 120 days.
scored_days as (
    select
        account_id,
        as_of_date,
        score,
        rag
    from marts.csm_health_scores
    where
        as_of_date between $first_date - 120 and $last_date
        and not exists (
            select 1
            from run.uncounted_days as uncounted
            where uncounted.as_of_date = csm_health_scores.as_of_date
        )
),

settled_bands as (
    select
        account_id,
        as_of_date,
        settled_rag
    from marts.csm_settled_bands
    where as_of_date between $first_date - 120 and $last_date
),

-- Days that an earlier version built have no settled band.
scores_within as (
    select
        review_periods.account_id,
        review_periods.as_of_date,
        review_periods.period,
        review_periods.trigger,
        scored_days.as_of_date as scored_date,
        scored_days.score,
        coalesce(settled_bands.settled_rag, scored_days.rag) as rag
    from review_periods
    inner join scored_days
        on
            review_periods.account_id = scored_days.account_id
            and scored_days.as_of_date >= review_periods.period_start
            and scored_days.as_of_date <= review_periods.period_end
    left join settled_bands
        on
            scored_days.account_id = settled_bands.account_id
            and scored_days.as_of_date = settled_bands.as_of_date
),

scores_with_previous as (
    select
        account_id,
        as_of_date,
        period,
        trigger,
        scored_date,
        score,
        rag,
        lag(rag) over (
            partition by account_id, as_of_date, period, trigger
            order by scored_date
        ) as previous_rag
    from scores_within
),

rag_paths as (
    select
        account_id,
        as_of_date,
        period,
        trigger,
        string_agg(rag, ' → ' order by scored_date) filter (
            where previous_rag is null or rag <> previous_rag
        ) as rag_path,
        min(score) as lowest_score,
        max(score) as highest_score
    from scores_with_previous
    group by account_id, as_of_date, period, trigger
)

select
    review_periods.tenant_id,
    review_periods.account_id,
    review_periods.period,
    review_periods.trigger,
    review_periods.as_of_date,
    account_days.account_name,
    account_days.segment,
    account_days.plan,
    review_periods.period_start,
    review_periods.period_end,
    subscriptions.renewal_date,
    subscriptions.days_to_renewal,
    subscriptions.seats,
    subscriptions.mrr,
    subscriptions.currency,
    health_changes.health_start_date,
    health_changes.health_end_date,
    at_start.score as score_start,
    at_end.score as score_end,
    at_start.rag as rag_start,
    at_end.rag as rag_end,
    rag_paths.rag_path,
    rag_paths.lowest_score,
    rag_paths.highest_score,
    health_changes.up_signal_1,
    health_changes.up_points_1,
    health_changes.up_signal_2,
    health_changes.up_points_2,
    health_changes.down_signal_1,
    health_changes.down_points_1,
    health_changes.down_signal_2,
    health_changes.down_points_2,
    health_changes.weak_signal_1,
    health_changes.weak_signal_2,
    health_changes.weak_signal_3,
    coalesce(usage_figures.active_users, 0) as active_users,
    coalesce(usage_figures.active_users_previous, 0) as active_users_previous,
    coalesce(usage_figures.events, 0) as events,
    coalesce(usage_figures.events_previous, 0) as events_previous,
    coalesce(usage_figures.adopted_features, 0) as adopted_features,
    coalesce(usage_figures.adopted_features_previous, 0) as adopted_features_previous,
    coalesce(ticket_figures.tickets_solved, 0) as tickets_solved,
    coalesce(ticket_figures.tickets_solved_previous, 0) as tickets_solved_previous,
    ticket_figures.median_hours_to_solve,
    ticket_figures.median_hours_to_solve_previous,
    open_topics.open_tickets,
    open_topics.oldest_open_days,
    open_topics.unpaid_invoices,
    open_topics.days_past_due
from review_periods
inner join account_days
    on
        review_periods.account_id = account_days.account_id
        and review_periods.as_of_date = account_days.as_of_date
inner join subscriptions
    on
        review_periods.account_id = subscriptions.account_id
        and review_periods.as_of_date = subscriptions.as_of_date
left join open_topics
    on
        review_periods.account_id = open_topics.account_id
        and review_periods.as_of_date = open_topics.as_of_date
left join health_changes
    on
        review_periods.account_id = health_changes.account_id
        and review_periods.as_of_date = health_changes.as_of_date
        and review_periods.period = health_changes.period
        and review_periods.trigger = health_changes.trigger
left join scored_days as at_start
    on
        health_changes.account_id = at_start.account_id
        and health_changes.health_start_date = at_start.as_of_date
left join scored_days as at_end
    on
        health_changes.account_id = at_end.account_id
        and health_changes.health_end_date = at_end.as_of_date
left join rag_paths
    on
        review_periods.account_id = rag_paths.account_id
        and review_periods.as_of_date = rag_paths.as_of_date
        and review_periods.period = rag_paths.period
        and review_periods.trigger = rag_paths.trigger
left join usage_figures
    on
        review_periods.account_id = usage_figures.account_id
        and review_periods.as_of_date = usage_figures.as_of_date
        and review_periods.period = usage_figures.period
        and review_periods.trigger = usage_figures.trigger
left join ticket_figures
    on
        review_periods.account_id = ticket_figures.account_id
        and review_periods.as_of_date = ticket_figures.as_of_date
        and review_periods.period = ticket_figures.period
        and review_periods.trigger = ticket_figures.trigger
order by
    review_periods.tenant_id,
    review_periods.account_id,
    review_periods.period,
    review_periods.trigger
