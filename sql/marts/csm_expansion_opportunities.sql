-- Grain: one row per account, day, type of opportunity and subject (the module or feature; empty
-- for seats).
-- Definition (docs/signals.md, "Expansion opportunities"): only days that count (see csm_days), and
-- accounts that are not RED, not at high or critical churn risk, and have no invoice overdue more
-- than 30 days. Seats: users against seats, above $seats_percent. Module: none of it in the
-- account's plan, used by at least $peers_percent of the segment's accounts in use that have it,
-- while the account adopts $own_adoption_percent of what it has. Integration: a feature of module
-- integrations, not in the plan, used by at least $peers_percent of those accounts.
-- Worked example: 18 users on 20 seats, MRR 400 => 90 %, medium; at most 80 %
-- needs 23 seats (78 %), so 3 x 12 x 400 / 20 = 720.

with candidates as (
    select
        scores.tenant_id,
        scores.account_id,
        scores.as_of_date,
        account_days.segment
    from marts.csm_health_scores as scores
    inner join marts.csm_health_signals as signals
        on
            scores.account_id = signals.account_id
            and scores.as_of_date = signals.as_of_date
    inner join intermediate.int_account_days as account_days
        on
            scores.account_id = account_days.account_id
            and scores.as_of_date = account_days.as_of_date
    where
        scores.as_of_date between $first_date and $last_date
        and signals.as_of_date between $first_date and $last_date
        and account_days.as_of_date between $first_date and $last_date
        and scores.rag <> 'RED'
        and scores.churn_risk_level in ('low', 'medium')
        and signals.invoice_payment_status in ('current', 'overdue_30')
        and not exists (
            select 1
            from run.uncounted_days as uncounted
            where uncounted.as_of_date = scores.as_of_date
        )
),

peers as (
    select
        account_days.tenant_id,
        account_days.account_id,
        account_days.as_of_date,
        account_days.segment,
        usage_facts.events_in_window > 0 as is_in_use
    from intermediate.int_account_days as account_days
    inner join intermediate.int_account_usage as usage_facts
        on
            account_days.account_id = usage_facts.account_id
            and account_days.as_of_date = usage_facts.as_of_date
    where
        account_days.as_of_date between $first_date and $last_date
        and usage_facts.as_of_date between $first_date and $last_date
),

account_features as (
    select
        tenant_id,
        account_id,
        as_of_date,
        feature,
        module,
        coalesce(display_name, feature) as display_name,
        in_plan,
        adopted
    from intermediate.int_account_features
    where as_of_date between $first_date and $last_date
),

seats as (
    select
        candidates.tenant_id,
        candidates.account_id,
        candidates.as_of_date,
        usage_facts.active_users_in_window as users,
        subscriptions.seats,
        -- The least number of seats that brings utilisation to $seats_percent or less.
        (100 * usage_facts.active_users_in_window + $seats_percent - 1) // $seats_percent
            as seats_wanted,
        subscriptions.mrr,
        subscriptions.currency
    from candidates
    inner join intermediate.int_account_usage as usage_facts
        on
            candidates.account_id = usage_facts.account_id
            and candidates.as_of_date = usage_facts.as_of_date
    inner join intermediate.int_account_subscriptions as subscriptions
        on
            candidates.account_id = subscriptions.account_id
            and candidates.as_of_date = subscriptions.as_of_date
    where
        subscriptions.seats > 0
        -- At exactly $seats_percent no seat is needed.
        and 100 * usage_facts.active_users_in_window
        > $seats_percent * cast(subscriptions.seats as decimal(30, 0))
),

seat_opportunities as (
    select
        tenant_id,
        account_id,
        as_of_date,
        'seats' as opportunity_type,
        '' as subject,
        cast(users as varchar) || ' active users in '
        || cast($active_user_window_days as varchar) || ' days on '
        || cast(seats as varchar) || ' seats (' || cast(100 * users // seats as varchar) || ' %). '
        || cast(seats_wanted as varchar) || ' seats would bring utilisation to '
        || cast(100 * users // seats_wanted as varchar) || ' %.' as evidence,
        -- MRR is monthly: 12 months make a year.
        cast(seats_wanted - seats as double) * 12 * cast(mrr as double) / seats
            as estimated_arr_impact,
        currency,
        case
            when 100 * users > $seats_high_percent * cast(seats as decimal(30, 0)) then 'high'
            when 100 * users >= $seats_medium_percent * cast(seats as decimal(30, 0)) then 'medium'
            else 'low'
        end as confidence,
        case
            when users > seats
                then 'The account has more active users than seats. Seats to propose: '
            else 'The account is close to its seat limit. Seats to propose: '
        end || cast(seats_wanted - seats as varchar) || '.' as recommended_talk_track
    from seats
),

own_adoption as (
    select
        account_id,
        as_of_date,
        count(*) as features_in_plan,
        count(*) filter (where adopted) as features_adopted
    from account_features
    where in_plan
    group by account_id, as_of_date
),

account_modules as (
    select
        tenant_id,
        account_id,
        as_of_date,
        module,
        count(*) filter (where in_plan) as features_in_plan,
        count(*) filter (where in_plan and adopted) as features_adopted
    from account_features
    where module is not null
    group by tenant_id, account_id, as_of_date, module
),

module_peers as (
    select
        peers.tenant_id,
        peers.as_of_date,
        peers.segment,
        account_modules.module,
        count(*) as accounts,
        count(*) filter (where account_modules.features_adopted > 0) as accounts_using
    from peers
    inner join account_modules
        on
            peers.account_id = account_modules.account_id
            and peers.as_of_date = account_modules.as_of_date
    where
        peers.is_in_use
        and account_modules.features_in_plan > 0
    group by peers.tenant_id, peers.as_of_date, peers.segment, account_modules.module
),

module_opportunities as (
    select
        candidates.tenant_id,
        candidates.account_id,
        candidates.as_of_date,
        'module' as opportunity_type,
        account_modules.module as subject,
        cast(module_peers.accounts_using as varchar)
        || ' of ' || cast(module_peers.accounts as varchar)
        || ' accounts of the same segment that have ' || account_modules.module || ' use it ('
        || cast(100 * module_peers.accounts_using // module_peers.accounts as varchar)
        || ' %). The account uses ' || cast(own_adoption.features_adopted as varchar) || ' of the '
        || cast(own_adoption.features_in_plan as varchar) || ' features in its plan.' as evidence,
        cast(null as double) as estimated_arr_impact,
        cast(null as varchar) as currency,
        case
            when
                100 * module_peers.accounts_using >= $peers_high_percent * module_peers.accounts
                then 'high'
            when
                100 * module_peers.accounts_using >= $peers_medium_percent * module_peers.accounts
                then 'medium'
            else 'low'
        end as confidence,
        'The account uses most features in its plan. Show what ' || account_modules.module
        || ' adds, with an example from a similar customer.' as recommended_talk_track
    from candidates
    inner join account_modules
        on
            candidates.account_id = account_modules.account_id
            and candidates.as_of_date = account_modules.as_of_date
    inner join module_peers
        on
            candidates.tenant_id = module_peers.tenant_id
            and candidates.as_of_date = module_peers.as_of_date
            and candidates.segment is not distinct from module_peers.segment
            and account_modules.module = module_peers.module
    inner join own_adoption
        on
            candidates.account_id = own_adoption.account_id
            and candidates.as_of_date = own_adoption.as_of_date
    where
        account_modules.features_in_plan = 0
        and account_modules.module <> 'integrations'
        and 100 * module_peers.accounts_using >= $peers_percent * module_peers.accounts
        and 100 * own_adoption.features_adopted
        >= $own_adoption_percent * own_adoption.features_in_plan
),

integration_peers as (
    select
        peers.tenant_id,
        peers.as_of_date,
        peers.segment,
        account_features.feature,
        count(*) as accounts,
        count(*) filter (where account_features.adopted) as accounts_using
    from peers
    inner join account_features
        on
            peers.account_id = account_features.account_id
            and peers.as_of_date = account_features.as_of_date
    where
        peers.is_in_use
        and account_features.module = 'integrations'
        and account_features.in_plan
    group by peers.tenant_id, peers.as_of_date, peers.segment, account_features.feature
),

integration_opportunities as (
    select
        candidates.tenant_id,
        candidates.account_id,
        candidates.as_of_date,
        'integration' as opportunity_type,
        account_features.feature as subject,
        cast(integration_peers.accounts_using as varchar)
        || ' of ' || cast(integration_peers.accounts as varchar)
        || ' accounts of the same segment that have ' || account_features.display_name
        || ' use it ('
        || cast(100 * integration_peers.accounts_using // integration_peers.accounts as varchar)
        || ' %). It is not in the account''s plan.' as evidence,
        cast(null as double) as estimated_arr_impact,
        cast(null as varchar) as currency,
        case
            when
                100 * integration_peers.accounts_using
                >= $peers_high_percent * integration_peers.accounts
                then 'high'
            when
                100 * integration_peers.accounts_using
                >= $peers_medium_percent * integration_peers.accounts
                then 'medium'
            else 'low'
        end as confidence,
        'Ask which systems the account wants to connect. Show what '
        || account_features.display_name
        || ' adds, with an example from a similar customer.' as recommended_talk_track
    from candidates
    inner join account_features
        on
            candidates.account_id = account_features.account_id
            and candidates.as_of_date = account_features.as_of_date
    inner join integration_peers
        on
            candidates.tenant_id = integration_peers.tenant_id
            and candidates.as_of_date = integration_peers.as_of_date
            and candidates.segment is not distinct from integration_peers.segment
            and account_features.feature = integration_peers.feature
    where
        account_features.module = 'integrations'
        and not account_features.in_plan
        and 100 * integration_peers.accounts_using >= $peers_percent * integration_peers.accounts
),

opportunities as (
    select
        tenant_id,
        account_id,
        as_of_date,
        opportunity_type,
        subject,
        evidence,
        estimated_arr_impact,
        currency,
        confidence,
        recommended_talk_track
    from seat_opportunities
    union all
    select
        tenant_id,
        account_id,
        as_of_date,
        opportunity_type,
        subject,
        evidence,
        estimated_arr_impact,
        currency,
        confidence,
        recommended_talk_track
    from module_opportunities
    union all
    select
        tenant_id,
        account_id,
        as_of_date,
        opportunity_type,
        subject,
        evidence,
        estimated_arr_impact,
        currency,
        confidence,
        recommended_talk_track
    from integration_opportunities
)

select
    tenant_id,
    account_id,
    as_of_date,
    opportunity_type,
    subject,
    evidence,
    estimated_arr_impact,
    case when estimated_arr_impact is not null then currency end as currency,
    confidence,
    recommended_talk_track
from opportunities
order by as_of_date, tenant_id, account_id, opportunity_type, subject
