-- Grain: one row per account of the population and day.
-- Definition (docs/signals.md, "Definitions"): the inputs of the scorer, with the signals for which the account had no
-- records (missing_signals) and the share of the weights with records (signal_coverage).
-- Worked example: 110 events in the last 28 days and 100 in the 28 before => growing; 109 => stable.

with account_days as (
    select
        tenant_id,
        account_id,
        as_of_date,
        created_at
    from intermediate.int_account_days
    where as_of_date between $first_date and $last_date
),

adoption as (
    select
        account_id,
        as_of_date,
        count(*) as features_in_plan,
        count(*) filter (where adopted) as features_adopted
    from intermediate.int_account_features
    where
        as_of_date between $first_date and $last_date
        and in_plan
    group by account_id, as_of_date
),

usage_facts as (
    select
        account_id,
        as_of_date,
        events_in_window,
        events_in_window_before,
        active_users_in_window,
        login_days_in_window,
        ever_active,
        ever_logged_in,
        -- Without events the seats are unused; with events that name no user, the users are unknown.
        ever_named_user or not ever_active as shows_users,
        ever_active and tenant_ever_named_feature as shows_features
    from intermediate.int_account_usage
    where as_of_date between $first_date and $last_date
),

interactions as (
    select
        account_id,
        as_of_date,
        days_since_last_interaction,
        contacts,
        key_contacts
    from intermediate.int_account_interactions
    where as_of_date between $first_date and $last_date
),

invoices as (
    select
        account_id,
        as_of_date,
        days_past_due,
        ever_invoiced
    from intermediate.int_account_invoices
    where as_of_date between $first_date and $last_date
),

support as (
    select
        account_id,
        as_of_date,
        open_tickets,
        scoped_sentiments,
        sentiment_sum,
        escalations_in_window
    from intermediate.int_account_support
    where as_of_date between $first_date and $last_date
),

subscriptions as (
    select
        account_id,
        as_of_date,
        nullif(seats, 0) as seats,
        days_to_renewal
    from intermediate.int_account_subscriptions
    where as_of_date between $first_date and $last_date
),

nps as (
    select
        account_id,
        as_of_date,
        nps_score
    from intermediate.int_account_nps
    where as_of_date between $first_date and $last_date
),

tam as (
    select
        account_id,
        as_of_date,
        tam_health_rag
    from intermediate.int_account_tam
    where as_of_date between $first_date and $last_date
),

signals as (
    select
        account_days.tenant_id,
        account_days.account_id,
        account_days.as_of_date,
        coalesce(
            cast(adoption.features_adopted as double) / nullif(adoption.features_in_plan, 0),
            cast(0 as double)
        ) as feature_adoption_rate,
        case
            when usage_facts.events_in_window = 0 then 'inactive'
            when
                account_days.created_at
                > cast(account_days.as_of_date + 1 - 2 * $trend_window_days as timestamp)
                then 'stable'
            when
                100 * cast(usage_facts.events_in_window as decimal(30, 0))
                >= $growing_percent * cast(usage_facts.events_in_window_before as decimal(30, 0))
                then 'growing'
            when
                100 * cast(usage_facts.events_in_window as decimal(30, 0))
                <= $declining_percent * cast(usage_facts.events_in_window_before as decimal(30, 0))
                then 'declining'
            else 'stable'
        end as usage_trend,
        case
            when usage_facts.login_days_in_window > 0
                then cast($login_window_days // usage_facts.login_days_in_window as bigint)
            when usage_facts.ever_logged_in then cast($login_window_days + 1 as bigint)
        end as login_frequency_days,
        interactions.days_since_last_interaction,
        -- The levels of the scoring table: to 30 days, to 89 days, and from 90 days past due.
        case
            when invoices.days_past_due is null or invoices.days_past_due <= 0 then 'current'
            when invoices.days_past_due <= 30 then 'overdue_30'
            when invoices.days_past_due <= 89 then 'overdue_60'
            else 'overdue_90_plus'
        end as invoice_payment_status,
        -- By the mean sentiment: above 0.25, from -0.25, from -1.25, and below, in whole numbers.
        case
            when support.scoped_sentiments = 0 then 'neutral'
            when 4 * support.sentiment_sum > support.scoped_sentiments then 'positive'
            when 4 * support.sentiment_sum >= -support.scoped_sentiments then 'neutral'
            when 4 * support.sentiment_sum >= -5 * support.scoped_sentiments then 'negative'
            else 'critical'
        end as support_sentiment,
        support.open_tickets as open_ticket_count,
        subscriptions.days_to_renewal,
        case
            -- 0.5 is the default of the scoring table, 2 its maximum.
            when subscriptions.seats is null or not usage_facts.shows_users then cast(0.5 as double)
            else
                least(
                    cast(usage_facts.active_users_in_window as double) / subscriptions.seats,
                    cast(2 as double)
                )
        end as seats_utilization_rate,
        case
            when
                interactions.contacts >= $engagement_high_contacts
                and interactions.key_contacts >= 1
                then 'high'
            when interactions.contacts >= 1 then 'medium'
            else 'low'
        end as stakeholder_engagement,
        nps.nps_score,
        support.escalations_in_window as escalation_count_90_days,
        tam.tam_health_rag,
        not usage_facts.shows_features
        or coalesce(adoption.features_in_plan, 0) = 0 as lacks_adoption,
        not usage_facts.ever_active as lacks_usage,
        not usage_facts.ever_logged_in as lacks_logins,
        interactions.days_since_last_interaction is null as lacks_interactions,
        not invoices.ever_invoiced as lacks_invoices,
        support.scoped_sentiments = 0 as lacks_sentiment,
        subscriptions.days_to_renewal is null as lacks_renewal,
        subscriptions.seats is null or not usage_facts.shows_users as lacks_seats,
        nps.nps_score is null as lacks_nps
    from account_days
    left join adoption
        on
            account_days.account_id = adoption.account_id
            and account_days.as_of_date = adoption.as_of_date
    inner join usage_facts
        on
            account_days.account_id = usage_facts.account_id
            and account_days.as_of_date = usage_facts.as_of_date
    inner join interactions
        on
            account_days.account_id = interactions.account_id
            and account_days.as_of_date = interactions.as_of_date
    inner join invoices
        on
            account_days.account_id = invoices.account_id
            and account_days.as_of_date = invoices.as_of_date
    inner join support
        on
            account_days.account_id = support.account_id
            and account_days.as_of_date = support.as_of_date
    inner join subscriptions
        on
            account_days.account_id = subscriptions.account_id
            and account_days.as_of_date = subscriptions.as_of_date
    inner join nps
        on
            account_days.account_id = nps.account_id
            and account_days.as_of_date = nps.as_of_date
    inner join tam
        on
            account_days.account_id = tam.account_id
            and account_days.as_of_date = tam.as_of_date
)

select
    tenant_id,
    account_id,
    as_of_date,
    feature_adoption_rate,
    usage_trend,
    login_frequency_days,
    days_since_last_interaction,
    invoice_payment_status,
    support_sentiment,
    open_ticket_count,
    days_to_renewal,
    seats_utilization_rate,
    stakeholder_engagement,
    nps_score,
    escalation_count_90_days,
    tam_health_rag,
    concat_ws(
        ',',
        case when lacks_adoption then 'feature_adoption_rate' end,
        case when lacks_usage then 'usage_trend' end,
        case when lacks_logins then 'login_frequency_days' end,
        case when lacks_interactions then 'days_since_last_interaction' end,
        case when lacks_invoices then 'invoice_payment_status' end,
        case when lacks_sentiment then 'support_sentiment' end,
        case when lacks_renewal then 'days_to_renewal' end,
        case when lacks_seats then 'seats_utilization_rate' end,
        case when lacks_interactions then 'stakeholder_engagement' end,
        case when lacks_nps then 'nps_score' end
    ) as missing_signals,
    cast(
        100
        - case when lacks_adoption then $feature_adoption_rate_weight else 0 end
        - case when lacks_usage then $usage_trend_weight else 0 end
        - case when lacks_logins then $login_frequency_days_weight else 0 end
        - case when lacks_interactions then $days_since_last_interaction_weight else 0 end
        - case when lacks_invoices then $invoice_payment_status_weight else 0 end
        - case when lacks_sentiment then $support_sentiment_weight else 0 end
        - case when lacks_renewal then $days_to_renewal_weight else 0 end
        - case when lacks_seats then $seats_utilization_rate_weight else 0 end
        - case when lacks_interactions then $stakeholder_engagement_weight else 0 end
        - case when lacks_nps then $nps_score_weight else 0 end
        as double
    ) / cast(100 as double) as signal_coverage,
    -- Scoring the day sets it, since only then is the outcome known.
    cast(null as timestamp) as known_from
from signals
order by as_of_date, tenant_id, account_id
