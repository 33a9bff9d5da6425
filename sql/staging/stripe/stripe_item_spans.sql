-- Grain: one row per subscription, item and time from which its seats and price hold until the next row of the item.
-- Definition: statements of stripe_item_states, the best one of each moment. A statement that names all items ends the
-- others. An invoice ends items whose last billed period was over when its own began: a yearly item does not end
-- because a monthly invoice does not name it. Nothing is stated before the subscription begins. The current record is
-- dated by the latest of its periods, or by the last other statement. Before the first statement the items were the
-- same, in a period that ended when the stated one began.
-- Worked example: a yearly item billed in January and a monthly one billed in January and February, an invoice of March
-- that names neither => the monthly one has 0 seats from March on, the yearly one is unchanged.

with last_statements as (
    select
        _source,
        subscription_id,
        max(case when kind < 3 then stated_at end) as stated_at,
        max(case when kind = 3 then period_start end) as period_start
    from staging.stripe_item_states
    group by _source, subscription_id
),

statements as (
    select
        states._source,
        states.subscription_id,
        states.item_id,
        states.kind,
        states.names_all_items,
        states.seats,
        states.mrr,
        states.currency,
        states.billing_months,
        states.period_start,
        states.period_end,
        case
            when states.kind = 3
                then greatest(
                    coalesce(last_statements.stated_at, subscriptions.started_at),
                    coalesce(last_statements.period_start, subscriptions.started_at),
                    subscriptions.started_at
                )
            else greatest(states.stated_at, subscriptions.started_at)
        end as stated_at
    from staging.stripe_item_states as states
    inner join staging.stripe_subscriptions as subscriptions
        on subscriptions._source = states._source and subscriptions.subscription_id = states.subscription_id
    inner join last_statements
        on last_statements._source = states._source and last_statements.subscription_id = states.subscription_id
    where subscriptions.ignored is null and subscriptions.started_at is not null
),

items as (
    select
        _source,
        subscription_id,
        item_id
    from statements
    group by _source, subscription_id, item_id
),

moments as (
    select distinct
        _source,
        subscription_id,
        kind,
        names_all_items,
        stated_at
    from statements
    where names_all_items or kind = 1
),

unnamed as (
    select
        moments._source,
        moments.subscription_id,
        items.item_id,
        moments.kind,
        moments.names_all_items,
        moments.stated_at
    from moments
    inner join items on items._source = moments._source and items.subscription_id = moments.subscription_id
    left join statements
        on statements._source = moments._source
        and statements.subscription_id = moments.subscription_id
        and statements.item_id = items.item_id
        and statements.stated_at = moments.stated_at
        and (statements.kind = moments.kind or not moments.names_all_items)
    where statements.item_id is null
),

billed as (
    select
        unnamed._source,
        unnamed.subscription_id,
        unnamed.item_id,
        unnamed.kind,
        unnamed.names_all_items,
        unnamed.stated_at,
        max(statements.period_end) as billed_until
    from unnamed
    left join statements
        on statements._source = unnamed._source
        and statements.subscription_id = unnamed.subscription_id
        and statements.item_id = unnamed.item_id
        and statements.kind < 3
        and statements.stated_at < unnamed.stated_at
    group by all
),

all_statements as (
    select
        _source,
        subscription_id,
        item_id,
        kind,
        seats,
        mrr,
        currency,
        billing_months,
        period_start,
        period_end,
        stated_at
    from statements
    union all
    select
        _source,
        subscription_id,
        item_id,
        kind,
        0 as seats,
        cast(0 as double) as mrr,
        cast(null as varchar) as currency,
        cast(null as bigint) as billing_months,
        cast(null as timestamp) as period_start,
        cast(null as timestamp) as period_end,
        stated_at
    from billed
    where names_all_items or billed_until <= stated_at
),

chosen as (
    select
        _source,
        subscription_id,
        item_id,
        seats,
        mrr,
        currency,
        billing_months,
        period_start,
        coalesce(
            period_end, max(period_end) over (partition by _source, subscription_id, item_id, stated_at)
        ) as period_end,
        stated_at
    from all_statements
    qualify row_number() over (
        partition by _source, subscription_id, item_id, stated_at
        order by kind desc, period_end desc nulls last, seats desc nulls last, mrr desc nulls last
    ) = 1
),

first_statements as (
    select
        chosen._source,
        chosen.subscription_id,
        min(chosen.stated_at) as stated_at
    from chosen
    group by chosen._source, chosen.subscription_id
)

select
    _source,
    subscription_id,
    item_id,
    seats,
    mrr,
    currency,
    billing_months,
    period_end,
    stated_at
from chosen
union all
select
    chosen._source,
    chosen.subscription_id,
    chosen.item_id,
    chosen.seats,
    chosen.mrr,
    chosen.currency,
    chosen.billing_months,
    case when chosen.period_start > subscriptions.started_at then chosen.period_start else chosen.period_end end
        as period_end,
    subscriptions.started_at as stated_at
from chosen
inner join first_statements
    on first_statements._source = chosen._source
    and first_statements.subscription_id = chosen.subscription_id
    and first_statements.stated_at = chosen.stated_at
inner join staging.stripe_subscriptions as subscriptions
    on subscriptions._source = chosen._source
    and subscriptions.subscription_id = chosen.subscription_id
    and subscriptions.started_at < chosen.stated_at
order by _source, subscription_id, item_id, stated_at
