"""The tickets, NPS responses, interactions and TAM assessments of the fictional company: one query per entity.

Each ends in ``part`` and ``sort_key``, by which the file is sorted; both are left out of it.
"""

from __future__ import annotations

ENTITIES: dict[str, str] = {}

ENTITIES["tickets"] = """
with planned as (
    select
        *,
        greatest(created_date, getvariable('start_date')) as first_date,
        least(coalesce(cast(churned_at as date), getvariable('end_date')), getvariable('end_date')) as last_date,
        case archetype
            when 'thriving' then 5 when 'stable' then 5 when 'sinking' then 13 when 'recovering' then 9
            when 'overloaded' then 8 when 'churned' then 9 when 'dormant' then 2 when 'trial' then 10 else 3
        end as per_300_days,
        case archetype
            when 'thriving' then if(v % 6 = 5, 'calm', 'happy')
            when 'sinking' then if(v % 3 = 1, 'furious', 'angry')
            when 'churned' then 'angry'
            when 'dormant' then 'angry'
            when 'recovering' then 'mixed'
            when 'overloaded' then 'happy'
            else if(v % 5 = 2, 'mixed', 'calm')
        end as mood
    from account
),

numbered as (
    select
        *,
        unnest(range(
            (per_300_days * 10 * (last_date - first_date + 1) // 300 + draw('tickets' || i, 10)) // 10
        )) as k
    from planned
    where last_date >= first_date
),

opened as (
    select
        *,
        i || '/' || k as ticket_key,
        -- Sinking accounts open most of their tickets in the last 100 days.
        last_date - cast(
            if(archetype in ('sinking', 'churned') and k % 4 > 0,
                draw('opened' || i || '/' || k, least(100, last_date - first_date + 1)),
                draw('opened' || i || '/' || k, last_date - first_date + 1)) as integer
        ) as opened_date
    from numbered
),

timed as (
    select
        *,
        at_second(opened_date, draw('opened_s' || ticket_key, 86400)) as opened,
        case mood when 'happy' then 3 when 'calm' then 6 when 'mixed' then 10 when 'angry' then 22 else 40 end
            as percent_left_open,
        case mood when 'happy' then 2 when 'calm' then 4 when 'mixed' then 8 else 26 end as percent_escalated,
        draw('sentiment' || ticket_key, 100) as s
    from opened
),

solved as (
    select
        *,
        opened + to_minutes(20 + draw('solved' || ticket_key, if(mood in ('angry', 'furious'), 20000, 6000))) as done,
        draw('open' || ticket_key, 100) < percent_left_open and opened_date > getvariable('end_date') - 75 as left_open,
        draw('escalated' || ticket_key, 100) < percent_escalated
            or (archetype = 'stable' and v % 9 = 4 and k = 0) as is_escalated
    from timed
)

select
    'T' || substr(account_id, 2) || '-' || (k + 1) as ticket_id,
    account_id,
    iso_text(opened, cast(draw('shape' || ticket_key, 7) as bigint)) as opened_at,
    case when not left_open and done < at_second(getvariable('end_date') + 1, 0)
        then iso_text(done, cast(draw('shape2' || ticket_key, 7) as bigint)) end as solved_at,
    case when draw('priority' || ticket_key, 20) > 0
        then pick(if(mood in ('angry', 'furious'), ['high', 'urgent', 'normal'], ['low', 'normal', 'normal', 'high']),
            'priority' || ticket_key) end as priority,
    case
        when draw('rated' || ticket_key, 100) < 22 then null
        when mood = 'happy' then case when s < 62 then 'positive' when s < 95 then 'neutral' else 'negative' end
        when mood = 'calm' then case when s < 28 then 'positive' when s < 82 then 'neutral' else 'negative' end
        when mood = 'mixed' then case when s < 20 then 'positive' when s < 55 then 'neutral' when s < 92 then 'negative'
            else 'critical' end
        when mood = 'angry' then case when s < 15 then 'neutral' when s < 75 then 'negative' else 'critical' end
        else case when s < 10 then 'negative' else 'critical' end
    end as sentiment,
    case when is_escalated and opened + to_minutes(90) < at_second(getvariable('end_date') + 1, 0)
        then iso_text(opened + to_minutes(90), 0) end as escalated_at,
    case
        when getvariable('odd') and draw('subject' || ticket_key, 40) = 0 then pick([
            'He said: "it''s broken", again', '=cmd|'' /C calc''!A0', '<img src=x onerror=alert(1)>',
            '数字が合いません 😡', '''; delete from tickets; --', E'two\\nlines, and a\\ttab', '   ',
            '**bold** [x](y) `z`'
        ], 'subject2' || ticket_key)
        else pick(string_split(
            'Cannot export report|Login loop with SSO|How to add a seat|Numbers differ from last week|'
            || 'Webhook arrives twice|Slow dashboard|Invoice address|Feature request: dark mode', '|'),
            'subject' || ticket_key)
    end as subject,
    0 as part,
    strftime(opened, '%Y%m%d%H%M%S') || '/' || wide_id('', i) || '/' || wide_id('', k) as sort_key
from solved
"""

ENTITIES["nps_responses"] = """
with asked as (
    select
        *,
        -- Every fifth account has no respondents, the others have up to four, who respond about every 80 days.
        unnest(range(if(draw('nps' || i, 5) = 0, 0, 1 + draw('nps2' || i, 3)))) as person
    from account
    where archetype not in ('brand_new', 'trial', 'never_logged_in')
),

rounds as (
    select *, unnest(range(4)) as round
    from asked
),

answered as (
    select
        *,
        i || '/' || person || '/' || round as response_key,
        getvariable('end_date') - cast(80 * round + 5 + draw('nps_day' || i || '/' || person || '/' || round, 75)
            + if(archetype = 'dormant', 190, 0) as integer) as response_date,
        case archetype when 'thriving' then 9 when 'overloaded' then 8 when 'stable' then 7 when 'recovering' then 5
            when 'sinking' then 2 when 'churned' then 3 else 6 end as usual
    from rounds
)

select
    'N' || substr(account_id, 2) || '-' || (person + 1) || '-' || (4 - round) as response_id,
    account_id,
    account_id || '.c' || (person + 1) as respondent_id,
    cast(greatest(0, least(10, usual + draw('nps_score' || response_key, 4) - 1)) as varchar) as score,
    iso_text(at_second(response_date, draw('nps_second' || response_key, 86400)),
        cast(draw('shape' || response_key, 7) as bigint)) as responded_at,
    case when draw('nps_comment' || response_key, 6) = 0 then pick(
        ['Love it 💙', 'ok', 'too expensive; "really"', 'Sehr gut – weiter so!', '=1+1', '遅い'], 'c' || response_key
    ) end as comment,
    0 as part,
    strftime(response_date, '%Y%m%d') || '/' || wide_id('', i) || '/' || person as sort_key
from answered
where response_date >= greatest(created_date, getvariable('start_date') - 60)
    and draw('nps_answers' || response_key, 3) > 0
    and (churned_at is null or response_date < cast(churned_at as date))
"""

ENTITIES["interactions"] = """
with rhythms as (
    select
        *,
        case touch_style when 'close' then 18 when 'medium' then 30 else 34 end as every_days,
        case touch_style when 'close' then draw('last' || i, 12) when 'medium' then draw('last' || i, 27)
            when 'cooling_45' then 35 + draw('last' || i, 22) when 'cooling_75' then 62 + draw('last' || i, 26)
            else 100 + draw('last' || i, 90) end as last_days,
        case touch_style when 'close' then 4 when 'medium' then 2 else 1 end as contacts
    from account
),

human as (
    select
        *,
        unnest(range(25)) as k
    from rhythms
    where touch_style <> 'automated_only'
),

automated as (
    select
        *,
        unnest(range(5)) as k
    from rhythms
),

-- Contact 1 is an executive sponsor or end user, 2 a champion, 3 a decision maker, 4 an administrator.
dated as (
    select
        *,
        'h' || i || '/' || k as touch_key,
        getvariable('end_date') - cast(last_days + k * every_days as integer) as touch_date,
        1 + (k % contacts) as contact,
        pick(['meeting', 'call', 'email', 'email', 'training'], 'kind' || i || '/' || k) as kind
    from human
    union all
    select
        *,
        'a' || i || '/' || k as touch_key,
        getvariable('end_date') - cast(draw('auto' || i, 45) + k * 60 as integer) as touch_date,
        0 as contact,
        if(k % 3 = 1, 'internal', 'automated') as kind
    from automated
)

select
    'C' || substr(account_id, 2) || '-' || substr(touch_key, 1, 1) || k as interaction_id,
    account_id,
    case when contact > 0 and draw('anonymous' || touch_key, 30) > 0
        then account_id || '.c' || contact end as contact_id,
    case contact
        when 1 then if(touch_style = 'close' or i % 3 = 0, 'executive_sponsor', 'end_user')
        when 2 then 'champion'
        when 3 then 'decision_maker'
        when 4 then 'admin'
    end as contact_role,
    kind,
    iso_text(at_second(touch_date, 28800 + draw('touch' || touch_key, 36000)),
        cast(draw('shape' || touch_key, 7) as bigint)) as occurred_at,
    0 as part,
    strftime(touch_date, '%Y%m%d') || '/' || wide_id('', i) || '/' || touch_key as sort_key
from dated
where touch_date >= greatest(created_date, getvariable('start_date') - 90)
    and (churned_at is null or touch_date < cast(churned_at as date))
"""

ENTITIES["tam_assessments"] = """
with rounds as (
    select *, unnest(range(7)) as round
    from account
    where segment <> 'smb' and archetype not in ('brand_new', 'trial', 'no_subscription') and draw('tam' || i, 6) > 0
),

dated as (
    select
        *,
        i || '/' || round as assessment_key,
        getvariable('end_date') - cast(
            round * 42 + draw('tam_day' || i, 40) + if(archetype = 'dormant' or draw('tam_old' || i, 9) = 0, 95, 0)
            as integer) as assessed_date,
        draw('tam_rag' || i || '/' || round, 100) as s
    from rounds
)

select
    'M' || substr(account_id, 2) || '-' || (7 - round) as assessment_id,
    account_id,
    case
        when archetype = 'sinking' and round < 3 then if(s < 65, 'RED', 'AMBER')
        when archetype = 'recovering' then case when round < 2 then 'AMBER' else 'RED' end
        when archetype in ('thriving', 'overloaded') then if(s < 92, 'GREEN', 'AMBER')
        when s < 62 then 'GREEN'
        when s < 96 then 'AMBER'
        else 'RED'
    end as rag,
    iso_text(at_second(assessed_date, 54000), cast(draw('shape' || assessment_key, 7) as bigint)) as assessed_at,
    0 as part,
    strftime(assessed_date, '%Y%m%d') || '/' || wide_id('', i) as sort_key
from dated
where assessed_date >= greatest(created_date, getvariable('start_date') - 60)
    and (churned_at is null or assessed_date < cast(churned_at as date))
"""
