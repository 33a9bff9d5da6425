-- Grain: one row per account of the population and day.
-- Definition (docs/signals.md, "Facts"): for each signal of the score, the numbers that it was computed from as a short
-- text; null if the account has no records for the signal, as in missing_signals of csm_health_signals.
-- Worked example: 5 of the plan's 9 features adopted within 30 days => '5 of 9 features used in 30 days'; an invoice
-- that was due 104 days ago => 'oldest open invoice is 104 days overdue'.

with account_days as (
    select
        tenant_id,
        account_id,
        as_of_date
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
        days_since_last_login,
        ever_active,
        ever_logged_in,
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
        respondents,
        nps_score
    from intermediate.int_account_nps
    where as_of_date between $first_date and $last_date
),

-- What follows a number: the plural, except after 1.
account_facts as (
    select
        account_days.tenant_id,
        account_days.account_id,
        account_days.as_of_date,
        case
            when usage_facts.shows_features and adoption.features_in_plan > 0
                then
                    cast(adoption.features_adopted as varchar) || ' of '
                    || cast(adoption.features_in_plan as varchar)
                    || case when adoption.features_in_plan = 1 then ' feature' else ' features' end
                    || ' used in ' || cast($adoption_window_days as varchar) || ' days'
        end as feature_adoption_rate,
        case
            when usage_facts.ever_active
                then
                    cast(usage_facts.events_in_window as varchar)
                    || case when usage_facts.events_in_window = 1 then ' event' else ' events' end
                    || ' in ' || cast($trend_window_days as varchar) || ' days, '
                    || cast(usage_facts.events_in_window_before as varchar)
                    || ' in the ' || cast($trend_window_days as varchar) || ' days before'
        end as usage_trend,
        case
            when not usage_facts.ever_logged_in then null
            when usage_facts.login_days_in_window = 0
                then 'no login for more than ' || cast($login_window_days as varchar) || ' days'
            else
                case
                    when usage_facts.days_since_last_login = 0 then ''
                    when usage_facts.days_since_last_login = 1 then 'no login for 1 day, '
                    else
                        'no login for ' || cast(usage_facts.days_since_last_login as varchar)
                        || ' days, '
                end
                || 'logins on ' || cast(usage_facts.login_days_in_window as varchar)
                || ' of ' || cast($login_window_days as varchar) || ' days'
        end as login_frequency_days,
        case
            when interactions.days_since_last_interaction = 0 then 'last interaction today'
            when interactions.days_since_last_interaction = 1 then 'last interaction 1 day ago'
            else
                'last interaction ' || cast(interactions.days_since_last_interaction as varchar)
                || ' days ago'
        end as days_since_last_interaction,
        case
            when not invoices.ever_invoiced then null
            when invoices.days_past_due = 1 then 'oldest open invoice is 1 day overdue'
            when invoices.days_past_due > 1
                then
                    'oldest open invoice is ' || cast(invoices.days_past_due as varchar)
                    || ' days overdue'
            else 'no invoice is overdue'
        end as invoice_payment_status,
        case
            when support.scoped_sentiments = 0 then null
            else
                cast(support.scoped_sentiments as varchar)
                || case
                    when support.scoped_sentiments = 1 then ' ticket with a sentiment, '
                    else ' tickets with a sentiment, '
                end
                || cast(support.open_tickets as varchar)
                || case when support.open_tickets = 1 then ' ticket open' else ' tickets open' end
        end as support_sentiment,
        case
            when subscriptions.days_to_renewal = 0 then 'renews today'
            when subscriptions.days_to_renewal = 1 then 'renews in 1 day'
            when subscriptions.days_to_renewal > 1
                then 'renews in ' || cast(subscriptions.days_to_renewal as varchar) || ' days'
            when subscriptions.days_to_renewal = -1 then 'renewal date was 1 day ago'
            else
                'renewal date was ' || cast(-subscriptions.days_to_renewal as varchar)
                || ' days ago'
        end as days_to_renewal,
        case
            when subscriptions.seats is not null and usage_facts.shows_users
                then
                    cast(usage_facts.active_users_in_window as varchar) || ' of '
                    || cast(subscriptions.seats as varchar)
                    || case when subscriptions.seats = 1 then ' seat' else ' seats' end
                    || ' used in ' || cast($active_user_window_days as varchar) || ' days'
        end as seats_utilization_rate,
        case
            when interactions.days_since_last_interaction is null then null
            else
                cast(interactions.contacts as varchar)
                || case when interactions.contacts = 1 then ' contact' else ' contacts' end
                || ' in ' || cast($engagement_window_days as varchar) || ' days, '
                || cast(interactions.key_contacts as varchar)
                || case
                    when interactions.key_contacts = 1 then ' key contact'
                    else ' key contacts'
                end
        end as stakeholder_engagement,
        case
            when nps.nps_score is not null
                then
                    'mean of ' || cast(nps.respondents as varchar)
                    || case when nps.respondents = 1 then ' answer' else ' answers' end
                    || ' in ' || cast($nps_window_days as varchar) || ' days'
        end as nps_score,
        cast(support.escalations_in_window as varchar)
        || case when support.escalations_in_window = 1 then ' escalation' else ' escalations' end
        || ' in ' || cast($escalation_window_days as varchar) || ' days'
            as escalation_count_90_days
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
    days_to_renewal,
    seats_utilization_rate,
    stakeholder_engagement,
    nps_score,
    escalation_count_90_days
from account_facts
order by as_of_date, tenant_id, account_id
