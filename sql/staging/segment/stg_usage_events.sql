-- Grain: one row per record of an event.
-- Definition (docs/sources/files.md, "Columns"): track calls, and page views if the settings count them. The time of an
-- event is its timestamp; without it, received_at - (sent_at - original_timestamp); without these, the time at which
-- it was received. If a time is more than `clock_skew_seconds` after the event was received, the time of receipt is
-- used. If one of the four times does not parse, its text is passed on, so that the record is rejected with it. An
-- event belongs to the group that it names, else to the group of its user at that time, else to the user, as
-- `user/<id>`. An anonymous id belongs to the user with whom it was identified at that time. `_ignored`: visitors
-- who are not identified and have no group (anonymous), and events that the settings leave out. The latest version
-- of an event is the one received last.
-- Worked example: {"messageId": "m1", "userId": "u1", "event": "Signed In", "timestamp": "2026-06-01T10:00:00Z"}, u1
-- of g1 => event segment/m1 of g1's account, login.

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
        call_type,
        called,
        identifier_text(message_id) as message_id,
        identifier_text(user_id) as user_id,
        identifier_text(anonymous_id) as anonymous_id,
        identifier_text(group_id) as group_id,
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
        call_type,
        called,
        identifier_text(message_id) as message_id,
        identifier_text(user_id) as user_id,
        identifier_text(anonymous_id) as anonymous_id,
        identifier_text(group_id) as group_id,
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
        call_type,
        called,
        identifier_text(message_id) as message_id,
        identifier_text(user_id) as user_id,
        identifier_text(anonymous_id) as anonymous_id,
        identifier_text(group_id) as group_id,
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
        call_type,
        called,
        identifier_text(message_id) as message_id,
        identifier_text(user_id) as user_id,
        identifier_text(anonymous_id) as anonymous_id,
        identifier_text(group_id) as group_id,
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
        case
            when call_type is null or lower(trim(call_type)) = 'track' then 'track'
            when lower(trim(call_type)) in ('page', 'screen', 'pageview') then 'page'
            -- In Jitsu's format the type of an event is its name.
            when record ->> '$.type' is null then 'track'
            when lower(trim(call_type)) = 'alias' then 'alias'
            else 'other'
        end as call,
        call_type,
        called,
        identifier_text(message_id) as message_id,
        identifier_text(user_id) as user_id,
        identifier_text(anonymous_id) as anonymous_id,
        identifier_text(group_id) as group_id,
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
    where call_type is null or lower(trim(call_type)) not in ('identify', 'user_identify', 'group')
),

calls_with_times as (
    select
        case
            when call = 'track' then called
            -- Jitsu's page views have only a type, no name.
            when
                called is null or (called = call_type and record ->> '$.type' is null)
                then 'Loaded a Page'
            else 'Viewed ' || called || ' Page'
        end as event,
        call,
        message_id,
        user_id,
        anonymous_id,
        group_id,
        happened,
        original,
        sent,
        received,
        vendor_time(happened) as happened_at,
        vendor_time(original) as original_at,
        vendor_time(sent) as sent_at,
        vendor_time(received) as received_at,
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from calls
),

dated_calls as (
    select
        event,
        call,
        message_id,
        user_id,
        anonymous_id,
        group_id,
        case
            when happened_at is null and is_given(happened) then happened
            when original_at is null and is_given(original) then original
            when sent_at is null and is_given(sent) then sent
            when received_at is null and is_given(received) then received
        end as invalid_time,
        coalesce(happened_at, received_at - (sent_at - original_at), received_at, original_at)
            as dated_at,
        received_at,
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from calls_with_times
),

events as (
    select
        dated_calls.event,
        dated_calls.message_id,
        dated_calls.user_id,
        dated_calls.anonymous_id,
        dated_calls.group_id,
        dated_calls.invalid_time,
        case
            when
                date_diff('second', dated_calls.received_at, dated_calls.dated_at)
                > settings.clock_skew_seconds
                then dated_calls.received_at
            else dated_calls.dated_at
        end as occurred_at,
        dated_calls.received_at,
        settings.without_group,
        case
            when dated_calls.call = 'alias' then 'call_type alias'
            when dated_calls.call = 'other' then 'call_type other'
            when dated_calls.call = 'page' and settings.pages = 'ignore' then 'pages'
        end as ignored,
        dated_calls.record,
        dated_calls._source,
        dated_calls._source_file,
        dated_calls._source_line,
        dated_calls._loaded_at,
        dated_calls._load_id
    from dated_calls
    inner join settings on settings._source = dated_calls._source
),

dated_events as (
    select
        event,
        message_id,
        user_id,
        anonymous_id,
        group_id,
        coalesce(invalid_time, cast(occurred_at as varchar)) as occurred_at,
        -- An event without a time is rejected; it counts for the latest account of its user.
        coalesce(occurred_at, timestamp '9999-12-31 00:00:00') as known_at,
        received_at,
        without_group,
        ignored,
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from events
),

events_with_user as (
    select
        dated_events.event,
        dated_events.message_id,
        coalesce(dated_events.user_id, identities.user_id) as user_id,
        dated_events.anonymous_id,
        dated_events.group_id,
        dated_events.occurred_at,
        dated_events.known_at,
        dated_events.received_at,
        dated_events.without_group,
        dated_events.ignored,
        dated_events.record,
        dated_events._source,
        dated_events._source_file,
        dated_events._source_line,
        dated_events._loaded_at,
        dated_events._load_id
    from dated_events
    left join staging.segment_identities as identities
        on
            dated_events.user_id is null
            and dated_events.ignored is null
            and identities._source = dated_events._source
            and identities.anonymous_id = dated_events.anonymous_id
            and (identities.from_at is null or identities.from_at <= dated_events.known_at)
            and (identities.until_at is null or dated_events.known_at < identities.until_at)
),

events_with_group as (
    select
        events_with_user.event,
        events_with_user.message_id,
        events_with_user.user_id,
        coalesce(
            events_with_user.group_id,
            memberships.group_id,
            case
                when
                    events_with_user.without_group = 'match'
                    then 'user/' || events_with_user.user_id
            end
        ) as external_id,
        coalesce(events_with_user.user_id, events_with_user.anonymous_id) is null as is_nobodys,
        events_with_user.occurred_at,
        events_with_user.received_at,
        events_with_user.ignored,
        events_with_user.record,
        events_with_user._source,
        events_with_user._source_file,
        events_with_user._source_line,
        events_with_user._loaded_at,
        events_with_user._load_id
    from events_with_user
    left join staging.segment_memberships as memberships
        on
            events_with_user.group_id is null
            and events_with_user.ignored is null
            and memberships._source = events_with_user._source
            and memberships.member_id
            = coalesce(events_with_user.user_id, 'anonymous/' || events_with_user.anonymous_id)
            and (memberships.from_at is null or memberships.from_at <= events_with_user.known_at)
            and (memberships.until_at is null or events_with_user.known_at < memberships.until_at)
),

events_with_rule as (
    select
        events_with_group.message_id,
        events_with_group.user_id,
        events_with_group.external_id,
        events_with_group.is_nobodys,
        coalesce(names.event_name, events_with_group.event) as event_name,
        names.rule,
        names.feature,
        names.has_values,
        -- Columns have lower-case names with underscores in place of dots, blanks and dashes.
        case
            when names.property is not null
                then coalesce(
                    json_extract_string(
                        events_with_group.record, '$.properties.' || names.property
                    ),
                    json_extract_string(events_with_group.record, '$.' || names.property),
                    json_extract_string(
                        events_with_group.record,
                        '$.'
                        || lower(
                            replace(replace(replace(names.property, '.', '_'), ' ', '_'), '-', '_')
                        )
                    )
                )
        end as property_value,
        case
            when names.quantity is not null
                then coalesce(
                    json_extract_string(
                        events_with_group.record, '$.properties.' || names.quantity
                    ),
                    json_extract_string(events_with_group.record, '$.' || names.quantity),
                    json_extract_string(
                        events_with_group.record,
                        '$.'
                        || lower(
                            replace(replace(replace(names.quantity, '.', '_'), ' ', '_'), '-', '_')
                        )
                    )
                )
        end as quantity,
        events_with_group.occurred_at,
        events_with_group.received_at,
        events_with_group.ignored,
        events_with_group._source,
        events_with_group._source_file,
        events_with_group._source_line,
        events_with_group._loaded_at,
        events_with_group._load_id
    from events_with_group
    left join staging.segment_events as names
        on names._source = events_with_group._source and names.event = events_with_group.event
)

select
    events_with_rule._source || '/' || events_with_rule.message_id as event_id,
    matched.account_id,
    events_with_rule.external_id as external_account_id,
    events_with_rule.user_id,
    events_with_rule.event_name,
    coalesce(
        property_values.feature,
        case
            when not events_with_rule.has_values then nullif(events_with_rule.property_value, '')
        end,
        events_with_rule.feature
    ) as feature,
    events_with_rule.quantity,
    events_with_rule.occurred_at,
    events_with_rule.received_at as _version,
    case
        when events_with_rule.ignored is not null then events_with_rule.ignored
        when matched.is_ignored then 'account_map'
        when
            events_with_rule.external_id is null and events_with_rule.user_id is not null
            then 'without_group'
        when
            events_with_rule.external_id is null and not events_with_rule.is_nobodys
            then 'anonymous'
    end as _ignored,
    events_with_rule._source_file,
    events_with_rule._source_line,
    events_with_rule._loaded_at,
    events_with_rule._load_id
from events_with_rule
left join staging.segment_values as property_values
    on
        property_values._source = events_with_rule._source
        and property_values.rule = events_with_rule.rule
        and property_values.value = events_with_rule.property_value
left join staging.account_map as matched
    on
        matched.system = 'segment'
        and matched._source = events_with_rule._source
        and matched.external_id = events_with_rule.external_id
order by
    event_id,
    events_with_rule._load_id,
    events_with_rule._source_file,
    events_with_rule._source_line
