-- Grain: one row per identify or group call, with the latest version of each message.
-- Definition: the statements of calls about users and groups. The latest version of a message is the one received
-- last, then the one loaded last. The time of a call is its timestamp; without it, received_at - (sent_at -
-- original_timestamp); without these, the time at which it was received. If a time is more than `clock_skew_seconds`
-- after the call was received, the time of receipt is used. A call without any time applies from the beginning.
-- Traits are read from `traits`, from separate columns, or from `context.traits`; in a group call `context.traits`
-- describes the user, so the name of the group is not read from it. An identify call may name a group in its context
-- or in its trait `company`.
-- Worked example: {"type": "group", "userId": "u1", "groupId": "g1", "traits": {"name": "One"}} => u1, g1, One.

with call_fields as (
    select
        kind as call,
        record,
        case when is_given(record ->> '$.traits') then record ->> '$.traits' end as traits,
        case when is_given(record ->> '$.context') then record ->> '$.context' end as context,
        case
            when json_valid(record ->> '$.user') then record ->> '$.user'
            else record ->> '$.eventn_ctx.user'
        end as person,
        coalesce(
            identifier_text(record ->> '$.messageId'),
            identifier_text(record ->> '$.message_id'),
            identifier_text(record ->> '$.messageid'),
            identifier_text(record ->> '$.id'),
            identifier_text(record ->> '$.eventn_ctx.event_id'),
            identifier_text(record ->> '$.eventn_ctx_event_id'),
            identifier_text(record ->> '$.event_id')
        ) as message_id,
        coalesce(
            vendor_time(record ->> '$.timestamp'),
            vendor_time(record ->> '$.utc_time'),
            vendor_time(record ->> '$.eventn_ctx.utc_time'),
            vendor_time(record ->> '$.eventn_ctx_utc_time')
        ) as happened_at,
        coalesce(
            vendor_time(record ->> '$.originalTimestamp'),
            vendor_time(record ->> '$.original_timestamp'),
            vendor_time(record ->> '$.originaltimestamp')
        ) as original_at,
        coalesce(
            vendor_time(record ->> '$.sentAt'),
            vendor_time(record ->> '$.sent_at'),
            vendor_time(record ->> '$.sentat')
        ) as sent_at,
        coalesce(
            vendor_time(record ->> '$.receivedAt'),
            vendor_time(record ->> '$.received_at'),
            vendor_time(record ->> '$.receivedat'),
            vendor_time(record ->> '$._timestamp')
        ) as received_at,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from staging.segment_records
    where kind in ('identify', 'group')
),

calls_with_context as (
    select
        call,
        record,
        traits,
        context,
        case when json_valid(person) then person end as person,
        case
            when is_given(context ->> '$.traits') then context ->> '$.traits'
            when is_given(record ->> '$.context_traits') then record ->> '$.context_traits'
        end as context_traits,
        message_id,
        happened_at,
        original_at,
        sent_at,
        received_at,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from call_fields
),

call_values as (
    select
        calls._source,
        calls.call,
        calls.message_id,
        coalesce(
            identifier_text(calls.record ->> '$.userId'),
            identifier_text(calls.record ->> '$.user_id'),
            identifier_text(calls.record ->> '$.userid'),
            identifier_text(calls.person ->> '$.id'),
            identifier_text(calls.person ->> '$.internal_id'),
            identifier_text(calls.record ->> '$.user_internal_id'),
            identifier_text(calls.record ->> '$.eventn_ctx_user_id'),
            identifier_text(calls.record ->> '$.eventn_ctx_user_internal_id')
        ) as user_id,
        coalesce(
            identifier_text(calls.record ->> '$.anonymousId'),
            identifier_text(calls.record ->> '$.anonymous_id'),
            identifier_text(calls.record ->> '$.anonymousid'),
            identifier_text(calls.person ->> '$.anonymous_id'),
            identifier_text(calls.record ->> '$.user_anonymous_id'),
            identifier_text(calls.record ->> '$.eventn_ctx_user_anonymous_id')
        ) as anonymous_id,
        coalesce(
            identifier_text(calls.record ->> '$.groupId'),
            identifier_text(calls.record ->> '$.group_id'),
            identifier_text(calls.record ->> '$.groupid'),
            identifier_text(calls.context ->> '$.groupId'),
            identifier_text(calls.context ->> '$.group_id'),
            identifier_text(calls.record ->> '$.context_group_id'),
            identifier_text(calls.record ->> '$.context_groupid'),
            case
                when calls.call = 'identify' then identifier_text(calls.traits ->> '$.company.id')
            end,
            case
                when calls.call = 'identify' then identifier_text(calls.record ->> '$.company_id')
            end,
            identifier_text(calls.context_traits ->> '$.company.id'),
            identifier_text(calls.record ->> '$.context_traits_company_id')
        ) as group_id,
        calls.happened_at,
        calls.original_at,
        calls.sent_at,
        calls.received_at,
        coalesce(
            nullif(trim(calls.traits ->> '$.name'), ''),
            nullif(trim(calls.record ->> '$.name'), ''),
            case
                when
                    calls.call = 'identify'
                    then nullif(trim(calls.context_traits ->> '$.name'), '')
            end,
            case
                when
                    calls.call = 'identify'
                    then nullif(trim(calls.record ->> '$.context_traits_name'), '')
            end
        ) as name,
        coalesce(
            nullif(trim(calls.traits ->> '$.domain'), ''),
            nullif(trim(calls.record ->> '$.domain'), ''),
            nullif(trim(calls.traits ->> '$.website'), ''),
            nullif(trim(calls.record ->> '$.website'), ''),
            nullif(trim(calls.context_traits ->> '$.domain'), ''),
            nullif(trim(calls.record ->> '$.context_traits_domain'), ''),
            nullif(trim(calls.context_traits ->> '$.website'), ''),
            nullif(trim(calls.record ->> '$.context_traits_website'), '')
        ) as domain,
        coalesce(
            nullif(trim(calls.traits ->> '$.email'), ''),
            nullif(trim(calls.record ->> '$.email'), ''),
            nullif(trim(calls.context_traits ->> '$.email'), ''),
            nullif(trim(calls.record ->> '$.context_traits_email'), ''),
            nullif(trim(calls.person ->> '$.email'), ''),
            nullif(trim(calls.record ->> '$.user_email'), ''),
            nullif(trim(calls.record ->> '$.eventn_ctx_user_email'), '')
        ) as email,
        -- Columns have lower-case names with underscores in place of dots, blanks and dashes.
        coalesce(
            identifier_text(
                json_extract_string(calls.traits, '$.' || (sources.settings ->> '$.account_key'))
            ),
            identifier_text(
                json_extract_string(calls.record, '$.' || (sources.settings ->> '$.account_key'))
            ),
            identifier_text(
                json_extract_string(
                    calls.record,
                    '$.'
                    || lower(
                        regexp_replace(sources.settings ->> '$.account_key', '[. -]', '_', 'g')
                    )
                )
            ),
            identifier_text(
                json_extract_string(
                    calls.context_traits, '$.' || (sources.settings ->> '$.account_key')
                )
            ),
            identifier_text(
                json_extract_string(
                    calls.record,
                    '$.context_traits_'
                    || lower(
                        regexp_replace(sources.settings ->> '$.account_key', '[. -]', '_', 'g')
                    )
                )
            )
        ) as account_trait,
        sources.settings ->> '$.account_key' = 'group_id' as is_group_the_account,
        cast(sources.settings ->> '$.clock_skew_seconds' as bigint) as clock_skew_seconds,
        calls._source_file,
        calls._source_line,
        calls._loaded_at,
        calls._load_id
    from calls_with_context as calls
    inner join run.sources as sources
        on sources.system = 'segment' and sources._source = calls._source
),

dated_calls as (
    select
        _source,
        call,
        message_id,
        user_id,
        anonymous_id,
        group_id,
        coalesce(happened_at, received_at - (sent_at - original_at), received_at, original_at)
            as dated_at,
        received_at,
        name,
        domain,
        email,
        case when is_group_the_account then group_id else account_trait end as claimed_account_id,
        clock_skew_seconds,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from call_values
),

stated_calls as (
    select
        _source,
        call,
        message_id,
        user_id,
        anonymous_id,
        group_id,
        case
            when
                date_diff('second', received_at, dated_at) > clock_skew_seconds
                then received_at
            else dated_at
        end as stated_at,
        received_at,
        name,
        domain,
        email,
        claimed_account_id,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from dated_calls
),

message_versions as (
    select
        _source,
        call,
        message_id,
        user_id,
        anonymous_id,
        group_id,
        stated_at,
        name,
        domain,
        email,
        claimed_account_id,
        row_number() over latest_first as version,
        hash(user_id, anonymous_id, group_id, stated_at, name, domain, email, claimed_account_id)
            as statement,
        first_value(
            hash(
                user_id, anonymous_id, group_id, stated_at, name, domain, email, claimed_account_id
            )
        ) over latest_first as latest_statement,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from stated_calls
    where message_id is not null
    window latest_first as (
        partition by _source, message_id
        order by received_at desc nulls last, _load_id desc, _source_file desc, _source_line desc
    )
),

changed_messages as (
    select
        _source,
        message_id,
        max(_load_id) as other_load_id
    from message_versions
    where statement <> latest_statement
    group by _source, message_id
),

latest_statement_loads as (
    select
        message_versions._source,
        message_versions.message_id,
        min(message_versions._load_id) as _first_load_id
    from message_versions
    inner join changed_messages
        on
            changed_messages._source = message_versions._source
            and changed_messages.message_id = message_versions.message_id
    where
        message_versions.statement = message_versions.latest_statement
        and message_versions._load_id >= changed_messages.other_load_id
    group by message_versions._source, message_versions.message_id
)

select
    message_versions._source,
    message_versions.call,
    message_versions.user_id,
    message_versions.anonymous_id,
    message_versions.group_id,
    message_versions.stated_at,
    message_versions.name,
    message_versions.domain,
    message_versions.email,
    message_versions.claimed_account_id,
    latest_statement_loads._first_load_id,
    message_versions._source_file,
    message_versions._source_line,
    message_versions._loaded_at,
    message_versions._load_id
from message_versions
left join latest_statement_loads
    on
        latest_statement_loads._source = message_versions._source
        and latest_statement_loads.message_id = message_versions.message_id
where message_versions.version = 1
union all
select
    _source,
    call,
    user_id,
    anonymous_id,
    group_id,
    stated_at,
    name,
    domain,
    email,
    claimed_account_id,
    null as _first_load_id,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from stated_calls
where message_id is null
order by _source, _load_id, _source_file, _source_line
