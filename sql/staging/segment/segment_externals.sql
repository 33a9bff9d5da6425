-- Grain: one row per group, and per user without one.
-- Definition: the step that the account map is made of. Of each trait the value loaded last counts. Groups that only
-- users or events name are listed as well. A user without a group is matched by the domain of the e-mail address, or of
-- the user id where that is one, unless the settings ignore such users. `_first_load_id` is the load since which the
-- traits that decide the account are as they are now.
-- Worked example: group g1 with traits {"name": "One", "domain": "one.example", "account_id": "A-1"} => g1, One, A-1.

with group_calls as (
    select
        _source,
        group_id,
        name,
        domain,
        claimed_account_id,
        arg_max(name, (_load_id, _source_file, _source_line)) over (partition by _source, group_id) as last_name,
        arg_max(domain, (_load_id, _source_file, _source_line)) over (partition by _source, group_id) as last_domain,
        arg_max(claimed_account_id, (_load_id, _source_file, _source_line)) over (partition by _source, group_id)
            as last_claimed,
        _load_id
    from staging.segment_calls
    where call = 'group' and group_id is not null
),

earlier_traits as (
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

described as (
    select
        calls._source,
        calls.group_id as external_id,
        max(earlier.last_name) as external_name,
        max(earlier.last_domain) as external_domain,
        max(earlier.last_claimed) as claimed_account_id,
        greatest(
            min(calls._load_id) filter (
                where calls.domain = earlier.last_domain and calls._load_id >= coalesce(earlier.other_domain_load_id, 0)
            ),
            min(calls._load_id) filter (
                where calls.claimed_account_id = earlier.last_claimed
                    and calls._load_id >= coalesce(earlier.other_claimed_load_id, 0)
            )
        ) as _first_load_id
    from group_calls as calls
    inner join earlier_traits as earlier on earlier._source = calls._source and earlier.group_id = calls.group_id
    group by calls._source, calls.group_id
),

calls as (
    select _source, user_id, group_id from raw.segment__tracks
    union all
    select _source, user_id, group_id from raw.segment__segment_tracks
    union all
    select _source, user_id, group_id from raw.segment__pages
    union all
    select _source, user_id, group_id from raw.segment__segment_pages
    union all
    select _source, user_id, group_id
    from raw.segment__events
    where call_type is null or lower(trim(call_type)) not in ('identify', 'user_identify', 'group', 'alias')
),

named_in_calls as (
    select distinct
        _source,
        identifier_text(user_id) as user_id,
        identifier_text(group_id) as group_id
    from calls
),

named as (
    select _source, group_id from staging.segment_memberships
    union
    select _source, group_id from named_in_calls where group_id is not null
),

identifies as (
    select
        _source,
        user_id,
        email,
        name,
        arg_max(email, (_load_id, _source_file, _source_line)) over (partition by _source, user_id) as last_email,
        arg_max(name, (_load_id, _source_file, _source_line)) over (partition by _source, user_id) as last_name,
        _load_id
    from staging.segment_calls
    where call = 'identify' and user_id is not null
),

earlier_addresses as (
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
        max(earlier.last_email) as email,
        max(earlier.last_name) as name,
        min(identifies._load_id) filter (
            where identifies.email = earlier.last_email
                and identifies._load_id >= coalesce(earlier.other_email_load_id, 0)
        ) as _first_load_id
    from identifies
    inner join earlier_addresses as earlier
        on earlier._source = identifies._source and earlier.user_id = identifies.user_id
    group by identifies._source, identifies.user_id
),

users_without_group as (
    select _source, user_id from named_in_calls where user_id is not null and group_id is null
    union
    select _source, user_id from users
)

select
    _source,
    external_id,
    external_name,
    external_domain,
    claimed_account_id,
    _first_load_id
from described
union all
select
    named._source,
    named.group_id as external_id,
    null as external_name,
    null as external_domain,
    case when sources.settings ->> '$.account_key' = 'group_id' then named.group_id end as claimed_account_id,
    null as _first_load_id
from named
inner join run.sources as sources on sources.system = 'segment' and sources._source = named._source
where (named._source, named.group_id) not in (select (_source, external_id) from described)
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
inner join run.sources as sources on sources.system = 'segment' and sources._source = users_without_group._source
left join users on users._source = users_without_group._source and users.user_id = users_without_group.user_id
where
    sources.settings ->> '$.without_group' = 'match'
    and (users_without_group._source, users_without_group.user_id)
        not in (select (_source, member_id) from staging.segment_memberships)
order by 1, 2
