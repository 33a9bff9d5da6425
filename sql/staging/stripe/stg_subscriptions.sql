-- Grain: one row per subscription and span of time in which its seats and price stayed the same.
-- Definition (signals.md, "Staged contract"): seats are the quantities of all items together. Every statement about an
-- item holds until the next; one about the whole subscription says of the items that it does not name that they are gone.
-- The current record is dated by its period, or by the last statement about that period. The first span begins with the
-- subscription, later ones are named after their start. Monthly and other short periods renew by themselves and nobody decides: only periods
-- of at least `renewal_months` have a renewal date, and whatever was told to end has its end.
-- Worked example: sub_1 from 1 January with 5 seats, 8 from 15 January => 'sub_1' with 5, ended 15 January, and
-- 'sub_1/2026-01-15 00:00:00' with 8.

with subscriptions as (
    select
        subscriptions._source,
        subscriptions.subscription_id,
        subscriptions.customer_id,
        subscriptions.started_at,
        subscriptions.ended_at,
        subscriptions.ends_at,
        subscriptions.renewal_months,
        subscriptions._source_file,
        subscriptions._source_line,
        subscriptions._loaded_at,
        subscriptions._load_id
    from staging.stripe_subscriptions as subscriptions
),

last_told as (
    select
        _source,
        subscription_id,
        max(stated_at) as last_at
    from staging.stripe_item_states
    where kind < 3
    group by _source, subscription_id
),

states as (
    select
        subscriptions._source,
        subscriptions.subscription_id,
        states.item_id,
        states.kind,
        states.seats,
        states.mrr,
        states.currency,
        states.billing_months,
        states.period_end,
        case
            when states.kind = 3 then
                greatest(
                    coalesce(states.stated_at, subscriptions.started_at),
                    coalesce(last_told.last_at, subscriptions.started_at),
                    subscriptions.started_at
                )
            else greatest(states.stated_at, subscriptions.started_at)
        end as stated_at
    from subscriptions
    inner join staging.stripe_item_states as states
        on states._source = subscriptions._source and states.subscription_id = subscriptions.subscription_id
    left join last_told
        on last_told._source = subscriptions._source and last_told.subscription_id = subscriptions.subscription_id
    where states.stated_at is not null or states.kind = 3
),

whole as (
    select distinct
        _source,
        subscription_id,
        kind,
        stated_at
    from states
    where kind > 0
),

items as (
    select
        _source,
        subscription_id,
        item_id
    from states
    group by _source, subscription_id, item_id
),

gone as (
    select
        whole._source,
        whole.subscription_id,
        items.item_id,
        whole.kind,
        whole.stated_at
    from whole
    inner join items on items._source = whole._source and items.subscription_id = whole.subscription_id
    left join states
        on states._source = whole._source
        and states.subscription_id = whole.subscription_id
        and states.item_id = items.item_id
        and states.kind = whole.kind
        and states.stated_at = whole.stated_at
    where states.item_id is null
),

told as (
    select
        _source,
        subscription_id,
        item_id,
        kind,
        seats,
        mrr,
        currency,
        billing_months,
        period_end,
        stated_at
    from states
    union all
    select
        _source,
        subscription_id,
        item_id,
        kind,
        0 as seats,
        cast(0 as double) as mrr,
        null as currency,
        0 as billing_months,
        null as period_end,
        stated_at
    from gone
),

chosen as (
    select
        _source,
        subscription_id,
        item_id,
        kind,
        seats,
        mrr,
        currency,
        billing_months,
        period_end,
        stated_at
    from told
    qualify row_number() over (
        partition by _source, subscription_id, item_id, stated_at order by kind desc, period_end desc, seats desc, mrr desc
    ) = 1
),

moments as (
    select
        _source,
        subscription_id,
        stated_at
    from chosen
    group by _source, subscription_id, stated_at
),

held as (
    select
        moments._source,
        moments.subscription_id,
        moments.stated_at,
        chosen.item_id,
        chosen.seats,
        chosen.mrr,
        chosen.currency,
        chosen.billing_months,
        chosen.period_end
    from moments
    inner join chosen
        on chosen._source = moments._source
        and chosen.subscription_id = moments.subscription_id
        and chosen.stated_at <= moments.stated_at
    qualify row_number() over (
        partition by moments._source, moments.subscription_id, moments.stated_at, chosen.item_id
        order by chosen.stated_at desc
    ) = 1
),

totals as (
    select
        _source,
        subscription_id,
        stated_at,
        cast(sum(seats) as bigint) as seats,
        case when count(*) filter (where mrr is null) = 0 then cast(sum(mrr) as decimal(18, 2)) end as mrr,
        max(currency) as currency,
        max(billing_months) as billing_months,
        max(period_end) as period_end
    from held
    group by _source, subscription_id, stated_at
),

compared as (
    select
        _source,
        subscription_id,
        stated_at,
        seats,
        mrr,
        currency,
        billing_months,
        lag(seats) over (partition by _source, subscription_id order by stated_at) as seats_before,
        lag(mrr) over (partition by _source, subscription_id order by stated_at) as mrr_before,
        row_number() over (partition by _source, subscription_id order by stated_at) as place,
        max(period_end) over (partition by _source, subscription_id order by stated_at) as period_end
    from totals
),

changes as (
    select
        _source,
        subscription_id,
        stated_at,
        seats,
        mrr,
        currency,
        billing_months,
        place
    from compared
    where place = 1 or seats is distinct from seats_before or mrr is distinct from mrr_before
),

periods as (
    select
        _source,
        subscription_id,
        max(period_end) as period_end
    from compared
    group by _source, subscription_id
),

spans as (
    select
        subscriptions._source,
        subscriptions.subscription_id,
        subscriptions.customer_id,
        subscriptions.renewal_months,
        subscriptions.ends_at,
        subscriptions._source_file,
        subscriptions._source_line,
        subscriptions._loaded_at,
        subscriptions._load_id,
        changes.seats,
        changes.mrr,
        changes.currency,
        changes.billing_months,
        periods.period_end,
        coalesce(changes.place, 1) as place,
        case when coalesce(changes.place, 1) = 1 then subscriptions.started_at else changes.stated_at end as started_at,
        lead(changes.stated_at) over (
            partition by subscriptions._source, subscriptions.subscription_id order by changes.stated_at
        ) as changed_at,
        subscriptions.ended_at as subscription_ended_at
    from subscriptions
    left join changes
        on changes._source = subscriptions._source and changes.subscription_id = subscriptions.subscription_id
    left join periods
        on periods._source = subscriptions._source and periods.subscription_id = subscriptions.subscription_id
)

select
    case
        when spans.place = 1 then spans.subscription_id
        else spans.subscription_id || '/' || cast(spans.started_at as varchar)
    end as subscription_id,
    matched.account_id,
    spans.customer_id as external_account_id,
    spans.seats,
    spans.mrr,
    upper(spans.currency) as currency,
    spans.started_at,
    case
        when spans.changed_at is null and spans.ends_at is not null then spans.ends_at
        when spans.billing_months >= spans.renewal_months then spans.period_end
    end as renews_at,
    case
        when spans.changed_at is null then spans.subscription_ended_at
        when spans.subscription_ended_at < spans.changed_at then spans.subscription_ended_at
        else spans.changed_at
    end as ended_at,
    spans._source_file,
    spans._source_line,
    spans._loaded_at,
    spans._load_id
from spans
left join staging.account_map as matched
    on matched.system = 'stripe' and matched._source = spans._source and matched.external_id = spans.customer_id
where
    not coalesce(matched.is_ignored, false)
    and (spans.place = 1 or spans.subscription_ended_at is null or spans.started_at < spans.subscription_ended_at)
order by subscription_id, spans._load_id, spans._source_file, spans._source_line
