-- Grain: one row per event and record of it.
-- Definition (signals.md, "Staged contract"): track calls, and page views if the settings count them. An event happened
-- at its timestamp; without one, at its original timestamp as far before the reception as it was before the sending,
-- else when it was received; so did an event that is dated later than received by more than `clock_skew_seconds`. A
-- time that does not parse is passed on as text, whichever of the four it is, so that the record is rejected with it.
-- It is of the group that it names, else of the one that its user belongs to at that moment, else of the user alone, as
-- `user/<id>`. An anonymous id is the user with whom it was identified at that moment. `_ignored`: visitors who are not
-- identified and of no group (anonymous), and what the settings leave out. The latest version of an event is the one
-- received last.
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
            -- Jitsu's type of an event is the name of what happened.
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

read_times as (
    select
        case
            when call = 'track' then called
            -- Jitsu's page views have no name but their type.
            when called is null or (called = call_type and record ->> '$.type' is null) then 'Loaded a Page'
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

dated as (
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
        coalesce(happened_at, received_at - (sent_at - original_at), received_at, original_at) as dated_at,
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
        dated.invalid_time,
        case
            when date_diff('second', dated.received_at, dated.dated_at) > settings.clock_skew_seconds
                then dated.received_at
            else dated.dated_at
        end as occurred_at,
        dated.received_at,
        settings.without_group,
        case
            when dated.call = 'alias' then 'call_type alias'
            when dated.call = 'other' then 'call_type other'
            when dated.call = 'page' and settings.pages = 'ignore' then 'pages'
        end as ignored,
        dated.record,
        dated._source,
        dated._source_file,
        dated._source_line,
        dated._loaded_at,
        dated._load_id
    from dated
    inner join settings on settings._source = dated._source
),

placed as (
    select
        event,
        message_id,
        user_id,
        anonymous_id,
        group_id,
        coalesce(invalid_time, cast(occurred_at as varchar)) as occurred_at,
        -- An event that is not dated is rejected; it is of the account of its user as known last.
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

identified as (
    select
        placed.event,
        placed.message_id,
        coalesce(placed.user_id, identities.user_id) as user_id,
        placed.anonymous_id,
        placed.group_id,
        placed.occurred_at,
        placed.known_at,
        placed.received_at,
        placed.without_group,
        placed.ignored,
        placed.record,
        placed._source,
        placed._source_file,
        placed._source_line,
        placed._loaded_at,
        placed._load_id
    from placed
    left join staging.segment_identities as identities
        on placed.user_id is null
        and placed.ignored is null
        and identities._source = placed._source
        and identities.anonymous_id = placed.anonymous_id
        and (identities.from_at is null or identities.from_at <= placed.known_at)
        and (identities.until_at is null or placed.known_at < identities.until_at)
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
        identified.occurred_at,
        identified.received_at,
        identified.ignored,
        identified.record,
        identified._source,
        identified._source_file,
        identified._source_line,
        identified._loaded_at,
        identified._load_id
    from identified
    left join staging.segment_memberships as memberships
        on identified.group_id is null
        and identified.ignored is null
        and memberships._source = identified._source
        and memberships.member_id = coalesce(identified.user_id, 'anonymous/' || identified.anonymous_id)
        and (memberships.from_at is null or memberships.from_at <= identified.known_at)
        and (memberships.until_at is null or identified.known_at < memberships.until_at)
),

named as (
    select
        grouped.message_id,
        grouped.user_id,
        grouped.external_id,
        grouped.is_nobodys,
        coalesce(names.event_name, grouped.event) as event_name,
        names.rule,
        names.feature,
        names.has_values,
        -- Columns have lower-case names with underscores in place of dots, blanks and dashes.
        case
            when names.property is not null
                then coalesce(
                    json_extract_string(grouped.record, '$.properties.' || names.property),
                    json_extract_string(grouped.record, '$.' || names.property),
                    json_extract_string(
                        grouped.record,
                        '$.' || lower(replace(replace(replace(names.property, '.', '_'), ' ', '_'), '-', '_'))
                    )
                )
        end as property_value,
        case
            when names.quantity is not null
                then coalesce(
                    json_extract_string(grouped.record, '$.properties.' || names.quantity),
                    json_extract_string(grouped.record, '$.' || names.quantity),
                    json_extract_string(
                        grouped.record,
                        '$.' || lower(replace(replace(replace(names.quantity, '.', '_'), ' ', '_'), '-', '_'))
                    )
                )
        end as quantity,
        grouped.occurred_at,
        grouped.received_at,
        grouped.ignored,
        grouped._source,
        grouped._source_file,
        grouped._source_line,
        grouped._loaded_at,
        grouped._load_id
    from grouped
    left join staging.segment_events as names on names._source = grouped._source and names.event = grouped.event
)

select
    named._source || '/' || named.message_id as event_id,
    matched.account_id,
    named.external_id as external_account_id,
    named.user_id,
    named.event_name,
    coalesce(
        property_values.feature, case when not named.has_values then nullif(named.property_value, '') end, named.feature
    ) as feature,
    named.quantity,
    named.occurred_at,
    named.received_at as _version,
    case
        when named.ignored is not null then named.ignored
        when matched.is_ignored then 'account_map'
        when named.external_id is null and named.user_id is not null then 'without_group'
        when named.external_id is null and not named.is_nobodys then 'anonymous'
    end as _ignored,
    named._source_file,
    named._source_line,
    named._loaded_at,
    named._load_id
from named
left join staging.segment_values as property_values
    on property_values._source = named._source
    and property_values.rule = named.rule
    and property_values.value = named.property_value
left join staging.account_map as matched
    on matched.system = 'segment' and matched._source = named._source and matched.external_id = named.external_id
order by event_id, named._load_id, named._source_file, named._source_line
