-- Grain: one row per event and record of it.
-- Definition (signals.md, "Staged contract"): track calls, and page views if the settings count them. An event happened
-- when its timestamp says; where it has none, at its original timestamp as far before the reception as it was before the
-- sending, else when it was received; so did one that is dated later than received by more than `clock_skew_seconds`.
-- It is of the group that it names, else of the one that its user belongs to at that moment, else of the user alone, as
-- `user/<id>`. An anonymous id is the user who it is told to be at that moment; visitors who never say who they are,
-- and are of no group, are left out.
-- Worked example: {"messageId": "m1", "userId": "u1", "event": "Signed In", "timestamp": "2026-06-01T10:00:00Z"}, u1 of
-- g1 => event segment/m1 of g1's account, login.

with settings as (
    select
        _source,
        settings ->> '$.pages' as pages,
        settings ->> '$.without_group' as without_group,
        cast(settings ->> '$.clock_skew_seconds' as bigint) as clock_skew_seconds
    from run.sources
    where system = 'segment'
),

calls as (
    select
        'track' as call,
        called,
        message_id,
        user_id,
        anonymous_id,
        group_id,
        happened,
        original,
        sent,
        received,
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.segment__tracks
    union all
    select
        'track' as call,
        called,
        message_id,
        user_id,
        anonymous_id,
        group_id,
        happened,
        original,
        sent,
        received,
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.segment__segment_tracks
    union all
    select
        'page' as call,
        called,
        message_id,
        user_id,
        anonymous_id,
        group_id,
        happened,
        original,
        sent,
        received,
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.segment__pages
    union all
    select
        'page' as call,
        called,
        message_id,
        user_id,
        anonymous_id,
        group_id,
        happened,
        original,
        sent,
        received,
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.segment__segment_pages
    union all
    select
        case when call_type = 'track' then 'track' else 'page' end as call,
        called,
        message_id,
        user_id,
        anonymous_id,
        group_id,
        happened,
        original,
        sent,
        received,
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from raw.segment__events
    where call_type in ('track', 'page', 'screen')
),

read_times as (
    select
        case
            when call = 'track' then called
            when called is null then 'Loaded a Page'
            else 'Viewed ' || called || ' Page'
        end as event,
        call,
        message_id,
        user_id,
        anonymous_id,
        group_id,
        happened,
        coalesce(happened, original, received) as stated,
        case
            when regexp_matches(happened, '^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}')
                then cast(try_cast(happened as timestamptz) at time zone 'UTC' as timestamp)
        end as happened_at,
        case
            when happened is null and regexp_matches(original, '^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}')
                then cast(try_cast(original as timestamptz) at time zone 'UTC' as timestamp)
        end as original_at,
        case
            when happened is null and regexp_matches(sent, '^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}')
                then cast(try_cast(sent as timestamptz) at time zone 'UTC' as timestamp)
        end as sent_at,
        case
            when regexp_matches(received, '^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}')
                then cast(try_cast(received as timestamptz) at time zone 'UTC' as timestamp)
        end as received_at,
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from calls
),

dated as (
    select
        event,
        call,
        message_id,
        user_id,
        anonymous_id,
        group_id,
        stated,
        case
            when happened is not null then happened_at
            else coalesce(received_at - (sent_at - original_at), received_at, original_at)
        end as dated_at,
        received_at,
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from read_times
),

events as (
    select
        dated.event,
        dated.message_id,
        dated.user_id,
        dated.anonymous_id,
        dated.group_id,
        dated.stated,
        case
            when date_diff('second', dated.received_at, dated.dated_at) > settings.clock_skew_seconds
                then dated.received_at
            else dated.dated_at
        end as occurred_at,
        settings.without_group,
        dated.record,
        dated._source,
        dated._source_file,
        dated._source_line,
        dated._loaded_at,
        dated._load_id
    from dated
    inner join settings on settings._source = dated._source
    where dated.call = 'track' or settings.pages = 'count'
),

identified as (
    select
        events.event,
        events.message_id,
        coalesce(events.user_id, identities.user_id) as user_id,
        events.anonymous_id,
        events.group_id,
        events.stated,
        events.occurred_at,
        events.without_group,
        events.record,
        events._source,
        events._source_file,
        events._source_line,
        events._loaded_at,
        events._load_id
    from events
    left join staging.segment_identities as identities
        on events.user_id is null
        and identities._source = events._source
        and identities.anonymous_id = events.anonymous_id
        and (identities.from_at is null or identities.from_at <= events.occurred_at)
        and (identities.until_at is null or events.occurred_at < identities.until_at)
),

grouped as (
    select
        identified.event,
        identified.message_id,
        identified.user_id,
        coalesce(
            identified.group_id,
            memberships.group_id,
            case when identified.without_group = 'match' then 'user/' || identified.user_id end
        ) as external_id,
        coalesce(identified.user_id, identified.anonymous_id) is null as is_nobodys,
        identified.stated,
        identified.occurred_at,
        identified.record,
        identified._source,
        identified._source_file,
        identified._source_line,
        identified._loaded_at,
        identified._load_id
    from identified
    left join staging.segment_memberships as memberships
        on identified.group_id is null
        and memberships._source = identified._source
        and memberships.member_id = coalesce(identified.user_id, 'anonymous/' || identified.anonymous_id)
        and (memberships.from_at is null or memberships.from_at <= identified.occurred_at)
        and (memberships.until_at is null or identified.occurred_at < memberships.until_at)
),

told as (
    select
        grouped.message_id,
        grouped.user_id,
        grouped.external_id,
        grouped.is_nobodys,
        coalesce(names.event_name, grouped.event) as event_name,
        names.rule,
        names.feature,
        names.has_values,
        case
            when names.property is not null
                then coalesce(
                    json_extract_string(grouped.record, '$.properties.' || names.property),
                    json_extract_string(grouped.record, '$.' || names.property)
                )
        end as property_value,
        case
            when names.quantity is not null
                then coalesce(
                    json_extract_string(grouped.record, '$.properties.' || names.quantity),
                    json_extract_string(grouped.record, '$.' || names.quantity)
                )
        end as quantity,
        coalesce(cast(grouped.occurred_at as varchar), grouped.stated) as occurred_at,
        grouped._source,
        grouped._source_file,
        grouped._source_line,
        grouped._loaded_at,
        grouped._load_id
    from grouped
    left join staging.segment_events as names on names._source = grouped._source and names.event = grouped.event
)

select
    told._source || '/' || told.message_id as event_id,
    matched.account_id,
    told.external_id as external_account_id,
    told.user_id,
    told.event_name,
    coalesce(
        property_values.feature, case when not told.has_values then nullif(told.property_value, '') end, told.feature
    ) as feature,
    told.quantity,
    told.occurred_at,
    told._source_file,
    told._source_line,
    told._loaded_at,
    told._load_id
from told
left join staging.segment_values as property_values
    on property_values._source = told._source
    and property_values.rule = told.rule
    and property_values.value = told.property_value
left join staging.account_map as matched
    on matched.system = 'segment' and matched._source = told._source and matched.external_id = told.external_id
where (told.external_id is not null or told.is_nobodys) and not coalesce(matched.is_ignored, false)
order by event_id, told._load_id, told._source_file, told._source_line
