-- Grain: one row per group, and per user without one.
-- Definition: the step that the account map is made of. Of each trait the latest that was stated counts. Groups that
-- only users or events name are there as well. A user of no group is matched by the domain of the e-mail address, or of
-- the user id where that is one, unless the settings ignore such users. `_first_load_id` is the load since which the account
-- may be told as it is now.
-- Worked example: group g1 with traits {"name": "One", "domain": "one.example", "account_id": "A-1"} => g1, One, A-1.

with group_calls as (
    select
        _source,
        group_id,
        name,
        domain,
        claimed_account_id,
        arg_max(name, (_loaded_at, _load_id, _source_file, _source_line)) over (partition by _source, group_id) as last_name,
        arg_max(domain, (_loaded_at, _load_id, _source_file, _source_line)) over (partition by _source, group_id)
            as last_domain,
        arg_max(claimed_account_id, (_loaded_at, _load_id, _source_file, _source_line))
            over (partition by _source, group_id) as last_claimed,
        _load_id
    from staging.segment_calls
    where call = 'group' and group_id is not null
),

described as (
    select
        _source,
        group_id as external_id,
        max(last_name) as external_name,
        max(last_domain) as external_domain,
        max(last_claimed) as claimed_account_id,
        greatest(
            min(_load_id) filter (where domain = last_domain), min(_load_id) filter (where claimed_account_id = last_claimed)
        ) as _first_load_id
    from group_calls
    group by _source, group_id
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
    select _source, user_id, group_id from raw.segment__events where call_type in ('track', 'page', 'screen')
),

named as (
    select _source, group_id from staging.segment_memberships
    union
    select _source, group_id from calls where group_id is not null
),

identifies as (
    select
        _source,
        user_id,
        email,
        name,
        arg_max(email, (_loaded_at, _load_id, _source_file, _source_line)) over (partition by _source, user_id) as last_email,
        arg_max(name, (_loaded_at, _load_id, _source_file, _source_line)) over (partition by _source, user_id) as last_name,
        _load_id
    from staging.segment_calls
    where call = 'identify' and user_id is not null
),

users as (
    select
        _source,
        user_id,
        max(last_email) as email,
        max(last_name) as name,
        min(_load_id) filter (where email = last_email) as _first_load_id
    from identifies
    group by _source, user_id
),

loners as (
    select distinct _source, user_id from calls where user_id is not null and group_id is null
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
    loners._source,
    'user/' || loners.user_id as external_id,
    users.name as external_name,
    case
        when users.email like '%_@_%' then split_part(users.email, '@', 2)
        when loners.user_id like '%_@_%' then lower(split_part(loners.user_id, '@', 2))
    end as external_domain,
    null as claimed_account_id,
    users._first_load_id
from loners
inner join run.sources as sources on sources.system = 'segment' and sources._source = loners._source
left join users on users._source = loners._source and users.user_id = loners.user_id
where
    sources.settings ->> '$.without_group' = 'match'
    and (loners._source, loners.user_id) not in (select (_source, member_id) from staging.segment_memberships)
order by 1, 2
