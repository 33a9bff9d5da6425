"""The accounts of the fictional company: macros for random draws, archetypes, names, and the feature catalogue.

All calculations use integers, and every draw is the MD5 hash of the seed and an id, so that a seed generates the same
company with any number of threads and any version of DuckDB. The session variables are ``seed`` (text), ``accounts``,
``start_date``, ``end_date``, ``total_events`` and ``odd``.
"""

from __future__ import annotations

MACROS = """
create macro draw(id_text, below) as
    cast(md5_number_lower(getvariable('seed') || ':' || id_text) % cast(below as ubigint) as bigint);
create macro at_second(day, seconds) as cast(day as timestamp) + to_seconds(seconds);
-- The same instant in the formats of different exports: with Z, without a zone, with offsets, with milliseconds.
create macro iso_text(moment, shape) as case shape
    when 0 then strftime(moment, '%Y-%m-%dT%H:%M:%S') || 'Z'
    when 1 then strftime(moment, '%Y-%m-%d %H:%M:%S')
    when 2 then strftime(moment + to_hours(2), '%Y-%m-%dT%H:%M:%S') || '+02:00'
    when 3 then strftime(moment - to_minutes(330), '%Y-%m-%dT%H:%M:%S') || '-05:30'
    when 4 then strftime(moment, '%Y-%m-%dT%H:%M:%S') || '.250Z'
    when 5 then strftime(moment, '%Y-%m-%dT%H:%M:%S')
    else strftime(moment, '%Y-%m-%dT%H:%M:%S') || '+00:00'
end;
create macro money_text(cents, currency) as case
    when currency = 'JPY' then cast(cents // 100 as varchar)
    else (case when cents < 0 then '-' else '' end)
        || cast(abs(cents) // 100 as varchar) || '.' || lpad(cast(abs(cents) % 100 as varchar), 2, '0')
end;
create macro wide_id(prefix, number) as
    prefix || lpad(
        cast(number as varchar),
        cast(greatest(4, length(cast(getvariable('accounts') as varchar)), length(cast(number as varchar))) as integer),
        '0'
    );
create macro pick(words, id_text) as words[1 + draw(id_text, len(words))];
"""

# The number of accounts of each archetype among 50 consecutive accounts. All records depend on the archetype.
ARCHETYPES: tuple[tuple[str, int], ...] = (
    ("thriving", 14),
    ("stable", 14),
    ("sinking", 6),
    ("dormant", 2),
    ("brand_new", 2),
    ("churned", 3),
    ("overloaded", 2),
    ("never_logged_in", 2),
    ("no_subscription", 1),
    ("trial", 2),
    ("recovering", 2),
)

# Names that need correct escaping: separators, quotes, markup, SQL, spreadsheet formulas, other scripts, white space.
ODD_NAMES: tuple[tuple[int, str], ...] = (
    (5, '"Quoted" & Sons, Ltd.'),
    (13, "Łódź Kwiaty — Żółć S.A."),
    (22, "株式会社さくら"),
    (31, "🚀 Rocket Ünïcode GmbH"),
    (38, "<b>Bold</b> <script>alert(1)</script> Inc"),
    (47, "Robert'); DROP TABLE accounts;--"),
    (56, '=HYPERLINK("http://example.invalid","Click")'),
    (64, "+1 Growth Partners"),
    (73, "@mention Media"),
    (82, "شركة الأمل التجارية"),
    (91, "Line\nBreak Holdings"),
    (99, "  Spacey Ltd "),
    (108, "NULL"),
    (117, "-Dash Start"),
    (126, "50% Off; [Link](http://example.invalid) *Bold* `Code`"),
    (135, "Zé's Café\u200b & Pâtisserie"),
    (144, "0012"),
    (153, "The Extraordinarily Long Name " * 6 + "Company"),
)

FEATURES = """
create table feature as
select *
from (values
    (1, 'dashboards', 'core', null, -900, 98, 'Dashboards', 'Boards of charts'),
    (2, 'projects', 'core', null, -900, 95, 'Projects', 'Work in projects'),
    (3, 'search', 'core', null, -900, 90, 'Search', 'Search everywhere'),
    (4, 'comments', 'core', null, -700, 80, 'Comments', 'Comments and mentions'),
    (5, 'mobile_app', 'core', null, -500, 60, 'Mobile app', 'iOS and Android'),
    (6, 'custom_reports', 'analytics', 'growth', -600, 75, 'Custom reports', 'Reports of one''s own'),
    (7, 'cohort_explorer', 'analytics', 'scale', -400, 82, 'Cohort explorer', 'Cohorts, "side by side"'),
    (8, 'scheduled_exports', 'analytics', null, 120, 55, 'Scheduled exports', 'Exports by e-mail'),
    (9, 'workflows', 'automation', null, -600, 72, null, 'If this, then that'),
    (10, 'approvals', 'automation', 'growth', -300, 65, null, 'Two pairs of eyes'),
    (11, 'smart_rules', 'automation', 'scale', 150, 78, 'Smart rules', 'Rules that suggest themselves'),
    (12, 'api', 'integrations', null, -900, 68, 'REST API', 'REST API'),
    (13, 'chat_sync', 'integrations', null, -350, 74, 'Chat sync', 'Messages into the team''s chat'),
    (14, 'crm_sync', 'integrations', 'scale', -200, 70, 'CRM sync', 'Accounts to and from the CRM'),
    (15, 'forecasting', 'analytics', 'scale', 400, 0, null, 'Announced, not released yet')
) as catalogue (position, feature, module, plan, released_after_start, popularity, display_name, description);
"""

ACCOUNTS = """
create table account as
with numbered as (
    select range as i, ((range - 1) * 37) % 50 as bucket
    from range(1, getvariable('accounts') + 1)
),

lives as (
    select
        numbered.i,
        archetype.archetype,
        row_number() over (partition by archetype.archetype order by numbered.i) - 1 as v
    from numbered
    inner join archetype on numbered.bucket between archetype.first_bucket and archetype.last_bucket
),

segments as (
    select
        i,
        archetype,
        v,
        wide_id('A', i) as account_id,
        case
            when draw('segment' || i, 100) < 20 then 'enterprise'
            when draw('segment' || i, 100) < 55 then 'mid_market'
            else 'smb'
        end as segment,
        case when draw('tenant' || i, 100) < 16 then 'north' end as tenant_id
    from lives
),

sizes as (
    select
        *,
        case
            when segment = 'enterprise' then if(draw('plan' || i, 100) < 75, 'scale', 'growth')
            when segment = 'mid_market' then
                case when draw('plan' || i, 100) < 65 then 'growth' when draw('plan' || i, 100) < 85 then 'scale'
                    else 'starter' end
            else if(draw('plan' || i, 100) < 68, 'starter', 'growth')
        end as plan,
        case segment
            when 'enterprise' then 20 + draw('seats' || i, 36)
            when 'mid_market' then 8 + draw('seats' || i, 20)
            else 3 + draw('seats' || i, 7)
        end as seats,
        case
            when tenant_id = 'north' then if(draw('currency' || i, 10) < 7, 'EUR', 'USD')
            when draw('currency' || i, 100) < 70 then 'USD'
            when draw('currency' || i, 100) < 88 then 'EUR'
            else 'JPY'
        end as currency,
        cast(case
            when archetype = 'brand_new' then getvariable('end_date') - cast(case v % 4
                when 0 then 0 when 1 then 12 when 2 then 33 else 51 end as integer)
            when archetype = 'trial' then getvariable('end_date') - cast(8 + draw('created' || i, 18) as integer)
            when draw('young' || i, 100) < 14 and archetype in ('thriving', 'stable') then
                getvariable('end_date') - cast(90 + draw('created' || i, 120) as integer)
            else getvariable('start_date') - cast(40 + draw('created' || i, 1300) as integer)
        end as date) as created_date
    from segments
),

ends as (
    select
        *,
        -- Some churn well before the end, one on the last day, one at the first instant after it.
        case when archetype = 'churned' then case v
            when 1 then at_second(getvariable('end_date'), 36000)
            when 4 then at_second(getvariable('end_date') + 1, 0)
            else at_second(
                getvariable('end_date') - cast(35 + draw('churn' || i, 120) as integer),
                3600 * (8 + draw('churnh' || i, 9))
            )
        end end as churned_at,
        case archetype
            when 'thriving' then 80 + draw('use' || i, 21)
            when 'stable' then 50 + draw('use' || i, 40)
            when 'sinking' then 25 + draw('use' || i, 40)
            when 'overloaded' then case v % 3 when 0 then 230 when 1 then 112 else 145 end
            else 50 + draw('use' || i, 45)
        end as percent_used,
        case archetype
            when 'thriving' then if(v % 7 = 3, 'late', 'on_time')
            when 'stable' then case v % 8 when 3 then 'late' when 5 then 'overdue_30' else 'on_time' end
            when 'sinking' then case v % 4 when 0 then 'overdue_30' when 1 then 'overdue_60' when 2 then 'overdue_90'
                else 'late' end
            when 'dormant' then if(v % 2 = 0, 'overdue_60', 'overdue_90')
            when 'trial' then 'none'
            when 'no_subscription' then 'none'
            when 'never_logged_in' then if(v % 2 = 0, 'overdue_30', 'on_time')
            else 'on_time'
        end as pay_style,
        case archetype
            when 'thriving' then if(v % 5 = 4, 'medium', 'close')
            when 'stable' then case v % 7 when 0 then 'close' when 3 then 'cooling_45' when 4 then 'cooling_75'
                when 6 then 'silent' else 'medium' end
            when 'sinking' then case v % 3 when 0 then 'cooling_75' when 1 then 'silent' else 'cooling_45' end
            when 'dormant' then 'silent'
            when 'never_logged_in' then 'automated_only'
            when 'trial' then if(v % 2 = 0, 'medium', 'automated_only')
            when 'recovering' then 'close'
            when 'overloaded' then 'close'
            when 'brand_new' then if(v % 2 = 0, 'automated_only', 'medium')
            else 'medium'
        end as touch_style,
        -- Days from the end to the next renewal. Two stable accounts reach 90 days on the last two days.
        case archetype
            when 'thriving' then case v % 6 when 0 then 61 + draw('renewal' || i, 30)
                when 1 then 91 + draw('renewal' || i, 90) else 181 + draw('renewal' || i, 180) end
            when 'stable' then case
                when v = 2 then 90
                when v = 9 then 89
                when v % 7 = 1 then 91 + draw('renewal' || i, 90)
                when v % 7 = 3 then 61 + draw('renewal' || i, 29)
                when v % 7 = 4 then 31 + draw('renewal' || i, 29)
                when v % 7 = 5 then draw('renewal' || i, 30)
                when v % 14 = 6 then -1 - draw('renewal' || i, 20)
                else 181 + draw('renewal' || i, 180) end
            when 'sinking' then if(v % 8 = 7, -4, 2 + draw('renewal' || i, 84))
            when 'dormant' then 15 + draw('renewal' || i, 120)
            else 100 + draw('renewal' || i, 260)
        end as renews_in_days,
        case archetype
            when 'never_logged_in' then 0
            when 'stable' then case v % 10 when 4 then 9 when 6 then 45 when 8 then 90 else 1 end
            when 'sinking' then case v % 3 when 0 then 1 when 1 then 45 else 20 end
            when 'no_subscription' then if(v % 2 = 0, 1, 25)
            else 1
        end as login_every_days,
        -- The number of days before the end without a login.
        case archetype when 'sinking' then if(v % 3 = 0, 97, 0) else 0 end as no_login_days,
        -- Accounts without any activity: all of their signals lack data.
        (archetype = 'never_logged_in' and v % 4 = 3) or (archetype = 'brand_new' and v % 4 = 0) as never_active
    from sizes
)

select
    *,
    cast(greatest(1, (seats * percent_used + 99) // 100) as bigint) as users,
    600 + draw('intensity' || i, 800) as intensity,
    40 + draw('quiet' || i, 60) as quiet_days,
    1 + draw('billing_day' || i, 28) as billing_day,
    case currency
        when 'JPY' then case plan when 'starter' then 180000 when 'growth' then 360000 else 700000 end
        when 'EUR' then case plan when 'starter' then 1140 when 'growth' then 2375 else 4560 end
        else case plan when 'starter' then 1200 when 'growth' then 2500 else 4800 end
    end as seat_price_cents
from ends
order by i;
"""

ADJECTIVES = (
    "Amber Arctic Blue Bright Cedar Clear Copper Crimson Eastern Evergreen Golden Granite "
    "Harbor Indigo Lunar Maple Northern Pacific Quiet Silver Solar Stone Summit Western"
)
NOUNS = (
    "Anchor Bridge Canyon Compass Falcon Field Forge Garden Harvest Lantern Meadow Orchard "
    "Peak Pine River Sail Spring Star Tower Trail Valley Wave Willow Wind"
)
TRADES = "Analytics|Bank|Clinics|Energy|Foods|Freight|Insurance|Labs|Logistics|Media|Robotics|Schools|Software|Travel"
OWNERS = "Ada Moreno|Björn Dahl|Chiara Conti|Dmitri Volkov|Efua Mensah|Farah Haddad|Grace Liu|Hugo O'Brien"
