-- Grain: one row per anonymous id and period in which it belongs to the same user.
-- Definition: the user is that of the latest call with both ids at or before a moment; before the first such call,
-- that of the first. Of calls at the same instant, the one loaded last counts.
-- Worked example: a1 belongs to u1 on the 2nd and to u2 on the 5th => a1 u1 until the 5th, a1 u2 from the 5th on.

with user_statements as (
    select
        _source,
        anonymous_id,
        user_id,
        stated_at,
        min(_load_id) as _first_load_id,
        max((_load_id, _source_file, _source_line)) as recency
    from staging.segment_calls
    where anonymous_id is not null and user_id is not null
    group by _source, anonymous_id, user_id, stated_at
),

latest_statements as (
    select
        _source,
        anonymous_id,
        user_id,
        stated_at,
        _first_load_id
    from user_statements
    qualify
        row_number() over (partition by _source, anonymous_id, stated_at order by recency desc) = 1
),

statements_with_previous as (
    select
        _source,
        anonymous_id,
        user_id,
        stated_at,
        _first_load_id,
        lag(user_id)
            over (partition by _source, anonymous_id order by stated_at nulls first)
            as user_before
    from latest_statements
)

select
    _source,
    anonymous_id,
    user_id,
    case when user_before is not null then stated_at end as from_at,
    lead(stated_at)
        over (partition by _source, anonymous_id order by stated_at nulls first)
        as until_at,
    _first_load_id
from statements_with_previous
where user_before is distinct from user_id
order by _source, anonymous_id, from_at nulls first
