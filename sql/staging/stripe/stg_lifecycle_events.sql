-- Grain: one row per account and end of all of its subscriptions, and one per return after such an
-- end.
-- Definition: a subscription that starts at most `churn_grace_days` after the end of all earlier
-- ones of its account is in their group; another starts a new group. The account churned at the
-- latest end of a group, once the sources were loaded more than `churn_grace_days` after it
-- (run.source_loads); it returned at the first start of the next group. Subscriptions that never
-- began (stripe_subscriptions, `ignored`) or ended before they started are left out, and so are
-- ends and returns before the account was created. If an account has customers in several sources,
-- the longest grace applies; if one of them has none, the rule is off. An account with a
-- `churned_at` of its own keeps that.
-- Worked example: grace 30; subscriptions 1 January to 1 March, 20 March to 1 May, from 1 July =>
-- churned 1 May, returned 1 July; loads until 31 May give no row.

with sources as (
    select
        _source,
        cast(settings ->> '$.churn_grace_days' as integer) as grace_days
    from run.sources
    where system = 'stripe'
),

latest_loads as (
    select max(loaded_at) as loaded_at
    from run.source_loads
    where system = 'stripe'
),

account_subscriptions as (
    select
        accounts.account_id,
        accounts.created_at,
        accounts.churned_at,
        subscriptions._source,
        subscriptions.subscription_id,
        subscriptions.started_at,
        -- Without an end, a subscription outlasts every other.
        coalesce(subscriptions.ended_at, timestamp '9999-01-01 00:00:00') as ended_at,
        subscriptions.end_reason,
        subscriptions._source_file,
        subscriptions._source_line,
        subscriptions._loaded_at,
        subscriptions._load_id
    from staging.stripe_subscriptions as subscriptions
    inner join staging.account_map as matched
        on
            matched.system = 'stripe'
            and matched._source = subscriptions._source
            and matched.external_id = subscriptions.customer_id
    inner join staging.stg_accounts as accounts
        on accounts.account_id = matched.account_id
    where
        subscriptions.ignored is null
        and not matched.is_ignored
        and coalesce(subscriptions.started_at < subscriptions.ended_at, true)
),

graces as (
    select
        account_subscriptions.account_id,
        to_days(max(sources.grace_days)) as grace
    from account_subscriptions
    inner join sources on sources._source = account_subscriptions._source
    group by account_subscriptions.account_id
    having count(*) = count(sources.grace_days)
),

ordered_subscriptions as (
    select
        account_subscriptions.account_id,
        account_subscriptions.created_at,
        account_subscriptions.churned_at,
        account_subscriptions.subscription_id,
        account_subscriptions.started_at,
        account_subscriptions.ended_at,
        account_subscriptions.end_reason,
        account_subscriptions._source_file,
        account_subscriptions._source_line,
        account_subscriptions._loaded_at,
        account_subscriptions._load_id,
        graces.grace,
        max(account_subscriptions.ended_at) over (
            partition by account_subscriptions.account_id
            order by
                account_subscriptions.started_at nulls first,
                account_subscriptions.subscription_id,
                account_subscriptions._source
            rows between unbounded preceding and 1 preceding
        ) as subscribed_until,
        row_number() over (
            partition by account_subscriptions.account_id
            order by
                account_subscriptions.started_at nulls first,
                account_subscriptions.subscription_id,
                account_subscriptions._source
        ) as position
    from account_subscriptions
    inner join graces on graces.account_id = account_subscriptions.account_id
),

grouped_subscriptions as (
    select
        account_id,
        created_at,
        churned_at,
        subscription_id,
        started_at,
        ended_at,
        end_reason,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id,
        grace,
        position,
        count(*) filter (where started_at > subscribed_until + grace) over (
            partition by account_id order by position
        ) as earlier_groups
    from ordered_subscriptions
),

first_subscriptions as (
    select
        account_id,
        earlier_groups,
        subscription_id,
        started_at,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id
    from grouped_subscriptions
    qualify row_number() over (partition by account_id, earlier_groups order by position) = 1
),

last_subscriptions as (
    select
        account_id,
        earlier_groups,
        created_at,
        churned_at,
        subscription_id,
        ended_at,
        end_reason,
        _source_file,
        _source_line,
        _loaded_at,
        _load_id,
        grace
    from grouped_subscriptions
    qualify row_number() over (
        partition by account_id, earlier_groups order by ended_at desc, position desc
    ) = 1
),

churns as (
    select
        last_subscriptions.account_id,
        last_subscriptions.earlier_groups,
        last_subscriptions.churned_at,
        last_subscriptions.subscription_id,
        last_subscriptions.ended_at,
        last_subscriptions.end_reason,
        last_subscriptions._source_file,
        last_subscriptions._source_line,
        last_subscriptions._loaded_at,
        last_subscriptions._load_id
    from last_subscriptions
    cross join latest_loads
    where
        last_subscriptions.ended_at + last_subscriptions.grace < latest_loads.loaded_at
        and coalesce(last_subscriptions.created_at < last_subscriptions.ended_at, true)
)

select
    subscription_id || '-churned' as event_id,
    account_id,
    'churned' as kind,
    ended_at as occurred_at,
    coalesce(end_reason, 'all subscriptions ended') as reason,
    case when churned_at is not null then 'churned_at' end as _ignored,
    _source_file,
    _source_line,
    _loaded_at,
    _load_id
from churns
union all
select
    first_subscriptions.subscription_id || '-returned' as event_id,
    first_subscriptions.account_id,
    'returned' as kind,
    first_subscriptions.started_at as occurred_at,
    cast(null as varchar) as reason,
    case when churns.churned_at is not null then 'churned_at' end as _ignored,
    first_subscriptions._source_file,
    first_subscriptions._source_line,
    first_subscriptions._loaded_at,
    first_subscriptions._load_id
from churns
inner join first_subscriptions
    on
        first_subscriptions.account_id = churns.account_id
        and first_subscriptions.earlier_groups = churns.earlier_groups + 1
order by event_id
