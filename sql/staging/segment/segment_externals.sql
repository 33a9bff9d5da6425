-- Grain: one row per group, and per user without one.
-- Definition: input of the account map. Of each trait the value loaded last counts. Groups that only users or events
-- name are included. A user without a group is matched by the domain of the e-mail address, or of the user id if
-- that is an address, unless the settings ignore such users. `_first_load_id` is the first load with the current
-- values of the traits that determine the account.
-- Worked example: group g1 with traits {"name": "One", "domain": "one.example", "account_id": "A-1"} => g1, One,
-- A-1.

with group_calls as (
    select
        _source,
        group_id,
        name,
        domain,
        claimed_account_id,
        arg_max(name, (_load_id, _source_file, _source_line))
            over (partition by _source, group_id)
            as last_name,
        arg_max(domain, (_load_id, _source_file, _source_line))
            over (partition by _source, group_id)
            as last_domain,
        arg_max(claimed_account_id, (_load_id, _source_file, _source_line))
            over (partition by _source, group_id)
            as last_claimed,
        _load_id
    from staging.segment_calls
    where call = 'group' and group_id is not null
),

last_traits as (
    select
        _source,
        group_id,
        max(last_name) as last_name,
        max(last_domain) as last_domain,
        max(last_claimed) as last_claimed,
        max(_load_id) filter (where domain <> last_domain) as other_domain_load_id,
        max(_load_id) filter (where claimed_account_id <> last_claimed) as other_claimed_load_id
    from group_calls
    group by _source, group_id
),

groups_with_traits as (
    select
        group_calls._source,
        group_calls.group_id as external_id,
        max(last_traits.last_name) as external_name,
        max(last_traits.last_domain) as external_domain,
        max(last_traits.last_claimed) as claimed_account_id,
        greatest(
            min(group_calls._load_id) filter (
                where group_calls.domain = last_traits.last_domain
                and group_calls._load_id >= coalesce(last_traits.other_domain_load_id, 0)
            ),
            min(group_calls._load_id) filter (
                where group_calls.claimed_account_id = last_traits.last_claimed
                and group_calls._load_id >= coalesce(last_traits.other_claimed_load_id, 0)
            )
        ) as _first_load_id
    from group_calls
    inner join last_traits
        on last_traits._source = group_calls._source and last_traits.group_id = group_calls.group_id
    group by group_calls._source, group_calls.group_id
),

event_calls as (
    select
        _source,
        user_id,
        group_id
    from raw.segment__tracks
    union all
    select
        _source,
        user_id,
        group_id
    from raw.segment__segment_tracks
    union all
    select
        _source,
        user_id,
        group_id
    from raw.segment__pages
    union all
    select
        _source,
        user_id,
        group_id
    from raw.segment__segment_pages
    union all
    select
        _source,
        user_id,
        group_id
    from raw.segment__events
    where
        call_type is null
        or lower(trim(call_type)) not in ('identify', 'user_identify', 'group', 'alias')
),

call_users as (
    select distinct
        _source,
        identifier_text(user_id) as user_id,
        identifier_text(group_id) as group_id
    from event_calls
),

named_groups as (
    select
        _source,
        group_id
    from staging.segment_memberships
    union
    select
        _source,
        group_id
    from call_users
    where group_id is not null
),

identifies as (
    select
        _source,
        user_id,
        email,
        name,
        arg_max(email, (_load_id, _source_file, _source_line))
            over (partition by _source, user_id)
            as last_email,
        arg_max(name, (_load_id, _source_file, _source_line))
            over (partition by _source, user_id)
            as last_name,
        _load_id
    from staging.segment_calls
    where call = 'identify' and user_id is not null
),

last_addresses as (
    select
        _source,
        user_id,
        max(last_email) as last_email,
        max(last_name) as last_name,
        max(_load_id) filter (where email <> last_email) as other_email_load_id
    from identifies
    group by _source, user_id
),

users as (
    select
        identifies._source,
        identifies.user_id,
        max(last_addresses.last_email) as email,
        max(last_addresses.last_name) as name,
        min(identifies._load_id) filter (
            where identifies.email = last_addresses.last_email
            and identifies._load_id >= coalesce(last_addresses.other_email_load_id, 0)
        ) as _first_load_id
    from identifies
    inner join last_addresses
        on
            last_addresses._source = identifies._source
            and last_addresses.user_id = identifies.user_id
    group by identifies._source, identifies.user_id
),

users_without_group as (
    select
        _source,
        user_id
    from call_users
    where user_id is not null and group_id is null
    union
    select
        _source,
        user_id
    from users
)

select
    _source,
    external_id,
    external_name,
    external_domain,
    claimed_account_id,
    _first_load_id
from groups_with_traits
union all
select
    named_groups._source,
    named_groups.group_id as external_id,
    null as external_name,
    null as external_domain,
    case when sources.settings ->> '$.account_key' = 'group_id' then named_groups.group_id end
        as claimed_account_id,
    null as _first_load_id
from named_groups
inner join run.sources as sources
    on sources.system = 'segment' and sources._source = named_groups._source
where
    (named_groups._source, named_groups.group_id) not in (
        select (groups_with_traits._source, groups_with_traits.external_id) from groups_with_traits
    )
union all
select
    users_without_group._source,
    'user/' || users_without_group.user_id as external_id,
    users.name as external_name,
    case
        when users.email is not null then users.email
        when users_without_group.user_id like '%_@_%' then users_without_group.user_id
    end as external_domain,
    null as claimed_account_id,
    users._first_load_id
from users_without_group
inner join run.sources as sources
    on sources.system = 'segment' and sources._source = users_without_group._source
left join users
    on users._source = users_without_group._source and users.user_id = users_without_group.user_id
where
    sources.settings ->> '$.without_group' = 'match'
    and (users_without_group._source, users_without_group.user_id)
    not in (
        select (memberships._source, memberships.member_id)
        from staging.segment_memberships as memberships
    )
order by _source, external_id
