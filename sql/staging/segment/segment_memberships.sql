-- Grain: one row per user and period in which the user belongs to the same group.
-- Definition: the group is that of the latest call with a group at or before a moment; before the first such call,
-- that of the first. Of calls at the same instant, the one loaded last counts. A visitor whose anonymous id never
-- belonged to a user is a member under that id.
-- Worked example: group calls name g1 for u1 on the 2nd and g2 on the 5th => u1 g1 until the 5th, u1 g2 from the 5th
-- on.

with calls_with_group as (
    select
        calls._source,
        coalesce(calls.user_id, identities.user_id, 'anonymous/' || calls.anonymous_id)
            as member_id,
        calls.group_id,
        calls.stated_at,
        calls._source_file,
        calls._source_line,
        calls._load_id
    from staging.segment_calls as calls
    left join staging.segment_identities as identities
        on
            calls.user_id is null
            and identities._source = calls._source
            and identities.anonymous_id = calls.anonymous_id
            and (identities.from_at is null or identities.from_at <= calls.stated_at)
            and (
                identities.until_at is null
                or calls.stated_at is null
                or calls.stated_at < identities.until_at
            )
    where calls.group_id is not null
),

group_statements as (
    select
        _source,
        member_id,
        group_id,
        stated_at,
        min(_load_id) as _first_load_id,
        max((_load_id, _source_file, _source_line)) as recency
    from calls_with_group
    where member_id is not null
    group by _source, member_id, group_id, stated_at
),

latest_statements as (
    select
        _source,
        member_id,
        group_id,
        stated_at,
        _first_load_id
    from group_statements
    qualify row_number() over (partition by _source, member_id, stated_at order by recency desc) = 1
),

statements_with_previous as (
    select
        _source,
        member_id,
        group_id,
        stated_at,
        _first_load_id,
        lag(group_id)
            over (partition by _source, member_id order by stated_at nulls first)
            as group_before
    from latest_statements
)

select
    _source,
    member_id,
    group_id,
    case when group_before is not null then stated_at end as from_at,
    lead(stated_at)
        over (partition by _source, member_id order by stated_at nulls first)
        as until_at,
    _first_load_id
from statements_with_previous
where group_before is distinct from group_id
order by _source, member_id, from_at nulls first
