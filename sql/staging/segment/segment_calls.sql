-- Grain: one row per identify and group call, the latest record of each message.
-- Definition: what users and groups are told to be. A call happened when its timestamp says; where it has none, at its
-- original timestamp as far before the reception as it was before the sending, else when it was received; so does one
-- that is dated later than received by more than the source's `clock_skew_seconds`. A call without any time holds since
-- ever. An identify call may name a group in its context, or in its trait `company`.
-- Worked example: {"type": "group", "userId": "u1", "groupId": "g1", "traits": {"name": "One"}} => u1, g1, One.

with records as (
    select
        case when call_type = 'group' then 'group' else 'identify' end as call,
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
    where call_type in ('identify', 'group')
    union all
    select
        'identify' as call,
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
    from raw.segment__identifies
    union all
    select
        'identify' as call,
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
    from raw.segment__segment_identifies
    union all
    select
        'group' as call,
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
    from raw.segment__groups
    union all
    select
        'group' as call,
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
    from raw.segment__segment_groups
),

calls as (
    select
        call,
        user_id,
        anonymous_id,
        group_id,
        try_cast(happened as timestamptz) at time zone 'UTC' as happened_at,
        try_cast(original as timestamptz) at time zone 'UTC' as original_at,
        try_cast(sent as timestamptz) at time zone 'UTC' as sent_at,
        try_cast(received as timestamptz) at time zone 'UTC' as received_at,
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from records
    qualify
        message_id is null
        or row_number() over (
            partition by _source, message_id
            order by _loaded_at desc, _load_id desc, _source_file desc, _source_line desc
        ) = 1
),

dated as (
    select
        call,
        user_id,
        anonymous_id,
        group_id,
        coalesce(happened_at, received_at - (sent_at - original_at), received_at, original_at) as stated_at,
        received_at,
        record,
        _source,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from calls
)

select
    dated._source,
    dated.call,
    dated.user_id,
    dated.anonymous_id,
    case
        when dated.call = 'group' then dated.group_id
        else coalesce(
            dated.group_id,
            nullif(dated.record ->> '$.traits.company.id', ''),
            nullif(dated.record ->> '$.company_id', '')
        )
    end as group_id,
    case
        when date_diff('second', dated.received_at, dated.stated_at)
            > cast(sources.settings ->> '$.clock_skew_seconds' as bigint) then dated.received_at
        else dated.stated_at
    end as stated_at,
    coalesce(dated.record ->> '$.traits.name', dated.record ->> '$.name') as name,
    lower(coalesce(
        nullif(dated.record ->> '$.traits.domain', ''),
        nullif(dated.record ->> '$.domain', ''),
        nullif(
            regexp_extract(
                coalesce(dated.record ->> '$.traits.website', dated.record ->> '$.website'),
                '^(?:[a-zA-Z]+://)?(?:www\.)?([^/:?#]+\.[^/:?#]+)',
                1
            ),
            ''
        )
    )) as domain,
    lower(coalesce(dated.record ->> '$.traits.email', dated.record ->> '$.email')) as email,
    case
        when sources.settings ->> '$.account_key' = 'group_id' then dated.group_id
        else coalesce(
            nullif(json_extract_string(dated.record, '$.traits.' || (sources.settings ->> '$.account_key')), ''),
            nullif(json_extract_string(dated.record, '$.' || (sources.settings ->> '$.account_key')), '')
        )
    end as claimed_account_id,
    dated._source_file,
    dated._source_line,
    dated._loaded_at,
    dated._load_id
from dated
inner join run.sources as sources on sources.system = 'segment' and sources._source = dated._source
order by dated._source, dated._load_id, dated._source_file, dated._source_line
