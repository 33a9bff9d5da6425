-- Grain: one row per subscription, item and start time; its seats and price apply until the next row of the item.
-- Definition: the statements of stripe_item_states, the one with the highest priority at each time. A statement that
-- names all items ends the others. An invoice ends items with a last billed period that was over when the period of
-- the invoice started: a yearly item does not end because a monthly invoice does not name it. No row starts before
-- the subscription. The current record has the time of the latest of its periods, or of the last other statement.
-- Before the first statement, the items were the same, in a period that ended when the stated one started.
-- Worked example: a yearly item billed in January and a monthly one billed in January and February, an invoice in
-- March that names neither => the monthly one has 0 seats from March on, the yearly one is unchanged.

with last_statement_times as (
    select
        _source,
        subscription_id,
        max(case when statement_source <> 'current_record' then stated_at end) as stated_at,
        max(case when statement_source = 'current_record' then period_start end) as period_start
    from staging.stripe_item_states
    group by _source, subscription_id
),

statements as (
    select
        states._source,
        states.subscription_id,
        states.item_id,
        states.statement_source,
        states.priority,
        states.names_all_items,
        states.seats,
        states.mrr,
        states.currency,
        states.billing_months,
        states.period_start,
        states.period_end,
        case
            when states.statement_source = 'current_record'
                then greatest(
                    coalesce(last_statement_times.stated_at, subscriptions.started_at),
                    coalesce(last_statement_times.period_start, subscriptions.started_at),
                    subscriptions.started_at
                )
            else greatest(states.stated_at, subscriptions.started_at)
        end as stated_at
    from staging.stripe_item_states as states
    inner join staging.stripe_subscriptions as subscriptions
        on
            subscriptions._source = states._source
            and subscriptions.subscription_id = states.subscription_id
    inner join last_statement_times
        on
            last_statement_times._source = states._source
            and last_statement_times.subscription_id = states.subscription_id
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

item_list_times as (
    select distinct
        _source,
        subscription_id,
        statement_source,
        priority,
        names_all_items,
        stated_at
    from statements
    where names_all_items or statement_source = 'invoice_line'
),

unlisted_items as (
    select
        item_list_times._source,
        item_list_times.subscription_id,
        items.item_id,
        item_list_times.statement_source,
        item_list_times.priority,
        item_list_times.names_all_items,
        item_list_times.stated_at
    from item_list_times
    inner join items
        on
            items._source = item_list_times._source
            and items.subscription_id = item_list_times.subscription_id
    left join statements
        on
            statements._source = item_list_times._source
            and statements.subscription_id = item_list_times.subscription_id
            and statements.item_id = items.item_id
            and statements.stated_at = item_list_times.stated_at
            and (
                statements.statement_source = item_list_times.statement_source
                or not item_list_times.names_all_items
            )
    where statements.item_id is null
),

removal_candidates as (
    select
        unlisted_items._source,
        unlisted_items.subscription_id,
        unlisted_items.item_id,
        unlisted_items.statement_source,
        unlisted_items.priority,
        unlisted_items.names_all_items,
        unlisted_items.stated_at,
        max(statements.period_end) as billed_until
    from unlisted_items
    left join statements
        on
            statements._source = unlisted_items._source
            and statements.subscription_id = unlisted_items.subscription_id
            and statements.item_id = unlisted_items.item_id
            and statements.statement_source <> 'current_record'
            and statements.stated_at < unlisted_items.stated_at
    group by all
),

all_statements as (
    select
        _source,
        subscription_id,
        item_id,
        priority,
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
        priority,
        0 as seats,
        cast(0 as double) as mrr,
        cast(null as varchar) as currency,
        cast(null as bigint) as billing_months,
        cast(null as timestamp) as period_start,
        cast(null as timestamp) as period_end,
        stated_at
    from removal_candidates
    where names_all_items or billed_until <= stated_at
),

best_statements as (
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
            period_end,
            max(period_end) over (partition by _source, subscription_id, item_id, stated_at)
        ) as period_end,
        stated_at
    from all_statements
    qualify row_number() over (
        partition by _source, subscription_id, item_id, stated_at
        order by
            priority desc, period_end desc nulls last, seats desc nulls last, mrr desc nulls last
    ) = 1
),

first_statement_times as (
    select
        best_statements._source,
        best_statements.subscription_id,
        min(best_statements.stated_at) as stated_at
    from best_statements
    group by best_statements._source, best_statements.subscription_id
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
from best_statements
union all
select
    best_statements._source,
    best_statements.subscription_id,
    best_statements.item_id,
    best_statements.seats,
    best_statements.mrr,
    best_statements.currency,
    best_statements.billing_months,
    case
        when
            best_statements.period_start > subscriptions.started_at
            then best_statements.period_start
        else best_statements.period_end
    end as period_end,
    subscriptions.started_at as stated_at
from best_statements
inner join first_statement_times
    on
        first_statement_times._source = best_statements._source
        and first_statement_times.subscription_id = best_statements.subscription_id
        and first_statement_times.stated_at = best_statements.stated_at
inner join staging.stripe_subscriptions as subscriptions
    on
        subscriptions._source = best_statements._source
        and subscriptions.subscription_id = best_statements.subscription_id
        and subscriptions.started_at < best_statements.stated_at
order by _source, subscription_id, item_id, stated_at
