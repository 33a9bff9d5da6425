"""The usage of the fictional company's accounts: the number of events per day, and the events."""

from __future__ import annotations

# The features that an account uses and since when, numbered from 0 so that an event can pick one.
ADOPTIONS = """
create table adoption as
with chances as (
    select
        account.i,
        feature.feature,
        feature.position,
        cast(greatest(
            getvariable('start_date') + cast(feature.released_after_start as integer),
            account.created_date,
            getvariable('start_date') - 1 + cast(
                if(feature.position > 2, draw('adopted' || account.i || feature.feature, 330) - 150, 0) as integer)
        ) as date) as adopted_date,
        feature.popularity * case account.archetype
            when 'thriving' then 125 when 'overloaded' then 115 when 'recovering' then 95 when 'stable' then 92
            when 'sinking' then 45 when 'trial' then 60 when 'never_logged_in' then 35 else 75
        end as chance
    from account
    inner join feature
        on
            (feature.plan is null or feature.plan = account.plan)
            and getvariable('start_date') + cast(feature.released_after_start as integer) <= getvariable('end_date')
)

select
    i,
    feature,
    adopted_date,
    row_number() over (partition by i order by position) - 1 as k,
    count(*) over (partition by i) as adopted
from chances
where draw('adopts' || i || feature, 10000) < chance
order by i, k;
"""

# Events per account and day. The weights are scaled so that they add up to the requested number of events.
ACCOUNT_DAYS = """
create table account_day as
with days as (
    select
        cast(unnest(generate_series(getvariable('start_date'), getvariable('end_date'), interval 1 day)) as date) as day
),

lived as (
    select
        account.i,
        account.archetype,
        account.users,
        account.intensity,
        account.quiet_days,
        account.login_every_days,
        account.no_login_days,
        days.day,
        getvariable('end_date') - days.day as t,
        days.day - account.created_date as age,
        coalesce(cast(account.churned_at as date) - days.day, 100000) as days_left
    from account
    inner join days
        on
            days.day >= account.created_date
            and (account.churned_at is null or days.day < cast(account.churned_at as date))
    where not account.never_active
),

-- Activity in thousandths of the account's usual activity, t days before the end: linear functions, which are exact.
curves as (
    select
        *,
        case archetype
            when 'thriving' then 1000 + greatest(0, 140 - t) * 14
            when 'overloaded' then 1100 + greatest(0, 100 - t) * 5
            when 'sinking' then least(1000, 140 + t * 7)
            when 'dormant' then if(t < quiet_days, 0, 700)
            when 'brand_new' then least(1000, 200 + age * 25)
            when 'churned' then least(900, 120 + days_left * 6)
            when 'trial' then 700
            when 'recovering' then case when t > 130 then 900 when t > 60 then 250 else 250 + (60 - t) * 13 end
            when 'never_logged_in' then 350
            when 'no_subscription' then 600
            else 1000
        end as activity
    from lived
),

weighted as (
    select
        *,
        users * activity * intensity
            * if(isodow(day) > 5, 220, 1000)
            * (900 + draw('day' || i || '/' || day, 201)) // 1000 as weight
    from curves
),

counted as (
    select
        *,
        cast((
            cast(weight as hugeint) * getvariable('total_events') * 1000000
            // nullif(cast(sum(weight) over () as hugeint), 0) + draw('count' || i || '/' || day, 1000000)
        ) // 1000000 as bigint) as drawn
    from weighted
),

with_logins as (
    select
        *,
        case
            when login_every_days = 0 or t < no_login_days or activity = 0 then 0
            when login_every_days = 1 then
                if(drawn > 0 and draw('login' || i || '/' || day, 10) < 7, 1 + drawn // 6, 0)
            when (t + i) % login_every_days = 0 then 1
            else 0
        end as logins
    from counted
)

select
    i,
    day,
    cast(least(users, greatest(1, users * activity // 1000)) as bigint) as users_that_day,
    cast(logins as bigint) as logins,
    cast(greatest(drawn, logins) as bigint) as events,
    cast(coalesce(sum(greatest(drawn, logins)) over earlier_of_account, 0) as bigint) as earlier_events,
    cast(coalesce(sum(greatest(drawn, logins)) over earlier_of_all, 0) as bigint) as first_number
from with_logins
where greatest(drawn, logins) > 0
window
    earlier_of_account as (partition by i order by day rows between unbounded preceding and 1 preceding),
    earlier_of_all as (order by day, i rows between unbounded preceding and 1 preceding)
order by day, i;
"""

# first_day and last_day are the bounds of a chunk; each chunk is sorted by time.
USAGE_EVENTS = """
with numbered as (
    select
        account_day.i,
        account_day.day,
        account_day.users_that_day,
        account_day.logins,
        account_day.earlier_events,
        unnest(range(account_day.events)) as k,
        account_day.first_number
    from account_day
    where account_day.day between getvariable('first_day') and getvariable('last_day')
),

drawn as (
    select
        *,
        first_number + k as number,
        earlier_events + k as turn,
        md5_number_lower(getvariable('seed') || ':event' || (first_number + k)) as h
    from numbered
),

-- Half of the events use the users and features in turn, so that each appears; half prefer the first ones.
picked as (
    select
        i,
        day,
        number,
        k < logins as is_login,
        cast(if(h % 2 = 0, turn % users_that_day,
            least((h >> 8) % users_that_day, (h >> 20) % users_that_day)) as bigint) as user_number,
        turn,
        h,
        28800 + cast(((h >> 4) % 18000 + (h >> 24) % 18000) as bigint) as second_of_day
    from drawn
),

used as (
    select
        picked.*,
        case
            when picked.is_login then null
            when picked.h % 499 = 0 then 'legacy_export'
            when adoption.adopted_date <= picked.day then adoption.feature
            when (picked.h >> 30) % 3 > 0 and fallback.adopted_date <= picked.day then fallback.feature
        end as feature
    from picked
    left join adopters on picked.i = adopters.i
    left join adoption
        on
            picked.i = adoption.i
            and adoption.k = cast(if(picked.h % 3 < 2, picked.turn % adopters.adopted,
                least((picked.h >> 34) % adopters.adopted, (picked.h >> 44) % adopters.adopted)) as bigint)
    left join adoption as fallback on picked.i = fallback.i and fallback.k = 0
)

select
    'e' || used.number as event_id,
    account.account_id,
    case
        when used.feature = 'api' and used.h % 2 = 0 then null
        when account.login_every_days = 0 and used.h % 4 > 0 then null
        else account.account_id || '.u' || (used.user_number + 1)
    end as user_id,
    case
        when used.is_login then 'login'
        when used.feature is null then 'page_viewed'
        when used.feature = 'api' then 'api_called'
        else 'feature_used'
    end as event_name,
    used.feature,
    cast(if(used.feature = 'api', 1 + (used.h >> 12) % 4, 1) as bigint) as quantity,
    at_second(used.day, used.second_of_day) as occurred_at
from used
inner join account on used.i = account.i
"""

# Unusual usage records: duplicates, corrections, unknown features, and broken records.
ODD_USAGE_EVENTS = """
select *
from (values
    ('x1', wide_id('A', 1), wide_id('A', 1) || '.u1', 'feature_used', 'secret_beta', 1, 1, 36000),
    ('x2', wide_id('A', 2), wide_id('A', 2) || '.u1', 'feature_used', 'dashboards', 3, 2, 36001),
    ('x2', wide_id('A', 2), wide_id('A', 2) || '.u1', 'feature_used', 'dashboards', 2, 2, 36001),
    ('x3', wide_id('A', 3), null, 'api_called', 'api', null, 3, 36002),
    ('x3', wide_id('A', 3), null, 'api_called', 'api', null, 3, 36002),
    ('x4', wide_id('A', 4), 'Ünï "quoted", user''s id', 'feature_used', 'search', 1, 4, 36003)
) as odd (event_id, account_id, user_id, event_name, feature, quantity, days_before_end, second)
"""

BROKEN_USAGE_EVENTS = """
select *
from (values
    ('b1', 'A-unknown', 'nobody.u1', 'login', null, 1, 5, 40000),
    ('b2', 'A-unknown', 'nobody.u2', 'feature_used', 'search', 1, 6, 40000),
    ('b3', wide_id('A', 5), wide_id('A', 5) || '.u1', null, 'search', 1, 7, 40000),
    ('b4', wide_id('A', 6), wide_id('A', 6) || '.u1', 'feature_used', 'search', 0, 8, 40000),
    ('b5', wide_id('A', 7), wide_id('A', 7) || '.u1', 'feature_used', 'search', -3, 9, 40000),
    (null, wide_id('A', 8), wide_id('A', 8) || '.u1', 'feature_used', 'search', 1, 10, 40000)
) as broken (event_id, account_id, user_id, event_name, feature, quantity, days_before_end, second)
"""
