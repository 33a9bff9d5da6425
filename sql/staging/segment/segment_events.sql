-- Grain: one row per event name.
-- Definition: the settings for each event. Names are compared without regard to case, and `_` equals a blank,
-- because the warehouse tables have report_viewed for Report Viewed; `*` matches any text. The first rule under
-- `features` that matches the event applies.
-- Worked example: rule {event: "Report *", feature: reports}, event report_viewed => reports.

with calls as (
    select
        _source,
        'track' as call,
        call_type,
        called,
        record
    from raw.segment__tracks
    union all
    select
        _source,
        'track' as call,
        call_type,
        called,
        record
    from raw.segment__segment_tracks
    union all
    select
        _source,
        'page' as call,
        call_type,
        called,
        record
    from raw.segment__pages
    union all
    select
        _source,
        'page' as call,
        call_type,
        called,
        record
    from raw.segment__segment_pages
    union all
    select
        _source,
        case
            when lower(trim(call_type)) in ('page', 'screen', 'pageview') then 'page' else 'track'
        end as call,
        call_type,
        called,
        record
    from raw.segment__events
    where
        call_type is null
        or lower(trim(call_type)) not in ('identify', 'user_identify', 'group', 'alias')
),

event_names as (
    select distinct
        _source,
        case
            when call = 'track' then called
            -- Jitsu's page views have only a type, no name.
            when
                called is null or (called = call_type and record ->> '$.type' is null)
                then 'Loaded a Page'
            else 'Viewed ' || called || ' Page'
        end as event
    from calls
),

rules as (
    select
        _source,
        generate_subscripts(cast(json_extract(settings, '$.features') as json[]), 1) as rule,
        unnest(cast(json_extract(settings, '$.features') as json[])) as stated
    from run.sources
    where system = 'segment'
),

login_patterns as (
    select
        _source,
        unnest(cast(json_extract(settings, '$.login_events') as varchar[])) as pattern
    from run.sources
    where system = 'segment'
),

name_patterns as (
    select
        _source,
        rule,
        stated,
        replace(
            replace(lower(trim(replace(stated ->> '$.event', '_', ' '))), '%', '\%'), '*', '%'
        ) as pattern
    from rules
    union all
    select
        _source,
        null as rule,
        null as stated,
        replace(replace(lower(trim(replace(pattern, '_', ' '))), '%', '\%'), '*', '%') as pattern
    from login_patterns
),

matched_patterns as (
    select
        event_names._source,
        event_names.event,
        name_patterns.rule,
        name_patterns.stated
    from event_names
    inner join name_patterns
        on
            name_patterns._source = event_names._source
            and lower(
                trim(replace(event_names.event, '_', ' '))
            ) like name_patterns.pattern escape '\'
),

event_decisions as (
    select
        _source,
        event,
        bool_or(rule is null) as is_login,
        min(rule) as rule,
        arg_min(stated, rule) as stated
    from matched_patterns
    group by _source, event
)

select
    _source,
    event,
    case when is_login then 'login' else event end as event_name,
    rule,
    stated ->> '$.feature' as feature,
    stated ->> '$.property' as property,
    stated ->> '$.quantity' as quantity,
    coalesce(cast(json_extract(stated, '$.values') as varchar) <> '{}', false) as has_values
from event_decisions
order by _source, event
